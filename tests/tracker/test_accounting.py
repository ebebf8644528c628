"""Do samples reach the statistics server in order, whatever it does, and never more wait than may?"""

from random import Random

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.errors import BadAnswer, NetError, Refused, Unreachable
from p2sp.ops.loops import Periodic
from p2sp.statistics.schema import Sample, SampleAnswer
from p2sp.tracker.accounting import Accounting, sample_of
from p2sp.tracker.schema import Counters, Event
from tests.tracker.entries import node_name, request

URL = "https://127.0.0.1:9003/v1/samples"
AWAY = Unreachable(URL, "connection refused")


def sample(number: int) -> Sample:
    return sample_of(request(server=number), node_id=node_name(1), isp="here", supernode=False, at=float(number))


class Statistics:
    """A statistics server that answers as told: with an error, or by and by."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.calls = 0
        self.error: NetError | None = None
        self.answers: list[Deferred[None]] | None = None

    async def send(self, samples: list[Sample]) -> SampleAnswer:
        self.calls += 1
        if self.answers is not None:
            waiting: Deferred[None] = Deferred()
            self.answers.append(waiting)
            await waiting
        if self.error is not None:
            raise self.error
        self.batches.append([int(each.at) for each in samples])
        return SampleAnswer(accepted=len(samples) - 1, refused=1)


class AccountingTests(SynchronousTestCase):
    """Against a server that is scripted and a clock that stands still."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Statistics()
        self.accounting = Accounting(
            self.server.send, interval=1.0, now=self.clock.seconds, rng=Random(7), most_waiting=10, batch=3
        )
        self.job = Periodic(self.clock, 1.0, self.accounting.flush, "reporting", jitter=0.0)
        self.job.start()
        self.addCleanup(self.job.stop)

    def add(self, *numbers: int) -> None:
        for number in numbers:
            self.accounting.add(sample(number))

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.1] * round(seconds * 10))

    def test_batches_in_order_every_interval(self) -> None:
        self.add(1, 2, 3, 4, 5)
        assert self.server.batches == []
        self.pass_time(1.1)
        assert self.server.batches == [[1, 2, 3], [4, 5]]
        assert self.accounting.waiting == 0
        assert self.accounting.refused == 2
        self.add(6)
        self.pass_time(1.1)
        assert self.server.batches[2:] == [[6]]

    def test_nothing_to_say_is_not_said(self) -> None:
        self.pass_time(10)
        assert self.server.calls == 0

    def test_while_the_server_is_away_the_newest_are_kept_and_come_in_order(self) -> None:
        self.server.error = AWAY
        self.add(*range(8))
        self.pass_time(1.1)
        self.add(*range(8, 14))
        assert self.accounting.waiting == 10
        assert self.accounting.dropped == 4
        self.server.error = None
        self.pass_time(4)
        assert [each for batch in self.server.batches for each in batch] == list(range(4, 14))
        assert self.accounting.waiting == 0

    def test_it_asks_less_and_less_often_up_to_a_minute(self) -> None:
        self.server.error = AWAY
        self.add(1)
        calls: list[int] = []
        for _ in range(10):
            before = self.server.calls
            self.pass_time(60)
            calls.append(self.server.calls - before)
        assert calls[0] in range(4, 7)
        assert all(each <= 2 for each in calls[1:])
        assert sum(calls[5:]) >= 4
        self.server.error = None
        self.pass_time(70)
        assert self.server.batches == [[1]]
        self.add(2)
        self.pass_time(1.1)
        assert self.server.batches == [[1], [2]]

    def test_a_batch_the_server_will_never_take_does_not_block_the_rest(self) -> None:
        self.server.error = Refused(URL, 422, "invalid", "no")
        self.add(1, 2, 3)
        self.pass_time(1.1)
        assert self.accounting.waiting == 0
        assert self.accounting.dropped == 3
        self.server.error = None
        self.add(4)
        self.pass_time(1.1)
        assert self.server.batches == [[4]]

    def test_a_refusal_that_may_end_keeps_the_samples(self) -> None:
        for error in (Refused(URL, 403, "role", "no"), Refused(URL, 503, "overloaded", "no"), BadAnswer(URL, "odd")):
            self.server.error = error
            self.add(1)
            self.pass_time(70)
            assert self.accounting.waiting == 1
            self.server.error = None
            self.pass_time(70)
            assert self.accounting.waiting == 0

    def test_only_one_batch_is_on_its_way(self) -> None:
        self.server.answers = []
        self.add(1)
        self.pass_time(1.1)
        self.add(2)
        self.pass_time(5)
        self.successResultOf(Deferred.fromCoroutine(self.accounting.flush_now()))
        assert self.server.calls == 1
        self.server.answers[0].callback(None)
        assert self.server.batches == [[1]]
        self.pass_time(1.1)
        assert self.server.calls == 2

    def test_samples_that_come_in_meanwhile_wait_for_their_turn(self) -> None:
        self.server.answers = []
        self.add(1)
        self.pass_time(1.1)
        self.add(*range(2, 12))
        assert self.accounting.waiting == 10
        self.server.error = AWAY
        self.server.answers[0].callback(None)
        assert self.accounting.waiting == 10
        assert self.accounting.dropped == 1

    def test_stopping_in_the_midst_keeps_the_samples_for_the_last_report(self) -> None:
        self.server.answers = []
        self.add(1, 2)
        self.pass_time(1.1)
        self.successResultOf(self.job.stop())
        assert self.accounting.waiting == 2
        self.server.answers = None
        self.successResultOf(Deferred.fromCoroutine(self.accounting.flush_now()))
        assert self.server.batches == [[1, 2]]

    def test_the_last_report_does_not_wait_for_the_back_off(self) -> None:
        self.server.error = AWAY
        self.add(1)
        self.pass_time(1.1)
        self.server.error = None
        self.successResultOf(Deferred.fromCoroutine(self.accounting.flush_now()))
        assert self.server.batches == [[1]]

    def test_cancelling_a_report_keeps_its_samples(self) -> None:
        self.server.answers = []
        self.add(1)
        sending = Deferred.fromCoroutine(self.accounting.flush_now())
        sending.cancel()
        self.failureResultOf(sending, CancelledError)
        assert self.accounting.waiting == 1


@pytest.mark.parametrize("supernode", [False, True])
def test_a_sample_says_what_the_announce_said(supernode: bool) -> None:
    made = sample_of(
        request(event=Event.COMPLETED, left=0, server=77), node_id=node_name(3), isp=None, supernode=supernode, at=12.5
    )
    assert (made.counters, made.event, made.left, made.length) == (Counters(server=77), Event.COMPLETED, 0, 2097152)
    assert (made.node_id, made.isp, made.supernode, made.at) == (node_name(3), None, supernode, 12.5)
