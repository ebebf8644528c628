"""Which swarms are simulated: on which little internet, by which policies?"""

from collections.abc import Callable, Iterator

import attrs

from benchmarks.isp_lab.plan import MBIT, Plan, make_plan
from benchmarks.swarm_simulation.swarm import Rules
from p2sp.schedule.spans import Mode

PIECE = 256 * 1024


@attrs.frozen
class Scale:
    """What may be changed on the command line."""

    peers: int = 200
    isps: int = 10
    pieces: int = 256
    links: int = 40
    seed: int = 1


@attrs.frozen
class Entry:
    """One swarm to be simulated; `step` is the seconds that are simulated at once."""

    name: str
    plan: Plan
    rules: Rules
    pieces: int
    step: float


def large(scale: Scale) -> Iterator[Entry]:
    """Many equal peers, an origin 5 times and super nodes 20 times as fast as one: random, biased, import-once."""
    up = 8 * MBIT
    hosts = scale.peers // scale.isps
    plan = make_plan(scale.isps, hosts, ups=[up], down=10 * up, transit=10 * up * hosts, origin=5 * up, edge=20 * up)
    base = Rules(links=scale.links, seed=scale.seed)
    for name, rules in (
        ("random", attrs.evolve(base, selection="random", once=False)),
        ("biased", attrs.evolve(base, once=False, remote=4)),
        ("biased, import-once", base),
        ("biased, import-once, offload", attrs.evolve(base, mode=Mode.OFFLOAD)),
        ("biased, import-once, warm super nodes", attrs.evolve(base, warm=True)),
        ("the same, 30 % leave", attrs.evolve(base, leave=0.3)),
        ("the same, 10 % lie", attrs.evolve(base, liars=0.1)),
    ):
        yield Entry(name, plan, rules, scale.pieces, 0.25)


def flash(scale: Scale) -> Iterator[Entry]:
    """The lab's race: 2 ISPs of 8 hosts, 20/40 Mbit/s, transit and origin 40, edges 100, 64 MiB."""
    plan = make_plan(
        2, 8, ups=[20 * MBIT], down=40 * MBIT, transit=40 * MBIT, origin=40 * MBIT, edge=100 * MBIT, seed=scale.seed
    )
    mixed = make_plan(
        2,
        8,
        ups=[5 * MBIT, 50 * MBIT],
        down=50 * MBIT,
        transit=40 * MBIT,
        origin=40 * MBIT,
        edge=100 * MBIT,
        seed=scale.seed,
    )
    base = Rules(seed=scale.seed)
    for name, where, rules in (
        ("random", plan, attrs.evolve(base, selection="random", once=False)),
        ("biased", plan, attrs.evolve(base, once=False)),
        ("import-once, fast", plan, base),
        ("import-once, offload", plan, attrs.evolve(base, mode=Mode.OFFLOAD)),
        ("import-once, warm super nodes", plan, attrs.evolve(base, warm=True)),
        ("mixed uplinks, 30 % leave", mixed, attrs.evolve(base, leave=0.3)),
        ("one peer in eight lies", plan, attrs.evolve(base, liars=0.125)),
    ):
        yield Entry(name, where, rules, 256, 0.05)


CASES: dict[str, Callable[[Scale], Iterator[Entry]]] = {"flash": flash, "large": large}
