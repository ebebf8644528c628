"""Is a comparison that could not be made tried again, one that was made never, and nothing for ever?"""

from random import Random

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from p2sp.download.agreement import Differs, NotCompared
from p2sp.download.comparisons import FIRST_WAIT, LONGEST_WAIT, TRIES, Comparisons
from p2sp.sources.http_probe import NotFound, Probe
from p2sp.sources.interfaces import SourceError, SourceRefused
from tests.sources.http_case import DATA, HttpCase

URL = "http://mirror/x"


class Table:
    """Comparisons that end as told, the last of them again and again."""

    def __init__(self, *ends: Exception) -> None:
        self.clock = Clock()
        self.ends = list(ends)
        self.times: list[float] = []
        self.reasons: list[str] = []
        self.comparisons = Comparisons(
            self.clock, Random(1), self.compare, agreed=lambda url, probe: None, left_out=self.left_out
        )

    def compare(self, url: str) -> "Deferred[Probe]":
        assert url == URL
        self.times.append(self.clock.seconds())
        return fail(self.ends.pop(0) if len(self.ends) > 1 else self.ends[0])

    def left_out(self, url: str, reason: str) -> None:
        assert url == URL
        self.reasons.append(reason)

    def run(self) -> None:
        self.comparisons.begin(URL)
        while calls := self.clock.getDelayedCalls():
            self.clock.advance(min(call.getTime() for call in calls) - self.clock.seconds())


def test_waits_grow_and_end() -> None:
    table = Table(NotCompared("busy", SourceError("reset")))
    table.run()
    assert len(table.times) == len(table.reasons) == TRIES
    waits = [after - before for before, after in zip(table.times, table.times[1:], strict=False)]
    for i, wait in enumerate(waits):
        longest = min(FIRST_WAIT * 2.0**i, LONGEST_WAIT)
        assert longest / 2 <= wait <= longest
    assert not table.comparisons.running


@pytest.mark.parametrize(
    "error", [Differs("other bytes"), NotFound("404"), NotCompared("first is gone", NotFound("404"))]
)
def test_what_is_certain_is_final(error: SourceError) -> None:
    table = Table(error)
    table.run()
    assert table.reasons == [str(error)]


def test_a_server_that_says_when_is_asked_then() -> None:
    table = Table(NotCompared("busy", SourceRefused("503", 42.0)), SourceRefused("429", 7.0), Differs("other bytes"))
    table.run()
    assert table.times == [0.0, 42.0, 49.0]


def test_nothing_goes_on_when_it_is_stopped() -> None:
    table = Table(NotCompared("busy", SourceError("reset")))
    table.comparisons.begin(URL)
    assert table.clock.getDelayedCalls()
    table.comparisons.stop()
    assert table.clock.getDelayedCalls() == []


def test_a_running_one_is_cancelled() -> None:
    asked: Deferred[Probe] = Deferred()
    comparisons = Comparisons(
        Clock(), Random(1), lambda url: asked, agreed=lambda url, probe: None, left_out=lambda url, reason: None
    )
    comparisons.begin(URL)
    assert comparisons.running
    comparisons.stop()
    assert asked.called
    assert not comparisons.running


def test_a_fault_of_ours_is_logged_and_not_repeated() -> None:
    table = Table(ZeroDivisionError("oops"))
    with capturedLogs() as logged:
        table.run()
    assert (len(table.times), table.reasons) == (1, [])
    assert any("log_failure" in event for event in logged)


class AgreedTests(HttpCase):
    """With what a real server says."""

    async def test_who_agrees_is_handed_on(self) -> None:
        found = await self.probed("honest")
        agreed: list[tuple[str, int | None]] = []
        comparisons = Comparisons(
            Clock(),
            Random(1),
            lambda url: succeed(found),
            agreed=lambda url, probe: agreed.append((url, probe.length)),
            left_out=lambda url, reason: None,
        )
        comparisons.begin(URL)
        self.assertEqual(agreed, [(URL, len(DATA))])
        self.assertFalse(comparisons.running)
