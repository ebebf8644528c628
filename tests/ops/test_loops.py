"""Does a periodic job go on whatever happens, and end when told?"""

import random

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from p2sp.ops.loops import Periodic


class PeriodicTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.runs: list[float] = []
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def note(self) -> None:
        self.runs.append(self.clock.seconds())

    def start(self, job: Periodic) -> Periodic:
        job.start()
        self.addCleanup(job.stop)
        return job

    def test_it_runs_every_interval(self) -> None:
        self.start(Periodic(self.clock, 10, self.note, "noting", jitter=0))
        self.clock.pump([5, 5, 10, 10])
        self.assertEqual(self.runs, [10, 20, 30])

    def test_it_may_begin_at_once(self) -> None:
        self.start(Periodic(self.clock, 10, self.note, "noting", jitter=0, at_once=True))
        self.clock.pump([0, 10])
        self.assertEqual(self.runs, [0, 10])

    def test_jitter_spreads_the_runs_within_its_bounds(self) -> None:
        self.start(Periodic(self.clock, 100, self.note, "noting", jitter=0.1, rng=random.Random(1)))
        self.clock.pump([0.5] * 4000)
        gaps = [b - a for a, b in zip(self.runs, self.runs[1:], strict=False)]
        self.assertGreater(len(gaps), 15)
        self.assertGreater(len(set(gaps)), 5)
        self.assertGreaterEqual(min(gaps), 90)
        self.assertLessEqual(max(gaps), 110.5)

    def test_a_failure_is_logged_and_the_job_goes_on(self) -> None:
        async def fail() -> None:
            self.note()
            raise RuntimeError("now and then")

        self.start(Periodic(self.clock, 10, fail, "failing", jitter=0))
        self.clock.pump([10, 10])
        self.assertEqual(self.runs, [10, 20])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_a_failure_of_a_plain_function_too(self) -> None:
        def fail() -> None:
            self.note()
            raise RuntimeError("now and then")

        self.start(Periodic(self.clock, 10, fail, "failing", jitter=0))
        self.clock.pump([10, 10])
        self.assertEqual(self.runs, [10, 20])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_runs_do_not_overlap(self) -> None:
        work: list[Deferred[None]] = []

        async def slow() -> None:
            self.note()
            work.append(Deferred())
            await work[-1]

        self.start(Periodic(self.clock, 10, slow, "slow", jitter=0))
        self.clock.pump([10, 10, 10])
        self.assertEqual(self.runs, [10])
        work[0].callback(None)
        self.clock.pump([9, 1])
        self.assertEqual(self.runs, [10, 40])

    def test_stopping_cancels_and_waits(self) -> None:
        cleaning: Deferred[None] = Deferred()

        async def slow() -> None:
            try:
                await Deferred()
            except CancelledError:
                await cleaning
                raise

        job = Periodic(self.clock, 10, slow, "slow", jitter=0)
        job.start()
        self.clock.advance(10)
        stopped = job.stop()
        self.assertNoResult(stopped)
        cleaning.callback(None)
        self.successResultOf(stopped)
        self.clock.advance(100)

    def test_stopping_between_runs(self) -> None:
        job = Periodic(self.clock, 10, self.note, "noting", jitter=0)
        job.start()
        self.successResultOf(job.stop())
        self.clock.advance(100)
        self.assertEqual(self.runs, [])

    def test_stopping_twice_and_from_within(self) -> None:
        stopped: list[Deferred[None]] = []
        job = Periodic(self.clock, 10, lambda: stopped.append(job.stop()), "stopping", jitter=0)
        job.start()
        self.clock.advance(10)
        self.successResultOf(stopped[0])
        self.successResultOf(job.stop())
        self.clock.advance(100)
        self.assertEqual(len(stopped), 1)

    def test_it_can_start_again(self) -> None:
        job = Periodic(self.clock, 10, self.note, "noting", jitter=0)
        job.start()
        job.stop()
        self.start(job)
        self.clock.advance(10)
        self.assertEqual(self.runs, [10])

    def test_run_soon(self) -> None:
        work: list[Deferred[None]] = []

        async def slow() -> None:
            self.note()
            work.append(Deferred())
            await work[-1]

        job = Periodic(self.clock, 10, slow, "slow", jitter=0)
        job.run_soon()
        self.start(job)
        self.clock.advance(1)
        job.run_soon()
        self.clock.advance(0)
        self.assertEqual(self.runs, [1])
        job.run_soon()
        job.run_soon()
        work[0].callback(None)
        self.clock.advance(0)
        self.assertEqual(self.runs, [1, 1])
        work[1].callback(None)
        self.clock.advance(9)
        self.assertEqual(self.runs, [1, 1])
        self.clock.advance(1)
        self.assertEqual(self.runs, [1, 1, 11])

    def test_senseless_numbers_are_refused(self) -> None:
        for interval, jitter in ((0, 0.1), (-1, 0.1), (1, 1), (1, -0.1)):
            with pytest.raises(ValueError, match="noting"):
                Periodic(self.clock, interval, self.note, "noting", jitter=jitter)
