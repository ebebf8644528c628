"""Which races are there: on which little internet, by which rules, between whom, against which bound?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Final

import attrs

from benchmarks.isp_lab.bound import fluid_bound, plain_bound
from benchmarks.isp_lab.contenders import MIB, Contender, Curl
from benchmarks.isp_lab.foreign import Libtorrent
from benchmarks.isp_lab.network import Network
from benchmarks.isp_lab.ours import Ours
from benchmarks.isp_lab.plan import MBIT, Plan, make_plan
from benchmarks.isp_lab.race import Rules

PATIENCE: Final = 8.0
"""How many times the bound a race may take before it is given up."""

LEAST_PATIENCE: Final = 60.0
LEAVERS: Final = 0.3
THROTTLED: Final = 0.05


@attrs.frozen
class Size:
    """What may be changed on the command line: None is the case's own. Rates in Mbit/s, sizes in MiB, times in s."""

    isps: int | None = None
    hosts: int | None = None
    up: Sequence[float] | None = None
    down: float | None = None
    transit: float | None = None
    origin: float | None = None
    edge: float | None = None
    size: int | None = None
    every: float | None = None
    seed: int = 1
    slower: float = 1.0
    """All rates are divided by this: every ratio stays, and the CPU has more time."""

    mtu: int = 1500
    """Bytes of a packet: fewer and larger ones cost every program less CPU."""

    interval: str = "60s"
    options: Sequence[str] = ()


@attrs.frozen
class Entry:
    """One race that is to be run."""

    contender: Contender
    plan: Plan
    rules: Rules
    bound: float


Case = Callable[[Size], Iterator[Entry]]


def flash(wish: Size) -> Iterator[Entry]:
    """Everybody at once: two ISPs of eight hosts, 20/40 Mbit/s, transit and origin of 40 Mbit/s, 64 MiB."""
    plan, size = _plan(wish), _bytes(wish, 64)
    bound = fluid_bound(plan, size)
    for contender in (*_ours(wish, "fast"), *_ours(wish, "offload"), Libtorrent()):
        yield Entry(contender, plan, _rules(size, bound), bound)
    plain = plain_bound(plan, size)
    yield Entry(Curl(), plan, _rules(size, plain), bound)


def warm(wish: Size) -> Iterator[Entry]:
    """The same with a super node in each ISP that holds the file from the beginning."""
    plan, size = _plan(wish), _bytes(wish, 64)
    bound = fluid_bound(plan, size, warm=True)
    for mode in ("fast", "offload"):
        for contender in _ours(wish, mode, supernodes="warm"):
            yield Entry(contender, plan, _rules(size, bound), bound)


def mixed(wish: Size) -> Iterator[Entry]:
    """Upstream rates from 5 to 50 Mbit/s; 30 % of the hosts leave, half of them when they are done, half midway."""
    plan, size = _plan(wish, up=(5.0, 50.0), down=50.0), _bytes(wish, 64)
    rng = Random(wish.seed)
    leavers = rng.sample([host.name for host in plan.hosts], max(round(LEAVERS * len(plan.hosts)), 1))
    leaves = {name: 1.0 if number % 2 else 0.5 for number, name in enumerate(leavers)}
    finishing = {host.name for host in plan.hosts} - {name for name, share in leaves.items() if share < 1.0}
    bound = fluid_bound(plan, size, finishing=finishing)
    for contender in (*_ours(wish, "fast"), *_ours(wish, "offload"), Libtorrent()):
        yield Entry(contender, plan, attrs.evolve(_rules(size, bound), leaves=leaves), bound)


def alone(wish: Size) -> Iterator[Entry]:
    """One client with no peers: with trackers, and by the HTTP engine alone, from the same `.torrent`."""
    plan, size = _plan(wish, isps=1, hosts=1), _bytes(wish, 32)
    bound = fluid_bound(plan, size)
    for trackers in (False, True):
        name = "p2sp, trackers on" if trackers else "p2sp, no network"
        ours = Ours(name=name, trackers=trackers, torrent=True, interval=wish.interval, options=wish.options)
        yield Entry(ours, plan, _rules(size, bound), bound)


def arrivals(wish: Size) -> Iterator[Entry]:
    """One ISP to which 40 clients come one after the other, and stay. The bound is that of a client alone."""
    plan, size = _plan(wish, isps=1, hosts=40), _bytes(wish, 16)
    every = 2.0 if wish.every is None else wish.every
    starts = {host.name: number * every for number, host in enumerate(plan.hosts)}
    bound = size * 8.0 / min(plan.hosts[0].down, plan.origin)
    patience = len(starts) * every
    for contender in (*_ours(wish, "fast"), *_ours(wish, "offload"), Libtorrent(), Curl()):
        rules = _rules(size, plain_bound(plan, size) / PATIENCE * 1.5)
        yield Entry(contender, plan, attrs.evolve(rules, starts=starts, within=rules.within + patience), bound)


def stagnation(wish: Size) -> Iterator[Entry]:
    """Clients keep coming, and leave when they are done; a third of the way the origin falls to 5 % of its rate: with
    super nodes that the manager orders to fetch what is hot and slow, without them, and others. The bound is that of
    a client alone.
    """
    plan, size = _plan(wish), _bytes(wish, 16)
    every = 3.0 if wish.every is None else wish.every
    order = [host for row in zip(*(isp.hosts for isp in plan.isps), strict=True) for host in row]
    starts = {host.name: number * every for number, host in enumerate(order)}
    slow_at = len(order) * every / 3.0
    bound = size * 8.0 / min(plan.hosts[0].down, plan.origin)
    slow = len(order) * size * 8.0 / (plan.origin * THROTTLED)
    contenders = [*_ours(wish, "fast", supernodes="cold"), *_ours(wish, "fast"), Libtorrent(), Curl()]
    for contender in contenders:
        leaves = dict.fromkeys(starts, 1.0)
        rules = Rules(size, min(slow, 150.0), starts, leaves, watch=_throttle(plan, slow_at))
        yield Entry(contender, plan, rules, bound)


CASES: Final[Mapping[str, Case]] = {
    "flash": flash,
    "warm": warm,
    "mixed": mixed,
    "alone": alone,
    "arrivals": arrivals,
    "stagnation": stagnation,
}


def _plan(wish: Size, *, isps: int = 2, hosts: int = 8, up: Sequence[float] = (20.0,), down: float = 40.0) -> Plan:
    unit = MBIT / wish.slower
    return make_plan(
        wish.isps or isps,
        wish.hosts or hosts,
        ups=[each * unit for each in wish.up or up],
        down=(wish.down or down) * unit,
        transit=(wish.transit or 40.0) * unit,
        origin=(wish.origin or 40.0) * unit,
        edge=(wish.edge or 80.0) * unit,
        mtu=wish.mtu,
        seed=wish.seed,
    )


def _bytes(wish: Size, mib: int) -> int:
    return (wish.size or mib) * MIB


def _rules(size: int, bound: float) -> Rules:
    return Rules(size, max(PATIENCE * bound, LEAST_PATIENCE))


def _ours(wish: Size, mode: str, supernodes: str = "none") -> list[Contender]:
    name = f"p2sp {mode}" + (f", {supernodes} super nodes" if supernodes != "none" else "")
    return [Ours(mode, supernodes, name=name, interval=wish.interval, options=wish.options)]


def _throttle(plan: Plan, at: float) -> Callable[[Network, float], None]:
    """Throttle the origin once, so many seconds after the start."""
    done = False

    def watch(network: Network, now: float) -> None:
        nonlocal done
        if not done and now >= at:
            done = True
            network.throttle_origin(plan.origin * THROTTLED)

    return watch
