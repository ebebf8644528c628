"""What does a tracker keep about a node in a swarm, and what can be said of a swarm as a whole?"""

from enum import StrEnum
from typing import Final, Self

import attrs

KEY_DIGITS: Final = 40
"""Hex digits of a swarm's key: BitTorrent v1's info-hash, or v2's cut to its length as foreign clients know it."""


def swarm_key(resource: str) -> str:
    """The swarm of a resource id in hex, which foreign clients name by the first 20 bytes of it (BEP 52)."""
    return resource[:KEY_DIGITS]


class Speech(StrEnum):
    """How a node can be talked to: inside TLS with a key, in clear text as foreign clients do, or either way."""

    TLS = "tls"
    BOTH = "both"
    CLEAR = "clear"

    def understands(self, other: "Speech") -> bool:
        """Whether the two have a way to talk in common."""
        return self is Speech.BOTH or other in (self, Speech.BOTH)


@attrs.define(weakref_slot=False)
class Entry:
    """One node in one swarm, as it last announced itself and as we saw it.

    `resource` is the key of the swarm. A foreign client has no node id of its own: there it is the observed address
    with the port. `host` is the observed address, `port` 0 for a node nobody can reach. `supernode` comes from the
    certificate's role alone. `length` is 0 while the node does not know it; `left` and `length` are bytes. `seen` is
    seconds by the store's clock. `named` counts how often the node was named to others lately, as far as the store
    keeps it.
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
    speech: Speech = Speech.TLS
    named: int = attrs.field(default=0, eq=False)
    # As foreign clients are told of it, once they were.
    packed: bytes | None = attrs.field(default=None, init=False, eq=False, repr=False)
    # For the store in memory: where this stands in its bags, and who announced before and after it.
    place: int = attrs.field(default=0, init=False, eq=False, repr=False)
    place_in_isp: int = attrs.field(default=0, init=False, eq=False, repr=False)
    older: "Entry | None" = attrs.field(default=None, init=False, eq=False, repr=False)
    newer: "Entry | None" = attrs.field(default=None, init=False, eq=False, repr=False)

    @property
    def foreign(self) -> bool:
        """Whether this is a BitTorrent client without a key of this network."""
        return self.speech is Speech.CLEAR

    @property
    def seed(self) -> bool:
        """Whether the node says it has everything."""
        return self.length > 0 and self.left == 0

    @property
    def have(self) -> float:
        """The share of the resource the node says it has, 0 to 1."""
        return max(0.0, 1.0 - self.left / self.length) if self.length > 0 else 0.0

    def renew(self, newer: Self) -> None:
        """Take over what a newer announce of the same node says."""
        self.session = newer.session
        if self.host != newer.host or self.port != newer.port:
            self.packed = None
        self.host, self.port, self.isp = newer.host, newer.port, newer.isp
        self.left, self.length, self.seen = newer.left, newer.length, newer.seen
        self.supernode, self.speech = newer.supernode, newer.speech
        # What was named long ago weighs less.
        self.named //= 2


@attrs.frozen
class Candidates:
    """Some nodes of a swarm, drawn at random, and the numbers of the whole swarm.

    `seeds` and `leeches` are how many are complete and not, `completions` how many completed while we watched.
    """

    entries: tuple[Entry, ...] = ()
    seeds: int = 0
    leeches: int = 0
    completions: int = 0


@attrs.frozen
class Viewpoint:
    """Who asks: its key, where it is, whether it has everything, and how it talks."""

    node_id: str
    host: str
    isp: str | None
    seed: bool = False
    speech: Speech = Speech.TLS


@attrs.frozen
class Summary:
    """The numbers of one swarm."""

    resource: str
    seeds: int
    leeches: int


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
