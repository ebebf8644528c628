"""What shall an idle source fetch next?

Every byte of an unfinished resource is *free*, *owned* by one running fetch, or *delivered* (given to the store,
which judges it). An idle source gets, in this order: a free run; else the tail of the slowest running fetch; else a
second copy of what is nearly done, within a budget. When a piece turns out bad it becomes free again, to be fetched
from one source as a whole.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import attrs

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.picker import largest_gap, rarest_run
from p2sp.schedule.rate import RateEstimate
from p2sp.schedule.spans import IntervalSet, Kind, Span

if TYPE_CHECKING:
    from random import Random

GRACE = 3.0
"""Seconds a fetch may take to show what it can do before its tail may be taken."""

MIN_STEAL = 512 * 1024
KEEP = 256 * 1024
"""Bytes that stay with the owner whose tail is taken."""

MAX_OWNERS = 2
SERVER_SECONDS = 8.0
SERVER_FIRST = 1024 * 1024
SERVER_MAX = 64 * 1024 * 1024
WIRE_SECONDS = 2.0
WIRE_MAX = 16 * 1024 * 1024


class Mode(StrEnum):
    """What the download optimises: time, or the resource servers' bandwidth."""

    FAST = "fast"
    OFFLOAD = "offload"


class Holdings(Protocol):
    """What the scheduler asks of a source: which pieces it can deliver now."""

    def __call__(self, piece: int) -> bool: ...


@attrs.define(eq=False)
class _Source:
    kind: Kind
    has: Holdings
    rate: RateEstimate = attrs.field(factory=RateEstimate)
    last_stop: int = -1
    running: int = 0


@attrs.define(eq=False)
class _Fetch:
    """A running fetch: what was delivered of it, where it ends now, and since when."""

    span: Span
    source: str
    stop: int
    since: float
    got: IntervalSet = attrs.field(factory=IntervalSet)
    frontier: int = 0
    copy: bool = False

    def missing(self) -> list[tuple[int, int]]:
        rest = IntervalSet([(self.span.start, self.stop)])
        for start, stop in self.got:
            rest.remove(start, stop)
        return list(rest)

    @property
    def remaining(self) -> int:
        return sum(stop - start for start, stop in self.missing())


@attrs.frozen
class Assignment:
    """A span for a source, and the running fetch to shorten first, if it was taken from one."""

    span: Span
    victim: Span | None = None
    victim_stop: int = 0


class Scheduler:
    """Divides a resource among its sources. Knows no clock and no network: `now` is seconds on any steady clock.

    `verified` are the pieces that need not be fetched.
    """

    def __init__(
        self,
        layout: Layout,
        verified: Iterable[int] = (),
        *,
        rng: "Random",
        mode: Mode = Mode.FAST,
        in_order: bool = False,
        floor_rate: float = 0.0,
    ) -> None:
        self._layout = layout
        self._rng = rng
        self._mode = mode
        self._in_order = in_order
        self._floor_rate = floor_rate
        self._sources: dict[str, _Source] = {}
        self._fetches: dict[Span, _Fetch] = {}
        self._alone: dict[int, frozenset[str]] = {}
        self._budget = max(min(16 * 1024 * 1024, layout.length * 3 // 100), SERVER_FIRST)
        self.free = IntervalSet()
        done = set(verified)
        for piece in range(layout.piece_count):
            if piece not in done:
                self.free.add(layout.piece_start(piece), layout.piece_end(piece))

    # -- sources ---------------------------------------------------------------------------------------------

    def add_source(self, key: str, kind: Kind, has: Holdings) -> None:
        """A source appears. `has` is asked anew at each choice."""
        self._sources[key] = _Source(kind, has)

    def remove_source(self, key: str) -> None:
        """A source is gone; end its fetches with `end` first."""
        self._sources.pop(key, None)

    def rate_of(self, key: str, now: float) -> float:
        """What a source delivers, in bytes a second."""
        return self._sources[key].rate.rate(now)

    # -- what happens to spans -------------------------------------------------------------------------------

    def delivered(self, span: Span, start: int, stop: int, now: float) -> None:
        """Whole blocks of a running fetch were given to the store."""
        fetch = self._fetches[span]
        fetch.got.add(start, stop)
        fetch.frontier = max(fetch.frontier, stop)
        source = self._sources.get(fetch.source)
        if source is not None:
            source.rate.add(stop - start, now)

    def is_missing(self, span: Span) -> bool:
        """Whether a running fetch has not delivered all that it was to deliver."""
        return bool(self._fetches[span].missing())

    def end(self, span: Span) -> list[Span]:
        """A fetch is over, for whatever reason; what it did not deliver becomes free.

        Returns running fetches that have nothing left to deliver because this one did it: they are to be cancelled.
        """
        fetch = self._fetches.pop(span)
        source = self._sources.get(fetch.source)
        if source is not None:
            source.running -= 1
            source.last_stop = fetch.stop
        others = [other for other in self._fetches.values() if _overlaps(other, fetch)]
        for start, stop in fetch.missing():
            rest = IntervalSet([(start, stop)])
            for other in others:
                for low, high in other.missing():
                    rest.remove(low, high)
                for low, high in other.got.overlap(start, stop):
                    rest.remove(low, high)
            for low, high in rest:
                self.free.add(low, high)
        redundant = []
        for other in others:
            for start, stop in fetch.got:
                other.got.add(max(start, other.span.start), min(stop, other.stop))
            if not other.missing():
                redundant.append(other.span)
        return redundant

    def piece_failed(self, piece: int, suspects: frozenset[str]) -> None:
        """A piece did not verify: it is fetched again as a whole from one source, another one if there is any."""
        start, stop = self._layout.piece_start(piece), self._layout.piece_end(piece)
        self._alone[piece] = suspects
        self.free.add(start, stop)

    def piece_verified(self, piece: int) -> None:
        """A piece is good, whoever it came from."""
        self._alone.pop(piece, None)

    # -- choice ----------------------------------------------------------------------------------------------

    def next_span(self, key: str, now: float) -> Assignment | None:
        """What the source shall fetch now; None: nothing it could help with. The span runs until `end`."""
        source = self._sources[key]
        assignment = (
            self._alone_piece(key, source)
            or self._free_run(key, source, now)
            or self._steal(key, source, now)
            or self._copy(key, source, now)
        )
        if assignment is None:
            return None
        source.rate.start(now)
        source.running += 1
        span = assignment.span
        self._fetches[span] = _Fetch(
            span, key, span.stop, now, frontier=span.start, copy=any(self._owners(span.start, span.stop))
        )
        return assignment

    def _take(self, start: int, stop: int) -> Assignment:
        self.free.remove(start, stop)
        return Assignment(Span(start, stop))

    def _alone_piece(self, key: str, source: _Source) -> Assignment | None:
        for piece, suspects in self._alone.items():
            start, stop = self._layout.piece_start(piece), self._layout.piece_end(piece)
            whole = self.free.overlap(start, stop) == [(start, stop)]
            innocent = [k for k, s in self._sources.items() if k not in suspects and s.has(piece)]
            if whole and source.has(piece) and (key not in suspects or not innocent):
                return self._take(start, stop)
        return None

    def _free_run(self, key: str, source: _Source, now: float) -> Assignment | None:
        if not self.free:
            return None
        allowed = self._allowed(source, now)
        rate = source.rate.rate(now)
        if source.kind is Kind.SERVER:
            size = int(min(max(rate * SERVER_SECONDS, self._layout.piece_length), SERVER_MAX)) if rate else SERVER_FIRST
            run = largest_gap(
                self.free,
                self._layout,
                size,
                allowed=allowed,
                in_order=self._in_order,
                resume_at=source.last_stop,
                busy_ends={fetch.stop for fetch in self._fetches.values()},
            )
        else:
            size = int(min(max(rate * WIRE_SECONDS, self._layout.piece_length), WIRE_MAX))
            run = rarest_run(
                self.free,
                self._layout,
                size,
                allowed=allowed,
                in_order=self._in_order,
                copies=self._copies,
                rng=self._rng,
            )
        return self._take(*run) if run is not None else None

    def _allowed(self, source: _Source, now: float) -> Callable[[int], bool]:
        """Pieces this source may be given:

        those it has, less those kept for one source, less those others shall bring.
        """
        wire_only = (
            self._mode is Mode.OFFLOAD
            and source.kind is Kind.SERVER
            and self._wire_rate(now) >= max(self._floor_rate, 1.0)
        )

        def allowed(piece: int) -> bool:
            return piece not in self._alone and source.has(piece) and not (wire_only and self._copies(piece))

        return allowed

    def _wire_rate(self, now: float) -> float:
        return sum(source.rate.rate(now) for source in self._sources.values() if source.kind is not Kind.SERVER)

    def _copies(self, piece: int) -> int:
        return sum(source.kind is not Kind.SERVER and source.has(piece) for source in self._sources.values())

    def _eta(self, fetch: _Fetch, now: float) -> float:
        """Seconds until the fetch ends at its source's present rate, shared among that source's fetches."""
        source = self._sources.get(fetch.source)
        rate = source.rate.rate(now) / max(source.running, 1) if source is not None else 0.0
        return fetch.remaining / rate if rate > 0 else float("inf")

    def _steal(self, key: str, source: _Source, now: float) -> Assignment | None:
        mine = source.rate.rate(now) / (source.running + 1)
        best: tuple[float, _Fetch, int] | None = None
        for fetch in self._fetches.values():
            if fetch.copy or self._is_alone(fetch) or now - fetch.since < GRACE or (fetch.source == key and mine <= 0):
                continue
            if any(other is not fetch for other in self._owners(fetch.frontier, fetch.stop)):
                continue
            eta = self._eta(fetch, now)
            split = self._split(fetch, mine, eta)
            if split is None or not self._source_has(source, split, fetch.stop):
                continue
            needed = (fetch.stop - split) / mine if mine > 0 else GRACE
            if needed < eta / 2 and (best is None or eta > best[0]):
                best = (eta, fetch, split)
        if best is None:
            return None
        _, fetch, split = best
        stop, fetch.stop = fetch.stop, split
        return Assignment(Span(split, stop), fetch.span, split)

    def _split(self, fetch: _Fetch, mine: float, eta: float) -> int | None:
        """Where to cut a running fetch so that both ends finish together; None where it is not worth it."""
        left = fetch.stop - fetch.frontier
        if eta == float("inf"):
            cut = fetch.frontier
        else:
            theirs = left / eta if eta else 0.0
            share = mine / (mine + theirs) if mine + theirs > 0 else 0.5
            cut = max(fetch.stop - int(left * share), fetch.frontier + KEEP)
        cut = -(-cut // BLOCK) * BLOCK
        smallest = min(MIN_STEAL, self._layout.piece_length)
        return cut if fetch.stop - cut >= (1 if eta == float("inf") else smallest) else None

    def _copy(self, key: str, source: _Source, now: float) -> Assignment | None:
        """End game: at most two owners of a block, and a budget for the bytes fetched twice."""
        mine = source.rate.rate(now) / (source.running + 1)
        best: tuple[float, int, int] | None = None
        for fetch in self._fetches.values():
            if fetch.copy or fetch.source == key or now - fetch.since < min(GRACE, 1.0):
                continue
            for start, stop in fetch.missing():
                start -= start % BLOCK
                size = stop - start
                if self._is_alone(fetch) or size > self._budget or not self._source_has(source, start, stop):
                    continue
                if sum(1 for _ in self._owners(start, stop)) >= MAX_OWNERS:
                    continue
                eta = self._eta(fetch, now)
                needed = size / mine if mine > 0 else GRACE
                if needed * 1.5 < eta and (best is None or eta > best[0]):
                    best = (eta, start, stop)
        if best is None:
            return None
        _, start, stop = best
        self._budget -= stop - start
        return Assignment(Span(start, stop))

    def _owners(self, start: int, stop: int) -> Iterator[_Fetch]:
        return (fetch for fetch in self._fetches.values() if fetch.span.start < stop and start < fetch.stop)

    def _is_alone(self, fetch: _Fetch) -> bool:
        return bool(self._alone) and self._layout.piece_at(fetch.span.start) in self._alone

    def _source_has(self, source: _Source, start: int, stop: int) -> bool:
        return all(source.has(piece) for piece in self._layout.pieces_in(start, stop))


def _overlaps(one: _Fetch, other: _Fetch) -> bool:
    return one.span.start < other.stop and other.span.start < one.stop
