"""Which bytes are still to be fetched, and who fetches which? Values of the scheduler."""

from collections.abc import Iterator
from enum import StrEnum

import attrs


class Kind(StrEnum):
    """The three kinds of source."""

    SERVER = "server"
    SUPERNODE = "supernode"
    PEER = "peer"


class Mode(StrEnum):
    """What the download optimises: time, or the resource servers' bandwidth."""

    FAST = "fast"
    OFFLOAD = "offload"


@attrs.frozen(eq=False)
class Span:
    """A half-open run of positions given to one source to fetch.

    Compared by identity: two fetches of one run are two spans.
    """

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Positions in the run."""
        return self.stop - self.start


@attrs.frozen
class Assignment:
    """A span for a source, and the running fetch to shorten first, if it was taken from one."""

    span: Span
    victim: Span | None = None
    victim_stop: int = 0


class IntervalSet:
    """A set of positions as disjoint, sorted, half-open intervals."""

    def __init__(self, intervals: list[tuple[int, int]] | None = None) -> None:
        self._items: list[tuple[int, int]] = []
        self.changes = 0
        """How often it was changed: for whoever keeps something made of it."""
        for start, stop in intervals or []:
            self.add(start, stop)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._items)

    def __bool__(self) -> bool:
        return bool(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"IntervalSet({self._items!r})"

    @property
    def total(self) -> int:
        """Positions in the set."""
        return sum(stop - start for start, stop in self._items)

    def _slice(self, start: int, stop: int) -> slice:
        """The intervals that touch or overlap [start, stop]."""
        low, high = 0, len(self._items)
        while low < high:
            middle = (low + high) // 2
            if self._items[middle][1] < start:
                low = middle + 1
            else:
                high = middle
        first = low
        while low < len(self._items) and self._items[low][0] <= stop:
            low += 1
        return slice(first, low)

    def add(self, start: int, stop: int) -> None:
        """Put positions in; those already there stay."""
        if start >= stop:
            return
        where = self._slice(start, stop)
        touched = self._items[where]
        if touched:
            start, stop = min(start, touched[0][0]), max(stop, touched[-1][1])
        self._items[where] = [(start, stop)]
        self.changes += 1

    def remove(self, start: int, stop: int) -> None:
        """Take positions out; those not there are no error."""
        if start >= stop:
            return
        where = self._slice(start, stop)
        rest = []
        for low, high in self._items[where]:
            if low < start:
                rest.append((low, min(high, start)))
            if high > stop:
                rest.append((max(low, stop), high))
        self._items[where] = rest
        self.changes += 1

    def overlap(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The parts of [start, stop) that are in the set."""
        return [
            (max(low, start), min(high, stop))
            for low, high in self._items[self._slice(start, stop)]
            if min(high, stop) > max(low, start)
        ]

    def __contains__(self, position: int) -> bool:
        return bool(self.overlap(position, position + 1))
