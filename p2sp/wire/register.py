"""Which connections does this node have, is there room for one more, and what did the others end of?"""

from collections import Counter

import attrs
from twisted.internet.defer import Deferred, gatherResults

from p2sp.net.ratelimit import client_key
from p2sp.wire.door import Visitor
from p2sp.wire.errors import Why
from p2sp.wire.link import PeerLink


@attrs.frozen
class Bounds:
    """How many connections there may be: all of them, without handshakes yet, incoming from one customer."""

    links: int = 200
    half_open: int = 64
    per_address: int = 16


class Register:
    """All connections, from when they are accepted or dialled until they are gone.

    Of IPv6 a /64 counts as one address: who has one has them all.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.links: set[PeerLink] = set()
        self.visitors: set[Visitor] = set()
        self.endings: Counter[Why] = Counter()
        """What connections ended of so far, refused ones included."""

        self._gone: dict[PeerLink | Visitor, list[Deferred[None]]] = {}

    def __len__(self) -> int:
        return len(self.links) + len(self.visitors)

    @property
    def full(self) -> bool:
        """Whether there is no room for any connection."""
        return len(self) >= self.bounds.links

    def admits(self, visitor: Visitor) -> bool:
        """Whether one more connection is taken; if so it counts from now on."""
        here = client_key(visitor.host)
        half_open = len(self.visitors) + sum(not link.is_joined for link in self.links)
        incoming = [link.address[0] for link in self.links if not link.outgoing]
        incoming += [other.host for other in self.visitors]
        if (
            self.full
            or half_open >= self.bounds.half_open
            or sum(client_key(host) == here for host in incoming) >= self.bounds.per_address
        ):
            self.endings[Why.TOO_MANY] += 1
            return False
        self.visitors.add(visitor)
        return True

    def left(self, one: PeerLink | Visitor, why: Why | None) -> None:
        """A connection is gone, or a visitor has become a link (no reason)."""
        if isinstance(one, Visitor):
            self.visitors.discard(one)
        else:
            self.links.discard(one)
        if why is not None:
            self.endings[why] += 1
        for waiting in self._gone.pop(one, ()):
            waiting.callback(None)

    def when_gone(self, *some: PeerLink | Visitor) -> "Deferred[None]":
        """Fires when none of these is left."""
        waiting: list[Deferred[None]] = []
        for one in some:
            if one in self.links or one in self.visitors:
                waiting.append(Deferred())
                self._gone.setdefault(one, []).append(waiting[-1])
        return gatherResults(waiting, consumeErrors=True).addCallback(lambda _: None)
