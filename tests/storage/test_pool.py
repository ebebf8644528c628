"""Are jobs run away from the reactor, counted, and waited for?"""

import threading

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from p2sp.storage.interfaces import StorageError
from p2sp.storage.pool import DiskPool, InlinePool, detached


class Boom(Exception):
    """What a job may raise."""


def boom() -> None:
    raise Boom


class DiskPoolTests(TestCase):
    """The real threads."""

    def setUp(self) -> None:
        self.pool = DiskPool(installed, threads=2, max_queued=100)  # type: ignore[arg-type]
        self.pool.start()
        self.addCleanup(self.pool.stop)

    async def test_jobs_run_in_other_threads_and_answer_in_this_one(self) -> None:
        here = threading.get_ident()
        seen: list[int] = []
        answer = self.pool.run(threading.get_ident)
        answer.addCallback(lambda there: seen.extend([there, threading.get_ident()]))
        await answer
        self.assertNotEqual(seen[0], here)
        self.assertEqual(seen[1], here)

    async def test_exceptions_come_back(self) -> None:
        await self.assertFailure(self.pool.run(boom, weight=7), Boom)
        self.assertEqual(self.pool.queued_bytes, 0)

    async def test_two_jobs_run_beside_each_other(self) -> None:
        meeting = threading.Barrier(2)
        await gatherResults([self.pool.run(meeting.wait, 60) for _ in range(2)])

    async def test_weight_and_back_pressure(self) -> None:
        gates = [threading.Event() for _ in range(4)]
        jobs = [self.pool.run(gate.wait, weight=30) for gate in gates]
        self.assertEqual((self.pool.queued_bytes, self.pool.full), (120, True))
        drained = self.pool.drained()
        dropped = self.pool.drained()
        dropped.addErrback(lambda failure: failure.trap(CancelledError))
        dropped.cancel()
        for gate, job, left in zip(gates[:2], jobs[:2], (90, 60), strict=True):
            gate.set()
            await job
            self.assertEqual(self.pool.queued_bytes, left)
            self.assertNoResult(drained)
        self.assertFalse(self.pool.full)
        gates[2].set()
        await drained
        self.successResultOf(self.pool.drained())
        gates[3].set()
        await gatherResults(jobs)

    async def test_a_cancelled_job_keeps_its_weight_until_it_ends(self) -> None:
        gate = threading.Event()
        job = self.pool.run(gate.wait, weight=30)
        job.cancel()
        await self.assertFailure(job, CancelledError)
        self.assertEqual(self.pool.queued_bytes, 30)
        drained = Deferred[None]()
        gate.set()
        stopping = self.pool.stop()
        stopping.chainDeferred(drained)
        await drained
        self.assertEqual(self.pool.queued_bytes, 0)

    async def test_stop_waits_for_jobs_and_refuses_new_ones(self) -> None:
        gate = threading.Event()
        job = self.pool.run(gate.wait)
        stopping, again = self.pool.stop(), self.pool.stop()
        self.assertNoResult(stopping)
        await self.assertFailure(self.pool.run(boom), StorageError)
        gate.set()
        await stopping
        self.assertTrue(self.successResultOf(job))
        await again
        self.assertEqual([thread for thread in threading.enumerate() if "disk" in thread.name], [])

    async def test_a_pool_that_was_not_started_refuses(self) -> None:
        pool = DiskPool(installed)  # type: ignore[arg-type]
        await self.assertFailure(pool.run(boom), StorageError)
        await pool.stop()

    async def test_starting_twice_is_starting_once(self) -> None:
        self.pool.start()
        self.assertEqual(await self.pool.run(lambda: 5), 5)


class InlinePoolTests(SynchronousTestCase):
    """The stand-in for tests."""

    def test_jobs_run_at_once(self) -> None:
        pool = InlinePool()
        self.assertEqual(self.successResultOf(pool.run(divmod, 7, 2, weight=5)), (3, 1))
        self.failureResultOf(pool.run(boom), Boom)
        self.assertEqual((pool.queued_bytes, pool.full), (0, False))

    def test_jobs_can_be_held_back_and_let_go_in_either_order(self) -> None:
        pool = InlinePool(max_queued=10)
        pool.held = True
        order: list[int] = []
        jobs = [pool.run(order.append, number, weight=4) for number in range(4)]
        self.assertEqual((pool.jobs, pool.queued_bytes, pool.full), (4, 16, True))
        drained = pool.drained()
        pool.release(1)
        pool.release(1, newest_first=True)
        self.assertNoResult(drained)
        self.assertEqual(order, [0, 3])
        pool.release()
        self.assertEqual(order, [0, 3, 1, 2])
        self.successResultOf(drained)
        for job in jobs:
            self.successResultOf(job)


class DetachedTests(SynchronousTestCase):
    """Letting go of an answer without touching the work."""

    def test_it_follows(self) -> None:
        inner: Deferred[int] = Deferred()
        outer = detached(inner)
        inner.callback(3)
        self.assertEqual(self.successResultOf(outer), 3)
        broken: Deferred[int] = Deferred()
        outer = detached(broken)
        broken.errback(Boom())
        self.failureResultOf(outer, Boom)

    def test_cancelling_stops_at_it(self) -> None:
        stopped: list[object] = []
        inner: Deferred[int] = Deferred(stopped.append)
        outer = detached(inner)
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        self.assertEqual(stopped, [])
        inner.errback(Boom())
