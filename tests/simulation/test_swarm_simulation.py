"""Does a piece cross into an ISP about once, and do all end near the bound, whoever leaves or lies?"""

import pytest

from benchmarks.isp_lab.plan import MBIT, Plan, make_plan
from benchmarks.swarm_simulation.flows import Pipe, fair_rates
from benchmarks.swarm_simulation.swarm import Outcome, Rules, Swarm
from p2sp.schedule.spans import Mode

PIECE = 256 * 1024


def flash_crowd(isps: int = 2, hosts: int = 8) -> Plan:
    """The lab's: 20/40 Mbit/s, transit and origin of 40 Mbit/s."""
    return make_plan(isps, hosts, ups=[20 * MBIT], down=40 * MBIT, transit=40 * MBIT, origin=40 * MBIT, edge=100 * MBIT)


def simulate(plan: Plan, rules: Rules, pieces: int = 256, step: float = 0.05) -> Outcome:
    outcome = Swarm(plan, rules, pieces=pieces, piece=PIECE, step=step).run(600.0)
    assert outcome.unfinished == 0, outcome
    return outcome


@pytest.mark.parametrize(("mode", "origin"), [(Mode.FAST, 1.8), (Mode.OFFLOAD, 1.2)])
def test_a_flash_crowd_imports_the_file_about_once(mode: Mode, origin: float) -> None:
    outcome = simulate(flash_crowd(), Rules(mode=mode), step=0.1)
    # Steps of 0.1 s make a round trip longer than it is: with those of 0.05 s it is 1.19.
    assert outcome.ratio <= 1.45, outcome
    assert outcome.origin <= origin, outcome
    assert max(outcome.imports) <= 1.3, outcome
    assert outcome.wasted <= 0.04, outcome


def test_with_warm_super_nodes_nothing_but_first_bites_is_imported() -> None:
    outcome = simulate(flash_crowd(), Rules(warm=True), step=0.1)
    assert outcome.ratio <= 1.4, outcome
    assert max(outcome.imports) < 0.02, outcome


def test_without_agreement_it_is_imported_many_times() -> None:
    outcome = simulate(flash_crowd(hosts=6), Rules(once=False), pieces=64, step=0.1)
    assert min(outcome.imports) > 2.0, outcome


def test_forty_peers_end_whoever_leaves_and_lies() -> None:
    outcome = simulate(flash_crowd(5, 8), Rules(leave=0.3, liars=0.1, arrive=5.0), pieces=64, step=0.1)
    assert outcome.ratio <= 4.0, outcome
    assert sum(outcome.imports) / len(outcome.imports) <= 2.5, outcome
    assert 0.0 < outcome.wasted <= 0.15, outcome


def test_a_lone_client_of_an_isp_gets_its_copy() -> None:
    outcome = simulate(flash_crowd(6, 1), Rules(mode=Mode.OFFLOAD), pieces=64, step=0.1)
    assert outcome.ratio <= 2.0, outcome
    assert outcome.origin <= 2.0, outcome


def test_links_are_shared_fairly_and_never_overfull() -> None:
    narrow, wide, down = Pipe(10.0), Pipe(100.0), Pipe(30.0)
    routes = [(narrow,), (narrow, wide), (wide, down), (wide,)]
    rates = fair_rates(routes)
    assert rates[:3] == pytest.approx([5.0, 5.0, 30.0])
    assert rates[3] == pytest.approx(65.0, rel=0.05)
    for pipe in (narrow, wide, down):
        assert sum(rate for rate, route in zip(rates, routes, strict=True) if pipe in route) <= pipe.rate * 1.001
