"""Which bytes are free, which are owned by which running fetch, and which are delivered?"""

from collections.abc import Iterable

import attrs

from p2sp.resource.layout import Layout
from p2sp.schedule.picker import free_pieces
from p2sp.schedule.rate import RateEstimate
from p2sp.schedule.spans import IntervalSet, Span


@attrs.define(eq=False)
class Running:
    """A running fetch: what it still owes (`missing`), where it ends now (`stop`), and how it fares.

    `frontier` is the position behind the last byte it delivered, `since` and `heard` when it began and when its last
    byte came, `single` whether it fetches a piece that failed and is to come from one source.
    """

    span: Span
    source: str
    stop: int
    since: float
    heard: float
    frontier: int
    missing: IntervalSet
    single: bool = False
    rate: RateEstimate = attrs.field(factory=RateEstimate)

    @property
    def left(self) -> int:
        """Bytes it still owes."""
        return self.missing.total


class Ledger:
    """The books of an unfinished resource.

    Every byte is free, or owed by one running fetch (by two in the end game), or delivered: given to the store, which
    judges it. A piece the store finds bad is free again as a whole.
    """

    def __init__(self, layout: Layout, verified: Iterable[int] = ()) -> None:
        self._layout = layout
        self.free = IntervalSet()
        self.running: dict[Span, Running] = {}
        self._pieces = (-1, 0, 0)
        done = set(verified)
        for piece in range(layout.piece_count):
            if piece not in done:
                self.free.add(layout.piece_start(piece), layout.piece_end(piece))

    def free_pieces(self) -> tuple[int, int]:
        """The pieces all of which is free, and those of which only some is."""
        if self._pieces[0] != self.free.changes:
            self._pieces = self.free.changes, *free_pieces(self.free, self._layout)
        return self._pieces[1:]

    def begin(self, span: Span, source: str, now: float, *, single: bool = False) -> Running:
        """A source begins to fetch a span; it owes all of it, and nothing of it is free."""
        self.free.remove(span.start, span.stop)
        missing = IntervalSet([(span.start, span.stop)])
        fetch = Running(span, source, span.stop, now, now, span.start, missing, single)
        fetch.rate.start(now)
        self.running[span] = fetch
        return fetch

    def delivered(self, span: Span, start: int, stop: int, now: float) -> Running:
        """Blocks of a running fetch were given to the store: nobody owes them any more."""
        fetch = self.running[span]
        fetch.frontier = max(fetch.frontier, stop)
        fetch.heard = now
        fetch.rate.add(stop - start, now)
        self._settle(start, stop)
        return fetch

    def shorten(self, fetch: Running, stop: int) -> None:
        """A running fetch shall end at `stop`; what it owed behind that, and nobody else does, is free."""
        for low, high in fetch.missing.overlap(stop, fetch.stop):
            fetch.missing.remove(low, high)
            self.disowned(low, high)
        fetch.stop = stop

    def end(self, span: Span) -> tuple[Running, list[Span]]:
        """A fetch is over; what it still owes, and nobody else does, becomes free.

        Also tells which other fetches owe nothing any more: they are to be cancelled.
        """
        fetch = self.running.pop(span)
        for start, stop in fetch.missing:
            self.disowned(start, stop)
        return fetch, [other.span for other in self.running.values() if not other.missing]

    def disowned(self, start: int, stop: int) -> None:
        """A run is to be had anew; what of it nobody owes is free."""
        rest = IntervalSet([(start, stop)])
        for fetch in self.running.values():
            for low, high in fetch.missing.overlap(start, stop):
                rest.remove(low, high)
        for low, high in rest:
            self.free.add(low, high)

    def failed(self, piece: int) -> None:
        """All of a piece, which was delivered whole, is to be had anew."""
        self.free.add(self._layout.piece_start(piece), self._layout.piece_end(piece))

    def verified(self, piece: int) -> None:
        """A piece is good, and nothing of it is wanted any more."""
        self._settle(self._layout.piece_start(piece), self._layout.piece_end(piece))

    def sharers(self, fetch: Running) -> list[Running]:
        """Who else owes some of what this fetch owes."""
        return [
            other
            for other in self.running.values()
            if other is not fetch
            and other.span.start < fetch.stop
            and fetch.span.start < other.stop
            and any(other.missing.overlap(start, stop) for start, stop in fetch.missing)
        ]

    def _settle(self, start: int, stop: int) -> None:
        self.free.remove(start, stop)
        for fetch in self.running.values():
            if fetch.span.start < stop and start < fetch.stop:
                fetch.missing.remove(start, stop)
