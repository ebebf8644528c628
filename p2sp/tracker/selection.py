"""Whom does a tracker name to a node that asks?"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from p2sp.locality.cost import CostMap
from p2sp.locality.network_map import is_local
from p2sp.tracker.swarm import Candidates, Entry

if TYPE_CHECKING:
    from random import Random

REMOTE_LEAST: Final = 2
REMOTE_MOST: Final = 8
SUPERNODES_MOST: Final = 8
SEED_WEIGHT: Final = 2.0


@attrs.frozen
class Viewpoint:
    """Who asks: its key, where it is, and whether it has everything."""

    node_id: str
    host: str
    isp: str | None
    seed: bool = False


class Policy(Protocol):
    """A rule for choosing: at most `wanted` of the candidates, the most welcome first.

    Never the asker, never one with port 0, never a seed for a seed. Pure: all chance is in `rng`.
    """

    def __call__(self, viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: "Random") -> list[Entry]: ...


@attrs.frozen
class LocalFirst:
    """The caller's own ISP first, and always a few from outside.

    First super nodes of the ISP, then its peers, seeds before leeches with a quarter kept for leeches so that
    they find each other, then remote peers: at least two if there are any (nearest-first choice starves a far
    group), at most `remote_most` (what crosses the border is what we are here to save). Seeds and cheap ISPs are
    likelier there, nobody is shut out. Super nodes of other ISPs make up for missing remote peers only. For a
    caller of unknown ISP nobody is local and there is no border to guard: `remote_most` does not bind.
    """

    remote_most: int = REMOTE_MOST
    costs: CostMap = attrs.field(factory=CostMap)

    def __call__(self, viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: "Random") -> list[Entry]:
        usable = _shuffled(viewpoint, _usable(viewpoint, candidates.entries), rng)
        near = [entry for entry in usable if is_local(entry.isp, viewpoint.isp)]
        far = [entry for entry in usable if not is_local(entry.isp, viewpoint.isp)]
        outside = self._outside(viewpoint, far, rng)
        reserved = min(len(outside), REMOTE_LEAST, wanted - 1 if near else wanted)
        chosen = _inside(near, max(0, wanted - max(0, reserved)))
        most = wanted if viewpoint.isp is None else self.remote_most
        return chosen + outside[: max(0, min(most, wanted - len(chosen)))]

    def _outside(self, viewpoint: Viewpoint, far: list[Entry], rng: "Random") -> list[Entry]:
        # Weighted drawing without putting back: the order of u ** (1 / weight), with weight 1 / (1 + cost).
        def lot(entry: Entry) -> float:
            power = 1.0 + self.costs.cost(entry.isp, viewpoint.isp)
            return float(rng.random() ** (power / SEED_WEIGHT if entry.seed else power))

        lots = {entry.node_id: lot(entry) for entry in far}
        ordered = sorted(far, key=lambda entry: (_stranger(viewpoint, entry), -lots[entry.node_id]))
        peers = [entry for entry in ordered if not entry.supernode]
        supernodes = [entry for entry in ordered if entry.supernode]
        return peers + supernodes[: max(0, REMOTE_LEAST - len(peers))]


@attrs.frozen
class Uniform:
    """Anybody, as a classic tracker does: the measure that locality is compared with.

    Even as far as the candidates are: of a swarm too large to be drawn whole, the rarer kinds are likelier.
    """

    def __call__(self, viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: "Random") -> list[Entry]:
        return _shuffled(viewpoint, _usable(viewpoint, candidates.entries), rng)[: max(0, wanted)]


def _local_first(remote_most: int, costs: CostMap) -> Policy:
    return LocalFirst(remote_most, costs)


def _uniform(remote_most: int, costs: CostMap) -> Policy:
    return Uniform()


POLICIES: Final[Mapping[str, Callable[[int, CostMap], Policy]]] = {"local-first": _local_first, "uniform": _uniform}


def make_policy(name: str, *, remote_most: int = REMOTE_MOST, costs: CostMap | None = None) -> Policy:
    """The policy a configuration names; raises ValueError for a name that does not exist."""
    if name not in POLICIES:
        raise ValueError(f"there is no selection {name!r}; there are {', '.join(sorted(POLICIES))}")
    return POLICIES[name](remote_most, costs or CostMap())


def _usable(viewpoint: Viewpoint, entries: Iterable[Entry]) -> list[Entry]:
    usable = {
        entry.node_id: entry
        for entry in entries
        if entry.port and entry.node_id != viewpoint.node_id and not (viewpoint.seed and entry.seed)
    }
    return list(usable.values())


def _stranger(viewpoint: Viewpoint, entry: Entry) -> bool:
    """Whether the two were seen over different versions of IP: one may have no way to the other."""
    return (":" in viewpoint.host) != (":" in entry.host)


def _shuffled(viewpoint: Viewpoint, entries: list[Entry], rng: "Random") -> list[Entry]:
    rng.shuffle(entries)
    return sorted(entries, key=lambda entry: _stranger(viewpoint, entry))


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
