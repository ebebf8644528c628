"""Whom does a tracker name to a node that asks?"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from p2sp.locality.cost import CostMap
from p2sp.locality.lan import lan_of
from p2sp.tracker.entry import Candidates, Entry, Speech, Viewpoint

if TYPE_CHECKING:
    from random import Random

REMOTE_LEAST: Final = 2
REMOTE_MOST: Final = 8
SUPERNODES_MOST: Final = 8
SEED_WEIGHT: Final = 2.0
PER_ADDRESS: Final = 4
"""So many nodes of one address, one with many ports may be a liar, are named before those of others."""

Lots = list[tuple[float, Entry]]


@attrs.frozen
class Amounts:
    """How many candidates of each part a policy chooses from, inside the asker's ISP and outside."""

    inside: int
    outside: int


class Policy(Protocol):
    """A rule for choosing. Pure: all chance is in `rng`."""

    def amounts(self, viewpoint: Viewpoint, wanted: int) -> Amounts:
        """How many candidates are of use."""

    def __call__(self, viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: "Random") -> list[Entry]:
        """At most `wanted` of the candidates, the most welcome first.

        Never the asker, never one with port 0 or of another speech, never a seed for a seed.
        """


@attrs.frozen
class Biased:
    """The caller's own ISP first, and always a few from outside.

    First super nodes of the ISP, then its peers (those behind the caller's own address before others), seeds before
    leeches with a quarter kept for leeches so that they find each other, then remote peers: at least two if there
    are any (nearest-first choice starves a far group), at most `remote_most` (what crosses the border is what we are
    here to save). Seeds and cheap ISPs are likelier there, nobody is shut out. Super nodes of other ISPs make up for
    missing remote peers only. For a caller of unknown ISP nobody but its own address is local and there is no border
    to guard: `remote_most` does not bind.

    Everywhere, who was named often lately is named less: newcomers get into the graph at once, and no hot spot grows.
    """

    remote_most: int = REMOTE_MOST
    costs: CostMap = attrs.field(factory=CostMap)

    def amounts(self, viewpoint: Viewpoint, wanted: int) -> Amounts:
        # Twice the number leaves room for choosing by cost and by how often somebody was named.
        outside = wanted if viewpoint.isp is None else min(wanted, 2 * self.remote_most)
        return Amounts(wanted, outside)

    def __call__(self, viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: "Random") -> list[Entry]:
        near: Lots = []
        far: list[Entry] = []
        on_lan, isp = lan_of(viewpoint.host), viewpoint.isp
        for entry in usable(viewpoint, candidates.entries):
            if on_lan(entry.host):
                near.append((_lot(rng, 1.0 + entry.named) - 1.0, entry))
            elif isp is not None and entry.isp == isp:
                near.append((_lot(rng, 1.0 + entry.named), entry))
            else:
                far.append(entry)
        most = wanted if isp is None else self.remote_most
        outside = _outside(_arranged(viewpoint, self._by_price(far, isp, rng) if len(far) > most else far))
        reserved = min(len(outside), REMOTE_LEAST, wanted - 1 if near else wanted)
        chosen = _inside(_arranged(viewpoint, _by_lot(near)), max(0, wanted - max(0, reserved)))
        return chosen + outside[: max(0, min(most, wanted - len(chosen)))]

    def _by_price(self, far: list[Entry], isp: str | None, rng: "Random") -> list[Entry]:
        prices = self._prices(isp)
        lots: Lots = []
        for entry in far:
            power = prices(entry.isp) * (1.0 + entry.named)
            lots.append((_lot(rng, power / SEED_WEIGHT if entry.seed else power), entry))
        return _by_lot(lots)

    def _prices(self, isp: str | None) -> Callable[[str | None], float]:
        """What each ISP's nodes weigh less for a caller in `isp`; asked for once in an answer."""
        known: dict[str | None, float] = {}

        def price(other: str | None) -> float:
            found = known.get(other)
            if found is None:
                found = known[other] = 1.0 + self.costs.cost(other, isp)
            return found

        return price


@attrs.frozen
class Anybody:
    """Anybody, as a classic tracker does: the measure that locality is compared with.

    Even as far as the candidates are: of a swarm too large to be drawn whole, the rarer kinds are likelier.
    """

    def amounts(self, viewpoint: Viewpoint, wanted: int) -> Amounts:
        return Amounts(wanted, wanted)

    def __call__(self, viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: "Random") -> list[Entry]:
        lots = [(_lot(rng, 1.0), entry) for entry in usable(viewpoint, candidates.entries)]
        return _arranged(viewpoint, _by_lot(lots))[: max(0, wanted)]


def _biased(remote_most: int, costs: CostMap) -> Policy:
    return Biased(remote_most, costs)


def _anybody(remote_most: int, costs: CostMap) -> Policy:
    return Anybody()


POLICIES: Final[Mapping[str, Callable[[int, CostMap], Policy]]] = {"biased": _biased, "random": _anybody}


def make_policy(name: str, *, remote_most: int = REMOTE_MOST, costs: CostMap | None = None) -> Policy:
    """The policy a configuration names; raises ValueError for a name that does not exist."""
    if name not in POLICIES:
        raise ValueError(f"there is no selection {name!r}; there are {', '.join(sorted(POLICIES))}")
    return POLICIES[name](remote_most, costs or CostMap())


_LANGUAGES: Final = {each: tuple(other for other in Speech if each.understands(other)) for each in Speech}
"""The speeches that one of each understands; short tuples, as these are compared by identity."""


def usable(viewpoint: Viewpoint, entries: Iterable[Entry]) -> Iterable[Entry]:
    """Those the asker can do something with, each once."""
    languages = _LANGUAGES[viewpoint.speech]
    asker, seed = viewpoint.node_id, viewpoint.seed
    return {
        entry.node_id: entry
        for entry in entries
        if entry.port and entry.node_id != asker and entry.speech in languages and not (seed and entry.seed)
    }.values()


def _lot(rng: "Random", power: float) -> float:
    """A lot of weight 1 / `power`, the smallest wins: drawing without putting back, from 0 to 1."""
    return 1.0 - float(rng.random() ** power)


def _by_lot(lots: Lots) -> list[Entry]:
    lots.sort(key=itemgetter(0))
    return [entry for _, entry in lots]


def _arranged(viewpoint: Viewpoint, entries: list[Entry]) -> list[Entry]:
    """In the same order, but behind them those of the other IP version, then what goes beyond one address' share."""
    six = ":" in viewpoint.host
    hosts = {entry.host for entry in entries}
    mixed = not all(":" in host for host in hosts) if six else ":" in "".join(hosts)
    if mixed:
        # One may have no way to the other.
        entries.sort(key=lambda entry: (":" in entry.host) != six)
    if len(hosts) == len(entries):
        return entries
    met: Counter[str] = Counter()
    on_lan = lan_of(viewpoint.host)
    first: list[Entry] = []
    rest: list[Entry] = []
    for entry in entries:
        met[entry.host] += 1
        (rest if met[entry.host] > PER_ADDRESS and not on_lan(entry.host) else first).append(entry)
    return first + rest


def _outside(far: list[Entry]) -> list[Entry]:
    peers = [entry for entry in far if not entry.supernode]
    supernodes = [entry for entry in far if entry.supernode]
    return peers + supernodes[: max(0, REMOTE_LEAST - len(peers))]


def _inside(near: list[Entry], room: int) -> list[Entry]:
    supernodes = [entry for entry in near if entry.supernode]
    peers = [entry for entry in near if not entry.supernode]
    first = min(len(supernodes), SUPERNODES_MOST, max(1, room // 2), room)
    chosen = supernodes[:first] + _peers(peers, room - first)
    return chosen + supernodes[first : first + room - len(chosen)]


def _peers(peers: list[Entry], room: int) -> list[Entry]:
    seeds = [entry for entry in peers if entry.seed]
    leeches = [entry for entry in peers if not entry.seed]
    chosen = seeds[: room - min(len(leeches), room // 4)]
    return chosen + leeches[: room - len(chosen)]
