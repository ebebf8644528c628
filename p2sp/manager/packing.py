"""Which super node of an ISP holds what, so that most value finds room and little moves?"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from p2sp.manager.knapsack import Item, bound, choose

MAX_ORDERS: Final = 10_000
"""Resources one super node is told to hold at the most."""

MOST_LEFT: Final = 500
"""Of the things that found no room, so many are tried again against what is in."""

ROUNDS: Final = 3
"""Times every super node is looked at again."""

SMALL: Final = 12
"""Up to so many things a better packing is searched for."""

CLEARLY: Final = 1.08
"""How many times better that must be, for it moves things."""

MAX_STEPS: Final = 20_000


@attrs.frozen
class Room:
    """A super node that can be counted on, and the bytes of its cache.

    `holds` is the share of each resource that it has at the moment (None: it has not said yet). One that is `closing`
    keeps what it has and gets nothing new.
    """

    node_id: str
    capacity: int
    holds: Mapping[str, float] | None = None
    closing: bool = False

    def have(self, resource: str) -> float:
        """The share that it has of a resource, as far as is known."""
        return 0.0 if self.holds is None else self.holds.get(resource, 0.0)


@attrs.frozen
class Load:
    """Something to be put onto one super node: one copy of a resource.

    `value` is what it is worth there; `home` where it is now; `certain` ones come before all others.
    """

    key: str
    resource: str
    size: int
    value: float
    home: str | None = None
    certain: bool = False

    @property
    def density(self) -> float:
        return self.value / max(self.size, 1)


def rendezvous(resource: str, rooms: Iterable[Room]) -> list[Room]:
    """The super nodes in the order in which they should hold a resource.

    Rendezvous hashing by SHA-256, weighted by capacity: each node gets its share, and when one comes or goes only
    what it holds moves.
    """

    def score(room: Room) -> float:
        digest = hashlib.sha256(f"{resource}:{room.node_id}".encode()).digest()
        # In (0, 1): the logarithm of neither end is of use.
        point = (int.from_bytes(digest[:7]) + 1) / (2**56 + 2)
        return -room.capacity / math.log(point)

    return sorted(rooms, key=lambda room: (-score(room), room.node_id))


def pack(loads: Sequence[Load], rooms: Sequence[Room]) -> dict[str, str]:
    """Node ids by the keys of the loads that found room.

    No node gets more bytes than its capacity, more than MAX_ORDERS loads, or two of the same resource. What has a home
    stays there, unless something worth more needs the room; a newcomer goes where most of it is already, else by
    rendezvous. One node alone is filled as `choose` does it; small cases are within CLEARLY of the best there is.
    """
    packing = _Packing(rooms)
    ordered = sorted(loads, key=lambda load: (not load.certain, -load.density, load.key))
    homeless = [load for load in ordered if not packing.settle(load)]
    left = [load for load in homeless if not packing.place(load)]
    if left:
        _improve(packing, left)
        small = [load for load in loads if not load.certain]
        if len(small) <= SMALL and len(rooms) > 1:
            _search(packing, small)
    return packing.where


class _Packing:
    """What is where, and how much room is left."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self.rooms = sorted(rooms, key=lambda room: room.node_id)
        self.inside: dict[str, dict[str, Load]] = {room.node_id: {} for room in rooms}
        self.free = {room.node_id: room.capacity for room in rooms}
        self.closing = {room.node_id for room in rooms if room.closing}
        self.where: dict[str, str] = {}

    def fits(self, load: Load, node_id: str) -> bool:
        if node_id in self.closing and load.home != node_id:
            return False
        inside = self.inside[node_id]
        return load.size <= self.free[node_id] and load.resource not in inside and len(inside) < MAX_ORDERS

    def put(self, load: Load, node_id: str) -> None:
        self.inside[node_id][load.resource] = load
        self.free[node_id] -= load.size
        self.where[load.key] = node_id

    def take(self, load: Load) -> None:
        node_id = self.where.pop(load.key)
        del self.inside[node_id][load.resource]
        self.free[node_id] += load.size

    def settle(self, load: Load) -> bool:
        """Leave it where it is, if it is anywhere and fits."""
        if load.home not in self.free or not self.fits(load, load.home):
            return False
        self.put(load, load.home)
        return True

    def place(self, load: Load) -> bool:
        """Put it onto the first node in its order that has room."""
        able = [room for room in self.rooms if self.fits(load, room.node_id)]
        if not able:
            return False
        # Where it is already nothing needs to be fetched.
        best = max(rendezvous(load.resource, able), key=lambda room: room.have(load.resource))
        self.put(load, best.node_id)
        return True


def _improve(packing: _Packing, left: list[Load]) -> None:
    """Let what found no room compete with what did, node by node."""
    for _ in range(ROUNDS):
        moved = False
        for room in packing.rooms:
            if room.closing:
                continue
            left.sort(key=lambda load: (not load.certain, -load.density, load.key))
            out = _compete(packing, room, left[:MOST_LEFT])
            if out is None:
                continue
            moved = True
            left = [load for load in [*left, *out] if load.key not in packing.where and not packing.place(load)]
        if not moved or not left:
            break


def _compete(packing: _Packing, room: Room, challengers: Sequence[Load]) -> list[Load] | None:
    """Choose anew what is on one node; what had to go, None when nothing is gained."""
    inside = packing.inside[room.node_id]
    certain = {load.key for load in inside.values() if load.certain}
    held = {load.key: load for load in inside.values() if not load.certain}
    space = packing.free[room.node_id] + sum(load.size for load in held.values())
    # Of several copies of a resource the most valuable comes first.
    able: dict[str, Load] = {}
    for load in challengers:
        if load.resource not in inside and load.size <= space:
            able.setdefault(load.resource, load)
    candidates = {**held, **{load.key: load for load in able.values()}}
    items = [Item(load.key, load.size, _worth(load)) for load in candidates.values()]
    chosen = {item.key for item in choose(items, space, kept=frozenset(held))}
    chosen = set(sorted(chosen, key=lambda key: (-candidates[key].density, key))[: MAX_ORDERS - len(certain)])
    if sum(_worth(candidates[key]) for key in chosen) <= sum(_worth(load) for load in held.values()):
        return None
    out = [load for key, load in held.items() if key not in chosen]
    for load in out:
        packing.take(load)
    for key in chosen - held.keys():
        packing.put(candidates[key], room.node_id)
    return out


_CERTAIN: Final = 1e30


def _worth(load: Load) -> float:
    return _CERTAIN * max(load.size, 1) if load.certain else load.value


def _search(packing: _Packing, loads: Sequence[Load]) -> None:
    """Replace the packing of a few loads by the best one when that is clearly better."""
    ranked = sorted((load for load in loads if load.value > 0), key=lambda load: (-load.density, load.key))
    before = {load.key: packing.where.get(load.key) for load in ranked}
    worth = sum(load.value for load in ranked if before[load.key] is not None)
    placed = [load for load in ranked if before[load.key] is not None]
    for load in placed:
        packing.take(load)
    best = _Search(packing, ranked).best(worth * CLEARLY)
    for load in ranked:
        node_id = before[load.key] if best is None else best.get(load.key)
        if node_id is not None:
            packing.put(load, node_id)


class _Search:
    """Depth first over all places of each load, home first, cut off where not even parts of the rest could help."""

    def __init__(self, packing: _Packing, ranked: Sequence[Load]) -> None:
        self._packing = packing
        self._ranked = ranked
        self._steps = MAX_STEPS
        self._best: dict[str, str] | None = None
        self._bar = 0.0

    def best(self, bar: float) -> dict[str, str] | None:
        """The best packing worth more than `bar`; None when there is none."""
        self._bar = bar
        self._visit(0, 0.0)
        return self._best

    def _visit(self, at: int, value: float) -> None:
        self._steps -= 1
        if value > self._bar:
            self._best, self._bar = dict(self._packing.where), value
        free = sum(self._packing.free.values())
        if at == len(self._ranked) or self._steps <= 0 or bound(self._ranked[at:], free, value) <= self._bar:
            return
        load = self._ranked[at]
        for room in sorted(self._packing.rooms, key=lambda each: each.node_id != load.home):
            if self._packing.fits(load, room.node_id):
                self._packing.put(load, room.node_id)
                self._visit(at + 1, value + load.value)
                self._packing.take(load)
        self._visit(at + 1, value)
