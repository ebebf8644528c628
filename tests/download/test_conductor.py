"""Does the conductor treat its sources fairly and end cleanly?"""

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.download.errors import DownloadError
from p2sp.download.member import FIRST_WAIT, LONGEST_WAIT, TRIES
from p2sp.download.report import ExitCode
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.http_probe import NotFound, ServerBusy
from p2sp.sources.interfaces import (
    ISource,
    ISpanSink,
    SourceChanged,
    SourceError,
    SourceRefused,
    SourceStalled,
)
from tests.simulation.harness import PIECE, SAMPLE_8, Run
from tests.simulation.sources import Script, ScriptedSource
from tests.storage.kit import TREE, now

LENGTH = SAMPLE_8.content.layout.length


@implementer(ISource)
class Failing(ScriptedSource):
    """Fails every fetch as told, at once."""

    def __init__(self, run: Run, label: str, *errors: Exception | None, slots: int = 1) -> None:
        super().__init__(run.clock, run.sample, label, Kind.SERVER, Script(rate=1e6, slots=slots))
        self.errors = list(errors)
        self.times: list[float] = []

    def fetch(self, span: Span, sink: ISpanSink) -> "Deferred[None]":
        self.times.append(self.clock.seconds())
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        return succeed(None) if error is None else fail(error)


def failing(run: Run, *errors: Exception | None, slots: int = 1) -> Failing:
    source = Failing(run, "bad", *errors, slots=slots)
    run.conductor.add(source)
    return source


def outcome(run: Run) -> list[object]:
    over: list[object] = []
    run.start().addBoth(over.append)
    return over


# -- life --------------------------------------------------------------------------------------------------------


def test_a_complete_store_needs_nobody() -> None:
    first = Run(SAMPLE_8)
    first.add("s", rate=50e6)
    first.finish()
    again = Run(SAMPLE_8, store=first.store)
    assert outcome(again) == [None]
    assert again.clock.getDelayedCalls() == []


def test_what_is_verified_is_not_fetched_again() -> None:
    first = Run(SAMPLE_8)
    first.add("s", rate=1e6, die_after=3_000_000)
    first.error()
    have = sum(first.store.verified()) * PIECE
    assert have >= 2_500_000
    again = Run(SAMPLE_8, store=first.store)
    again.add("s", rate=10e6)
    again.finish()
    assert again.report.received <= LENGTH - have


def test_cancelling_lets_everybody_go() -> None:
    run = Run(SAMPLE_8)
    source = run.add("s", rate=1e6, slots=2)
    done = run.start()
    over: list[Failure] = []
    done.addErrback(over.append)
    for _ in range(20):
        run.clock.advance(0.1)
    done.cancel()
    assert over[0].check(CancelledError)
    assert source.closed
    assert not source.busy
    assert run.conductor.sources == 0
    assert run.clock.getDelayedCalls() == []
    assert any(run.store.verified())


def test_who_comes_when_all_is_over_is_closed() -> None:
    run = Run(SAMPLE_8)
    run.add("s", rate=50e6)
    run.finish()
    late = ScriptedSource(run.clock, run.sample, "late", Kind.PEER, Script(rate=1.0))
    assert not run.conductor.add(late)
    assert late.closed


def test_a_source_has_one_place() -> None:
    run = Run(SAMPLE_8)
    first = run.add("s", rate=1e6)
    double = ScriptedSource(run.clock, run.sample, "s", Kind.SERVER, Script(rate=1.0))
    assert not run.conductor.add(double)
    assert double.closed
    assert not run.conductor.add(first)
    assert not first.closed
    assert run.conductor.sources == 1


def test_the_banned_do_not_come_back() -> None:
    run = Run(SAMPLE_8)
    run.add("liar", Kind.PEER, rate=2e6, lies=range(33))
    run.add("honest", rate=200e3)
    outcome(run)
    while not run.bans:
        run.clock.advance(0.05)
    again = ScriptedSource(run.clock, run.sample, "liar", Kind.PEER, Script(rate=1.0))
    assert not run.conductor.add(again)
    assert again.closed


def test_a_source_that_closes_leaves_what_it_had_to_others() -> None:
    run = Run(SAMPLE_8)
    run.add("leaves", rate=1e6, die_at=2.0, slots=3)
    run.add("stays", rate=1e6)
    run.finish()
    assert run.given("leaves") > 1_000_000
    assert run.wasted == 0


def test_sources_may_join_before_it_begins() -> None:
    run = Run(SAMPLE_8)
    source = run.add("s", rate=10e6)
    assert source.asked == []
    run.finish()


# -- failures ----------------------------------------------------------------------------------------------------


def test_waits_between_tries_grow_and_end() -> None:
    run = Run(SAMPLE_8)
    bad = failing(run, SourceError("bad: reset"))
    error = run.error()
    assert error.code == ExitCode.ERROR
    assert str(error) == "no source left; the last one failed: bad: reset"
    assert len(bad.times) == TRIES
    waits = [after - before for before, after in zip(bad.times, bad.times[1:], strict=False)]
    for i, wait in enumerate(waits):
        assert 0.5 * FIRST_WAIT * 2**i <= wait <= min(FIRST_WAIT * 2**i, LONGEST_WAIT) + 0.5
    assert run.report.accounts["bad"].failures == TRIES
    assert run.report.accounts["bad"].last_failure == "bad: reset"


def test_a_server_that_says_when_is_asked_then() -> None:
    run = Run(SAMPLE_8)
    bad = failing(run, SourceRefused("bad: HTTP 429", 42.0))
    run.error()
    assert [round(at) for at in bad.times] == [0, 42, 84, 126, 168]


def test_bytes_between_failures_are_forgiven() -> None:
    run = Run(SAMPLE_8)
    run.add("flaky", rate=1e6, refusals=TRIES - 1)
    run.finish()
    assert run.report.accounts["flaky"].failures == TRIES - 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SourceChanged("bad: another version"), ExitCode.CHANGED),
        (NotFound("bad: not found (HTTP 404)"), ExitCode.NOT_FOUND),
        (SourceStalled("bad: silent"), ExitCode.TIMEOUT),
        (ServerBusy("bad: 503"), ExitCode.HTTP),
        (SourceError("bad: reset"), ExitCode.ERROR),
    ],
)
def test_the_last_failure_names_the_exit_code(error: SourceError, code: int) -> None:
    run = Run(SAMPLE_8)
    bad = failing(run, error)
    result = run.error()
    assert result.code == code
    assert str(error) in str(result)
    assert len(bad.times) == (1 if error.fatal else TRIES)


@pytest.mark.parametrize("slots", [1, 3])
def test_who_delivers_nothing_and_says_it_is_done_is_dropped(slots: int) -> None:
    run = Run(SAMPLE_8)
    bad = failing(run, None, slots=slots)
    error = run.error()
    assert "delivered nothing" in str(error)
    assert len(bad.times) == TRIES


def test_a_failing_lane_does_not_hide_behind_a_good_one() -> None:
    """Of two fetches of one source one flows and the other ends empty at once: it must wait like any other."""
    run = Run(SAMPLE_8)
    source = HalfDead(run.clock, run.sample, "half", Kind.SERVER, Script(rate=200e3, slots=2))
    run.conductor.add(source)
    outcome(run)
    for _ in range(100):
        run.clock.advance(0.1)
    assert source.empty <= 25


class HalfDead(ScriptedSource):
    """Every fetch beside a running one ends at once, with nothing."""

    empty = 0

    def fetch(self, span: Span, sink: ISpanSink) -> "Deferred[None]":
        if self.busy:
            self.empty += 1
            return succeed(None)
        return super().fetch(span, sink)


@implementer(ISource)
class Stubborn(ScriptedSource):
    """Cannot be shortened: goes on to the end of what it was first asked for."""

    def shorten(self, span: Span, stop: int) -> None:
        pass


def test_what_comes_behind_a_cut_is_not_counted() -> None:
    run = Run(SAMPLE_8)
    slow = Stubborn(run.clock, run.sample, "slow", Kind.SERVER, Script(rate=300e3))
    run.conductor.add(slow)
    run.add_at(3.0, "fast", rate=4e6)
    run.finish()
    account = run.report.accounts["slow"]
    assert account.bytes < slow.sent
    assert account.wasted > 0
    assert account.bytes + account.wasted == slow.sent, "but the wire carried it"
    assert run.wasted <= BLOCK, "but for one block fetched twice in the end game"


def test_a_source_that_breaks_the_rules_is_no_crash() -> None:
    run = Run(SAMPLE_8)
    failing(run, ZeroDivisionError("oops"))
    run.add("good", rate=10e6)
    run.finish()
    assert run.report.accounts["bad"].failures >= 1


def test_the_loser_of_the_end_game_is_cancelled() -> None:
    run = Run(SAMPLE_8)
    slow = run.add("slow", Kind.PEER, rate=20e3)
    run.add("fast", rate=4e6)
    run.finish()
    assert not slow.busy
    assert run.report.accounts["slow"].failures == 0
    assert run.report.accounts["slow"].running == 0


# -- the account -------------------------------------------------------------------------------------------------


def test_bytes_by_kind_add_up() -> None:
    run = Run(SAMPLE_8)
    run.add("server", rate=1e6, slots=2)
    run.add("super", Kind.SUPERNODE, rate=1e6)
    run.add("peer", Kind.PEER, rate=1e6, slots=2)
    seconds = run.finish()
    kinds = run.report.by_kind()
    assert sum(kinds.values()) == run.report.received == LENGTH + run.wasted
    assert all(kinds.values())
    rows = run.report.sources(seconds)
    assert sum(row.bytes for row in rows) == run.report.received
    assert all(row.rate == pytest.approx(1e6, rel=0.3) for row in rows)
    assert run.report.stalled_seconds == 0


def test_a_tree_with_short_files() -> None:
    run = Run(TREE)
    run.add("server", rate=1e6)
    run.add("peer", Kind.PEER, rate=1e6, slots=2)
    assert outcome(run) == [] or run.store.complete
    while not run.store.complete:
        run.clock.advance(0.05)
    assert run.report.received >= TREE.content.layout.length
    layout = TREE.content.layout
    for piece in range(layout.piece_count):
        assert now(run.store.read(layout.piece_start(piece), layout.piece_size(piece))) == TREE.piece(piece)


def test_what_the_store_cannot_do_ends_the_download() -> None:
    run = Run(SAMPLE_8)
    run.add("server", rate=1e6)
    over = outcome(run)
    now(run.store.close())
    while not over:
        run.clock.advance(0.1)
    (failure,) = over
    assert isinstance(failure, Failure)
    error = failure.value
    assert isinstance(error, DownloadError)
    assert "the store is closed" in str(error)
    assert run.bans == []


def test_a_fault_of_ours_ends_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(SAMPLE_8)
    run.add("server", rate=1e6)
    monkeypatch.setattr(run.conductor._verdicts._reputation, "judge", lambda verdict, kinds: 1 / 0)
    with capturedLogs() as logged:
        error = run.error()
    assert "internal error" in str(error)
    assert any("log_failure" in event for event in logged)
