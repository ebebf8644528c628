"""What does a source cost whose bytes are wrong, where pieces are judged? In virtual time."""

from random import Random

import pytest
from twisted.internet.task import Clock

from p2sp.download.conductor import Conductor
from p2sp.download.report import Report
from p2sp.resource.verification import undescribed
from p2sp.schedule.spans import Kind
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.simulation.harness import MIB, PIECE, SAMPLE_8, SAMPLE_48, Run
from tests.simulation.sources import Script, ScriptedSource
from tests.storage.kit import Sample, noise, sample_file

SAMPLE_BIG = sample_file(noise(48 * MIB), piece_length=MIB)
SAMPLES = pytest.mark.parametrize("sample", [SAMPLE_48, SAMPLE_BIG], ids=["256 KiB", "1 MiB"])
EVERYTHING = range(SAMPLE_48.content.layout.piece_count)


def extra(run: Run) -> float:
    """Bytes that were sent and not needed, as the sources themselves count, in pieces."""
    sent = sum(source.sent for source in run.sources.values())
    return (sent - run.needed) / run.sample.content.layout.piece_length


@SAMPLES
@pytest.mark.parametrize("rate", [200e3, 4e6, 40e6])
@pytest.mark.parametrize("liar_first", [False, True])
def test_a_server_that_is_wrong_throughout_costs_two_pieces(sample: Sample, rate: float, liar_first: bool) -> None:
    run = Run(sample)
    for label in sorted(["good", "liar"], reverse=liar_first):
        run.add(label, rate=rate if label == "liar" else 6e6, slots=4, lies=EVERYTHING if label == "liar" else ())
    run.finish()
    assert run.bans == ["liar"]
    assert extra(run) <= 2


@SAMPLES
def test_each_of_several_costs_two_pieces(sample: Sample) -> None:
    run = Run(sample)
    for number in range(3):
        run.add(f"liar{number}", rate=10e6, slots=4, lies=EVERYTHING)
    run.add("good", rate=6e6, slots=4)
    run.finish()
    assert sorted(run.bans) == ["liar0", "liar1", "liar2"]
    assert extra(run) <= 6


@SAMPLES
def test_one_that_comes_late_costs_two_pieces(sample: Sample) -> None:
    run = Run(sample)
    run.add("good", rate=6e6, slots=4)
    run.add_at(2.0, "liar", rate=20e6, slots=4, lies=EVERYTHING)
    run.finish()
    assert run.bans == ["liar"]
    assert extra(run) <= 2


@SAMPLES
def test_a_server_that_turns_bad_costs_what_runs_and_one_piece(sample: Sample) -> None:
    """Proven at first, it has four fetches when it is caught: their pieces are lost, and one more when it is tried."""
    run = Run(sample)
    run.add("good", rate=6e6, slots=4)
    run.add("turns", rate=6e6, slots=4, lies=range(sample.content.layout.piece_count // 2, 1000))
    run.finish()
    assert run.bans == ["turns"]
    assert extra(run) <= 5


def test_it_is_named_at_the_first_piece() -> None:
    run = Run(SAMPLE_8)
    heard: list[str] = []
    run.report.listener = heard.append
    run.add("good", rate=6e6, slots=4)
    run.add("liar", rate=6e6, lies={SAMPLE_8.content.layout.piece_count // 2})
    run.finish()
    notes = run.report.accounts["liar"].notes
    assert notes == heard
    assert len(notes) == 1
    assert "liar: sent bad data for piece" in notes[0]
    assert run.given("liar") > 4 * PIECE, "what it gives next is good, and so it gets more"


def test_the_only_server_is_not_disowned() -> None:
    run = Run(SAMPLE_8)
    run.add("server", rate=2e6, slots=4, lies={5}, once=True)
    run.finish()
    assert extra(run) == 1


def test_a_peer_that_is_banned_is_believed_in_nothing() -> None:
    """Its other fetches are in the midst of pieces: their blocks come from others, and no piece fails by them."""
    run = Run(SAMPLE_BIG)
    liar = run.add("liar", Kind.PEER, rate=8e6, slots=4, lies=EVERYTHING)
    run.add("good", Kind.PEER, rate=4e6, slots=4)
    run.finish()
    assert run.bans == ["liar"]
    assert liar.sent <= 5 * MIB
    assert run.wasted <= liar.sent


def test_what_nobody_judges_needs_no_trial() -> None:
    clock = Clock()
    content = undescribed("x", "x", 48 * MIB)
    conductor = Conductor(clock, MemoryStore(content, InlinePool()), Report(0.0), rng=Random(1))
    sources = [ScriptedSource(clock, SAMPLE_48, label, Kind.SERVER, Script(rate=1e6, slots=2)) for label in "ab"]
    for source in sources:
        conductor.add(source)
    conductor.run()
    assert [len(source.asked) for source in sources] == [2, 2]
    conductor.stop()
