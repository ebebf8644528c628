"""Does a server that is far too slow rest, come back, and never leave a download without anybody? In virtual time."""

from itertools import pairwise

import pytest

from p2sp.download.conductor import MOST_CONNECTIONS
from p2sp.download.parking import FIRST_REST, LONGEST_REST, TOO_LONG
from p2sp.schedule.spans import Kind
from tests.simulation.harness import PIECE, SAMPLE_8, SAMPLE_48, Run
from tests.simulation.sources import Script, ScriptedSource

LENGTH = SAMPLE_48.content.layout.length


def asked(run: Run, label: str) -> list[float]:
    """When something was asked of a source."""
    return [at for at, _ in run.sources[label].asked]


@pytest.mark.parametrize(("rate", "slow"), [(1e6, 10e3), (2e6, 50e3), (400e3, 15e3)])
def test_it_rests_is_named_and_comes_back(rate: float, slow: float) -> None:
    run = Run()
    run.add("fast", rate=rate)
    # One that is asked for all the time: the fast one takes tails only when nothing is free.
    run.add("slow", rate=slow, slots=2)
    heard: list[str] = []
    run.report.listener = heard.append
    seconds = run.finish()
    assert seconds <= LENGTH / rate * 1.1
    times = asked(run, "slow")
    rests = [b - a for a, b in pairwise(times) if b - a >= FIRST_REST - 1]
    if seconds > 2 * (TOO_LONG + FIRST_REST):
        assert rests, "it came back"
    notes = run.report.accounts["slow"].notes
    assert notes
    assert "slow beside others" in notes[0]
    assert any("not asked for 30 s" in news for news in heard)
    assert len(notes) <= 8


def test_the_last_source_never_rests() -> None:
    run = Run(SAMPLE_8)
    run.add("slow", rate=10e3)
    assert run.finish(2000.0) <= SAMPLE_8.content.layout.length / 10e3 * 1.05
    assert run.report.accounts["slow"].notes == []


def test_all_slow_alike_go_on() -> None:
    run = Run(SAMPLE_8)
    run.add("slow", rate=12e3)
    run.add("slower", rate=8e3)
    assert run.finish(2000.0) <= SAMPLE_8.content.layout.length / 20e3 * 1.15
    assert all(account.notes == [] for account in run.report.accounts.values())


def test_who_rests_is_called_when_the_others_are_gone() -> None:
    run = Run(SAMPLE_8)
    run.add("fast", rate=400e3, die_at=15.0)
    run.add("slow", rate=14e3)
    run.finish(2000.0)
    assert "slow beside others" in run.report.accounts["slow"].notes[0]
    assert any(15.0 <= at <= 16.0 for at in asked(run, "slow"))


def test_peers_are_not_parked() -> None:
    run = Run(SAMPLE_8)
    run.add("fast", rate=200e3)
    run.add("peer", kind=Kind.PEER, rate=5e3)
    run.finish()
    assert run.report.accounts["peer"].notes == []


def test_rests_grow_up_to_a_limit() -> None:
    assert FIRST_REST < LONGEST_REST
    run = Run(SAMPLE_8)
    run.add("fast", rate=30e3)
    run.add("slow", rate=100.0, silence=1e9)
    run.finish(2000.0)
    times = asked(run, "slow")
    gaps = [b - a for a, b in pairwise(times)]
    assert max(gaps) >= 2 * FIRST_REST
    assert run.given("slow") <= PIECE


def test_no_more_connections_to_servers_than_are_decent() -> None:
    run = Run()
    for number in range(8):
        run.add(f"s{number}", rate=1e6, slots=4)
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, sum(len(source._jobs) for source in run.sources.values()))
        if not run.store.complete:
            run.clock.callLater(0.1, look)

    look()
    run.finish()
    assert most == MOST_CONNECTIONS


def test_what_is_expected_of_a_server_is_asked_for_first() -> None:
    run = Run()
    source = ScriptedSource(run.clock, run.sample, "s", Kind.SERVER, Script(rate=8e6))
    run.sources["s"] = source
    run.conductor.add(source, expected=8e6)
    run.finish()
    first = source.asked[0][1]
    assert first.stop - first.start == pytest.approx(16e6, abs=PIECE)
