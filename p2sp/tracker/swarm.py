"""What does a tracker keep about the nodes of a swarm, and how are some drawn at random?"""

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from random import Random


@attrs.frozen
class Entry:
    """One node in one swarm, as it last announced itself and as we saw it.

    `host` is the observed address, `port` 0 for a node nobody can reach. `supernode` comes from the certificate's
    role alone. `length` is 0 while the node does not know it; `left` and `length` are bytes. `seen` is seconds by
    the store's clock.
    """

    resource: str
    node_id: str
    session: str
    host: str
    port: int
    isp: str | None
    left: int
    length: int
    seen: float
    supernode: bool = False

    @property
    def seed(self) -> bool:
        """Whether the node says it has everything."""
        return self.length > 0 and self.left == 0

    @property
    def have(self) -> float:
        """The share of the resource the node says it has, 0 to 1."""
        return max(0.0, 1.0 - self.left / self.length) if self.length > 0 else 0.0


@attrs.frozen
class Candidates:
    """Some nodes of a swarm, drawn at random, and how many the swarm has that are complete and not."""

    entries: tuple[Entry, ...] = ()
    seeds: int = 0
    leeches: int = 0


@attrs.frozen
class Limits:
    """How much a store keeps. Per swarm, per node and per address bind only nodes without our certificate."""

    swarms: int = 100_000
    entries: int = 500_000
    nodes_per_swarm: int = 10_000
    swarms_per_node: int = 1_000
    entries_per_address: int = 5_000


@attrs.frozen
class Occupancy:
    """What a store holds at the moment."""

    swarms: int
    entries: int
    nodes: int


class Admission(StrEnum):
    """Whether an announce made the node known to others, or which limit kept it out."""

    LISTED = "listed"
    TOO_MANY_SWARMS = "too many swarms"
    TOO_MANY_ENTRIES = "too many entries"
    SWARM_FULL = "swarm full"
    NODE_IN_TOO_MANY = "node in too many swarms"
    ADDRESS_HAS_TOO_MANY = "address has too many entries"


class Bag:
    """Entries by node id: put in, taken out and drawn from at random in constant time each."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Put an entry in, in place of the node's earlier one."""
        place = self._places.get(entry.node_id)
        if place is None:
            self._places[entry.node_id] = len(self._entries)
            self._entries.append(entry)
        else:
            self._entries[place] = entry

    def take(self, node_id: str) -> None:
        """Take a node's entry out; nothing happens when there is none."""
        place = self._places.pop(node_id, None)
        if place is None:
            return
        last = self._entries.pop()
        if place < len(self._entries):
            self._entries[place] = last
            self._places[last.node_id] = place

    def draw(self, count: int, rng: "Random") -> list[Entry]:
        """At most `count` different entries, each as likely as any other, in random order."""
        return rng.sample(self._entries, min(count, len(self._entries)))


class Part(StrEnum):
    """How a swarm is divided for drawing: a busy part must not crowd a small one out of the sample."""

    SUPERNODES = "supernodes"
    SEEDS = "seeds"
    LEECHES = "leeches"


def part_of(entry: Entry) -> Part:
    """Which part of its swarm an entry stands in."""
    if entry.supernode:
        return Part.SUPERNODES
    return Part.SEEDS if entry.seed else Part.LEECHES


class Division:
    """One part of a swarm: its reachable nodes, altogether and by ISP."""

    def __init__(self) -> None:
        self._all = Bag()
        self._by_isp: dict[str | None, Bag] = {}

    def put(self, entry: Entry) -> None:
        self._all.put(entry)
        self._by_isp.setdefault(entry.isp, Bag()).put(entry)

    def take(self, entry: Entry) -> None:
        self._all.take(entry.node_id)
        group = self._by_isp.get(entry.isp)
        if group is None:
            return
        group.take(entry.node_id)
        if not group:
            del self._by_isp[entry.isp]

    def draw_local(self, isp: str | None, count: int, rng: "Random") -> list[Entry]:
        """At most `count` nodes of an ISP; none for an unknown one."""
        group = None if isp is None else self._by_isp.get(isp)
        return [] if group is None else group.draw(count, rng)

    def draw_remote(self, isp: str | None, count: int, rng: "Random") -> list[Entry]:
        """At most `count` nodes outside an ISP, in work that grows with `count` and the number of ISPs alone."""
        own = 0 if isp is None else len(self._by_isp.get(isp, ()))
        outside = len(self._all) - own
        if outside * 4 >= len(self._all):
            drawn = self._all.draw(4 * count, rng)
            found = [entry for entry in drawn if isp is None or entry.isp != isp][:count]
            if len(found) >= min(count, outside):
                return found
        # The rare ones are not hit by drawing from all: go through the other ISPs, in random order.
        others = [key for key in self._by_isp if isp is None or key != isp]
        groups = [self._by_isp[key] for key in rng.sample(others, min(count, len(others)))]
        share = -(-count // max(1, len(groups)))
        return [entry for group in groups for entry in group.draw(share, rng)][:count]


class Swarm:
    """Everybody the store knows for one resource."""

    def __init__(self) -> None:
        self._divisions = {part: Division() for part in Part}
        self.ordinary = 0
        self.seeds = 0
        self.leeches = 0

    def __len__(self) -> int:
        return self.seeds + self.leeches

    def put(self, entry: Entry, earlier: Entry | None) -> None:
        """Put a node in, with the entry that stood for it so far."""
        if earlier is not None:
            self.take(earlier)
        self._count(entry, 1)
        if entry.port:
            self._divisions[part_of(entry)].put(entry)

    def take(self, entry: Entry) -> None:
        """Take out an entry that was put in."""
        self._count(entry, -1)
        if entry.port:
            self._divisions[part_of(entry)].take(entry)

    def draw(self, node_id: str, isp: str | None, count: int, rng: "Random") -> list[Entry]:
        """At most `count` nodes of each part inside the ISP and as many outside, without `node_id`."""
        drawn: list[Entry] = []
        for division in self._divisions.values():
            # One more, in case that node is among them.
            for some in (division.draw_local(isp, count + 1, rng), division.draw_remote(isp, count + 1, rng)):
                drawn += [entry for entry in some if entry.node_id != node_id][:count]
        return drawn

    def _count(self, entry: Entry, by: int) -> None:
        self.ordinary += 0 if entry.supernode else by
        if entry.seed:
            self.seeds += by
        else:
            self.leeches += by
