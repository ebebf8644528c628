"""Is a download as fast as its sources allow, right to the last byte, whatever they do? In virtual time."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from p2sp.download.report import ExitCode
from p2sp.schedule.rescue import FIRST
from p2sp.schedule.spans import Kind, Mode
from p2sp.storage.interfaces import NoSpace, Verdict
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.simulation.harness import PIECE, SAMPLE_8, SAMPLE_48, Run

LENGTH = SAMPLE_48.content.layout.length
PIECES = SAMPLE_48.content.layout.piece_count
FAST = 20e6
ALONE = 2.6
"""Seconds the fast server alone takes, with its latency."""


@pytest.mark.parametrize("slots", [1, 4])
def test_one_fast_server_is_used_to_the_full(slots: int) -> None:
    run = Run()
    run.add("fast", rate=FAST, slots=slots)
    assert run.finish() <= LENGTH / FAST * 1.05
    assert run.wasted == 0


def test_a_server_that_binds_each_connection_is_asked_over_several_to_the_end() -> None:
    run = Run()
    run.add("s", rate=FAST, lane_rate=2e6, slots=4)
    assert run.finish() <= LENGTH / 8e6 * 1.05


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("slow_first", [False, True])
def test_a_slow_server_beside_a_fast_one_costs_next_to_nothing(slots: int, slow_first: bool) -> None:
    run = Run()
    for label, rate in sorted({"fast": FAST, "slow": 100e3}.items(), reverse=slow_first):
        run.add(label, rate=rate, slots=slots)
    assert run.finish() <= ALONE * 1.15
    assert run.wasted <= FIRST


@pytest.mark.parametrize("slots", [1, 4])
def test_a_slow_server_is_of_use_where_all_are_slow(slots: int) -> None:
    run = Run(SAMPLE_8)
    run.add("slow", rate=100e3, slots=slots)
    run.add("slower", rate=30e3, slots=slots)
    assert run.finish() <= SAMPLE_8.content.layout.length / 130e3 * 1.1


@pytest.mark.parametrize("good", [[10e6, 10e6], [1e6, 1e6], [2e6]])
def test_a_server_that_stalls_costs_little(good: list[float]) -> None:
    run = Run()
    for i, rate in enumerate(good):
        run.add(f"good{i}", rate=rate)
    run.add("stalls", rate=10e6, stall_after=64 * 1024)
    assert run.finish() <= LENGTH / sum(good) * 1.02 + 3.0


def test_many_that_stall_cost_little() -> None:
    run = Run()
    run.add("good", rate=2e6)
    for i in range(4):
        run.add(f"stalls{i}", rate=10e6, slots=4, stall_after=64 * 1024 * i)
    assert run.finish() <= LENGTH / 2e6 * 1.02 + 3.0
    assert run.wasted <= FIRST


def test_one_that_dies_near_the_end() -> None:
    run = Run()
    run.add("good", rate=2e6)
    run.add("dies", rate=2e6, die_at=LENGTH / 4e6 * 0.99)
    assert run.finish() <= LENGTH / 4e6 * 1.1


def test_the_only_one_at_99_percent_dies_and_another_comes() -> None:
    run = Run(expecting=lambda: True)
    run.add("dies", rate=4e6, die_after=LENGTH * 99 // 100)
    run.add_at(20.0, "comes", rate=4e6)
    assert run.finish() <= 21.0
    assert run.wasted == 0
    assert run.given("comes") <= LENGTH // 100 + PIECE


@pytest.mark.parametrize("slots", [1, 4])
def test_four_equal_servers_give_what_they_can(slots: int) -> None:
    run = Run()
    for i in range(4):
        run.add(f"s{i}", rate=2e6, slots=slots)
    assert run.finish() <= LENGTH / 8e6 / 0.9
    assert all(run.given(f"s{i}") >= LENGTH / 4 * 0.9 for i in range(4))


def test_unequal_servers_end_together() -> None:
    run = Run()
    for rate in (1e6, 2e6, 3e6, 4e6):
        run.add(f"s{rate:g}", rate=rate)
    assert run.finish() <= LENGTH / 10e6 / 0.9


@pytest.mark.parametrize("kind", [Kind.SERVER, Kind.PEER])
def test_a_fast_source_that_comes_late_is_used(kind: Kind) -> None:
    run = Run()
    run.add("slow", rate=2e6)
    run.add_at(2.0, "late", kind, slots=2, rate=20e6)
    assert run.finish() <= 2.0 + (LENGTH - 2 * 2e6) / 22e6 / 0.85


@pytest.mark.parametrize("seed", range(3))
def test_peers_with_parts_and_a_server(seed: int) -> None:
    run = Run(seed=seed)
    rng = Random(seed)
    run.add("server", rate=1e6)
    for i in range(6):
        run.add(f"peer{i}", Kind.PEER, rate=1e6, slots=2, pieces=rng.sample(range(PIECES), PIECES // 3))
    assert run.finish() <= LENGTH / 7e6 / 0.8
    assert run.report.by_kind()["server"] <= LENGTH / 4


@pytest.mark.parametrize("seed", range(3))
def test_peers_that_gain_pieces_meanwhile(seed: int) -> None:
    run = Run(seed=seed)
    rng = Random(seed)
    run.add("server", rate=1e6)
    for i in range(3):
        peer = run.add(f"peer{i}", Kind.PEER, rate=2e6, slots=2, pieces=())
        for n, piece in enumerate(rng.sample(range(PIECES), PIECES)):
            run.clock.callLater(0.03 * n, peer.gain, piece)
    assert run.finish() <= LENGTH / 7e6 * 1.5
    assert run.report.by_kind()["peer"] >= LENGTH / 2


def test_peers_alone_between_whom_everything_is() -> None:
    run = Run()
    for i in range(4):
        run.add(f"peer{i}", Kind.PEER, rate=1e6, slots=2, pieces=range(i * PIECES // 4, (i + 1) * PIECES // 4))
    assert run.finish() <= LENGTH / 4e6 * 1.1


def test_a_peer_that_chokes_and_goes_on() -> None:
    run = Run()
    run.add("server", rate=500e3)
    peer = run.add("peer", Kind.PEER, rate=5e6, slots=2)
    for at, choked in ((2.0, True), (6.0, False)):
        run.clock.callLater(at, peer.choke, choked)
    assert run.finish() <= LENGTH / 5.5e6 + 4.0 + 1.0


def test_a_super_node_bears_most_of_a_mixture() -> None:
    run = Run()
    run.add("server", rate=1e6, slots=4)
    run.add("super", Kind.SUPERNODE, rate=3e6, slots=2)
    for i in range(10):
        run.add(f"peer{i}", Kind.PEER, rate=200e3, slots=2)
    assert run.finish() <= LENGTH / 6e6 * 1.15
    assert run.report.by_kind()["supernode"] >= LENGTH * 0.4


# -- lies and refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_liar_among_the_honest_is_found_and_banned(seed: int) -> None:
    run = Run(seed=seed)
    run.add("server", rate=1e6)
    run.add("liar", Kind.PEER, rate=2e6, slots=2, lies=range(0, PIECES, 5))
    for i in range(3):
        run.add(f"peer{i}", Kind.PEER, rate=1e6, slots=2)
    assert run.finish() <= LENGTH / 4e6 * 1.25
    assert run.bans == ["liar"]
    assert "bad data" in run.report.accounts["liar"].last_failure
    assert run.wasted <= FIRST + 4 * PIECE


def test_a_lying_server_has_a_second_chance_and_no_third() -> None:
    run = Run()
    liar = run.add("liar", rate=4e6, lies=range(PIECES))
    run.add("honest", rate=1e6)
    run.finish()
    assert run.bans == ["liar"]
    assert liar.sent <= 4 * FIRST
    assert run.wasted <= 2 * PIECE


def test_one_flipped_bit_costs_one_piece() -> None:
    run = Run(SAMPLE_8)
    run.add("server", rate=2e6, lies={5}, once=True)
    run.finish()
    assert run.bans == []
    assert run.wasted == PIECE


def test_two_liars_who_share_pieces_with_the_honest() -> None:
    run = Run(SAMPLE_8)
    run.add("honest", rate=300e3)
    for label in ("liar1", "liar2"):
        run.add(label, Kind.PEER, rate=900e3, slots=2, lies=range(33))
    run.finish()
    assert sorted(run.bans) == ["liar1", "liar2"]


def test_everybody_lies_about_one_piece() -> None:
    run = Run(SAMPLE_8)
    for i in range(12):
        run.add(f"liar{i:02}", Kind.PEER, rate=1e6, lies={3})
    error = run.error()
    assert error.code in (ExitCode.CHECKSUM, ExitCode.NOT_FOUND, ExitCode.ERROR)
    assert len(run.bans) >= 10


def test_a_refusal_is_waited_out() -> None:
    run = Run(SAMPLE_8)
    server = run.add("server", rate=8e6, refusals=1, retry_after=7.0)
    assert 7.0 <= run.finish() <= 9.5
    assert [round(at) for at, _ in server.asked[:2]] == [0, 7]


# -- when nothing helps ------------------------------------------------------------------------------------------


def test_every_source_dies() -> None:
    run = Run()
    run.add("one", rate=1e6, die_at=3.0)
    run.add("two", rate=1e6, die_after=5_000_000)
    error = run.error()
    assert error.code == ExitCode.ERROR
    assert str(error) == "no source left; the last one failed: two: connection lost"
    assert run.clock.seconds() < 7.0


def test_every_source_stalls() -> None:
    run = Run()
    for label in ("one", "two"):
        run.add(label, rate=1e6, stall_after=100_000)
    error = run.error()
    assert error.code == ExitCode.TIMEOUT
    assert "nothing for 10 s" in str(error)


def test_no_source_at_all() -> None:
    error = Run().error()
    assert error.code == ExitCode.NOT_FOUND
    assert "no source has 'file.bin'" in str(error)


def test_a_source_that_may_come_is_waited_for() -> None:
    run = Run(expecting=lambda: True)
    run.add_at(30.0, "late", Kind.PEER, rate=FAST, slots=2)
    assert 30.0 <= run.finish() <= 33.5
    assert run.report.stalled_seconds == pytest.approx(29.0, abs=1.5)


def test_but_not_for_ever() -> None:
    run = Run(expecting=lambda: True, patience=20.0)
    assert run.error().code == ExitCode.NOT_FOUND
    assert run.clock.seconds() == pytest.approx(20.0, abs=1.0)


class FullStore(MemoryStore):
    """A store on a disk with little room."""

    room = 3_000_000

    def write(self, position: int, data: Sequence[bytes | memoryview], source: str) -> "Deferred[list[Verdict]]":
        self.room -= sum(map(len, data))
        if self.room < 0:
            return fail(NoSpace("the disk is full"))
        return super().write(position, data, source)


def test_a_full_disk_is_nobodys_fault() -> None:
    run = Run(SAMPLE_8, store=FullStore(SAMPLE_8.content, InlinePool()))
    run.add("server", rate=2e6)
    run.add("peer", Kind.PEER, rate=2e6, slots=2)
    error = run.error()
    assert error.code == ExitCode.NO_SPACE
    assert str(error) == "the disk is full"
    assert run.bans == []
    assert [account.failures for account in run.report.accounts.values()] == [0, 0]
    assert [account.last_failure for account in run.report.accounts.values()] == ["", ""]


# -- sparing the servers -----------------------------------------------------------------------------------------


def offload(**options: Any) -> Run:
    run = Run(mode=Mode.OFFLOAD, **options)
    run.add("server", rate=4e6, slots=4)
    return run


def test_peers_bring_nearly_all_when_servers_are_to_be_spared() -> None:
    run = offload()
    for i in range(3):
        run.add(f"peer{i}", Kind.PEER, rate=1e6, slots=2)
    assert run.finish() <= LENGTH / 3e6 * 1.1
    assert run.report.by_kind()["server"] <= LENGTH * 0.1


def test_a_peer_that_comes_late_still_spares_the_server() -> None:
    run = offload()
    run.add_at(1.0, "peer", Kind.PEER, rate=2e6, slots=2)
    run.finish()
    assert run.report.by_kind()["server"] <= LENGTH * 0.25


def test_the_server_fills_up_to_the_floor() -> None:
    run = offload(floor_rate=3e6)
    run.add("peer", Kind.PEER, rate=1e6, slots=2)
    assert run.finish() <= LENGTH / 3e6 * 1.1


def test_the_server_brings_what_no_peer_has() -> None:
    run = offload()
    run.add("peer", Kind.PEER, rate=4e6, slots=2, pieces=range(PIECES * 3 // 4))
    assert run.finish() <= LENGTH / 4e6
    assert LENGTH * 0.24 <= run.report.by_kind()["server"] <= LENGTH * 0.35


def test_peers_that_all_vanish_do_not_end_the_download() -> None:
    run = offload()
    for i in range(3):
        run.add(f"peer{i}", Kind.PEER, rate=1e6, slots=2, die_at=4.0)
    assert run.finish() <= 4.0 + LENGTH / 4e6 * 1.1
