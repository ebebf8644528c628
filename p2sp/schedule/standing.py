"""What does the scheduler know of a source, and how long is the span that it gets at once?"""

from collections.abc import Callable, Collection, Iterable

import attrs

from p2sp.schedule.ledger import Running
from p2sp.schedule.rate import RateEstimate
from p2sp.schedule.rescue import FIRST, GRACE
from p2sp.schedule.spans import Kind

SERVER_SECONDS = 8.0
FIRST_SECONDS = 2.0
"""A server's first span is this long at the rate it had at another time: that may be over."""

SERVER_MAX = 64 * 1024 * 1024
SHARE = 0.5
"""Of its fair share of what is free a server gets this part at once, so that all end together and none waits."""

WIRE_SECONDS = 2.0
WIRE_MAX = 16 * 1024 * 1024

DRY_WAIT = 10.0
DRY_LONGEST = 160.0
"""Seconds that a source which kept a fetch in silence takes over nothing from others; doubled each time."""


@attrs.frozen
class Hints:
    """Pieces that a source would rather be asked for; `only`: it serves no others now."""

    pieces: Collection[int] = ()
    only: bool = False


@attrs.define(eq=False)
class SourceState:
    """A source: its rate over all its fetches, when it was heard last, how often in a row it kept silent (`dry`).

    `pieces` is what it can deliver, a bit for each (see `p2sp.schedule.bits`). `inside` says that it is in our ISP;
    `node` is what all nodes call it by, if it divides work with us.
    """

    kind: Kind
    pieces: int
    in_row: Callable[[], bool] = lambda: False
    expected: float = 0.0
    hints: Callable[[], Hints] = Hints
    inside: bool = False
    node: str = ""
    rate: RateEstimate = attrs.field(factory=RateEstimate)
    heard: float = 0.0
    last_stop: int = -1
    running: int = 0
    ended_at: float = 0.0
    dry: int = 0
    dry_until: float = 0.0

    def has(self, piece: int) -> bool:
        """Whether it can deliver that piece."""
        return bool(self.pieces >> piece & 1)

    def serves(self) -> int:
        """The pieces that it gives now."""
        hints = self.hints()
        return self.pieces & sum(1 << piece for piece in hints.pieces) if hints.only else self.pieces

    def stranger(self, now: float) -> bool:
        """Whether it has not delivered anything yet, or does so no more."""
        return self.silent(now) or self.rate.rate(now) <= 0

    def expects(self, now: float) -> float:
        """What one fetch more may bring, in bytes a second; 0.0 for who never delivered."""
        return self.rate.rate(now) / (self.running + 1)

    def silent(self, now: float) -> bool:
        """Whether it only keeps others from what it holds: asked and not answering, or lately so."""
        return now < self.dry_until or (self.running > 0 and now - self.heard >= GRACE)

    def ended(self, fetch: Running, now: float) -> None:
        """A fetch of it is over."""
        self.running -= 1
        self.ended_at = now
        self.last_stop = fetch.stop
        if not self.running:
            self.rate.rest(now)
        if fetch.frontier == fetch.span.start and now - fetch.since >= GRACE:
            self.dry_until = now + min(DRY_WAIT * 2.0**self.dry, DRY_LONGEST)
            self.dry += 1

    def heard_of(self, count: int, now: float) -> None:
        """Bytes came from it."""
        self.rate.add(count, now)
        self.heard = now
        self.dry, self.dry_until = 0, 0.0

    def wire_size(self, now: float) -> float:
        """How long a span a peer or super node may get; a piece at least is for the picker to see to."""
        return min(self.expects(now) * WIRE_SECONDS, WIRE_MAX)

    def server_size(self, others: Iterable["SourceState"], free: int, piece: int, now: float) -> float:
        """How long a span a server gets, of `free` bytes: some seconds of its rate, and no more than half its share.

        Others of which nothing is known yet are taken to be as fast as one fetch of it.
        """
        rate = self.expects(now)
        if rate <= 0:
            return min(max(self.expected * FIRST_SECONDS / (self.running + 1), FIRST), SERVER_MAX)
        size = min(max(rate * SERVER_SECONDS, piece), SERVER_MAX)
        rates = [other.rate.rate(now) or rate for other in others]
        if not rates:
            return size
        share = rate / (self.rate.rate(now) + sum(rates))
        return min(size, max(free * share * SHARE, FIRST))
