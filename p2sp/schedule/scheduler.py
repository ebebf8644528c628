"""What shall an idle source fetch next?

Every byte of an unfinished resource is *free*, *owned* by one running fetch, or *delivered* (given to the store,
which judges it). An idle source gets, in this order: a piece that failed before; a free run; the tail of a running
fetch that it helps; a second copy of what is nearly done, within a budget.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import attrs

from p2sp.resource.layout import Layout
from p2sp.schedule.ledger import Ledger, Running
from p2sp.schedule.picker import largest_gap, rarest_run
from p2sp.schedule.rate import RateEstimate
from p2sp.schedule.rescue import FIRST, GRACE, SETTLE, Helper, Pace, Tail, best_copy, best_tail
from p2sp.schedule.spans import IntervalSet, Kind, Span
from p2sp.schedule.trial import Trials

if TYPE_CHECKING:
    from random import Random

SERVER_SECONDS = 8.0
FIRST_SECONDS = 2.0
"""A server's first span is this long at the rate it had at another time: that may be over."""

SERVER_MAX = 64 * 1024 * 1024
SHARE = 0.5
"""Of its fair share of what is free a server gets this part at once, so that all end together and none waits."""

WIRE_SECONDS = 2.0
WIRE_MAX = 16 * 1024 * 1024

COPY_MAX = 16 * 1024 * 1024
COPY_SHARE = 0.03
"""Of a resource this part, but at least FIRST and at most COPY_MAX bytes, may be asked for twice."""

DRY_WAIT = 10.0
DRY_LONGEST = 160.0
"""Seconds that a source which kept a fetch in silence takes over nothing from others; doubled each time."""

INNOCENT_FIRST = 5.0
"""Seconds that a piece that failed waits for a source not suspected of it; then anybody may have it."""


class Mode(StrEnum):
    """What the download optimises: time, or the resource servers' bandwidth."""

    FAST = "fast"
    OFFLOAD = "offload"


class Holdings(Protocol):
    """What the scheduler asks of a source: which pieces it can deliver now."""

    def __call__(self, piece: int) -> bool: ...


@attrs.define(eq=False)
class _Source:
    """A source: its rate over all its fetches, when it was heard last, how often in a row it kept silent (`dry`)."""

    kind: Kind
    has: Holdings
    in_row: Callable[[], bool]
    expected: float = 0.0
    rate: RateEstimate = attrs.field(factory=RateEstimate)
    heard: float = 0.0
    last_stop: int = -1
    running: int = 0
    ended_at: float = 0.0
    dry: int = 0
    dry_until: float = 0.0

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


@attrs.frozen
class _Retry:
    """A piece that failed: who gave some of it, and when that was found."""

    suspects: frozenset[str]
    since: float


@attrs.frozen
class Assignment:
    """A span for a source, and the running fetch to shorten first, if it was taken from one."""

    span: Span
    victim: Span | None = None
    victim_stop: int = 0


class Scheduler:
    """Divides a resource among its sources. Knows no clock and no network: `now` is seconds on any steady clock.

    `verified` are the pieces that need not be fetched. `floor_rate` (bytes a second) is what wire sources must bring
    together in mode OFFLOAD, or servers help. `scatter` says that others fetch the same resource at the same time:
    servers are then asked for what is rarest, beginning anywhere, so that every one of us brings other pieces.
    `trials` says that pieces are judged: a server beside others is then asked for one piece, and for more once that
    was good.
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
        scatter: bool = False,
        trials: bool = False,
    ) -> None:
        self._layout = layout
        self._rng = rng
        self._mode = mode
        self._in_order = in_order
        self._floor_rate = floor_rate
        self._scatter = scatter
        self._sources: dict[str, _Source] = {}
        self._ledger = Ledger(layout, verified)
        self._retries: dict[int, _Retry] = {}
        self._trials = Trials(layout) if trials else None
        self._budget = max(min(COPY_MAX, int(layout.length * COPY_SHARE)), FIRST)

    @property
    def free(self) -> IntervalSet:
        """What nobody fetches yet."""
        return self._ledger.free

    # -- sources ---------------------------------------------------------------------------------------------

    def add_source(
        self,
        key: str,
        kind: Kind,
        has: Holdings,
        in_row: Callable[[], bool] = lambda: False,
        expected: float = 0.0,
    ) -> None:
        """A source appears. `has` and `in_row` (see `ISource`) are asked anew at each choice.

        `expected`: bytes a second it brought at another time, for the length of its first span.
        """
        self._sources[key] = _Source(kind, has, in_row, expected)

    def remove_source(self, key: str) -> None:
        """A source is gone; end its fetches with `end` first."""
        self._sources.pop(key, None)

    def rate_of(self, key: str, now: float) -> float:
        """What a source delivers, in bytes a second; while it has nothing to do, what it last did."""
        return self._sources[key].rate.rate(now)

    # -- what happens to spans -------------------------------------------------------------------------------

    def delivered(self, span: Span, start: int, stop: int, now: float) -> None:
        """Whole blocks of a running fetch were given to the store."""
        key = self._ledger.delivered(span, start, stop, now).source
        source = self._sources.get(key)
        if source is not None:
            source.heard_of(stop - start, now)
            if self._trials is not None:
                self._trials.gave(key, start, stop)

    def is_missing(self, span: Span) -> bool:
        """Whether a running fetch has not delivered all that it was to deliver."""
        return bool(self._ledger.running[span].missing)

    def end(self, span: Span, now: float) -> list[Span]:
        """A fetch is over, for whatever reason; what it did not deliver becomes free.

        Returns running fetches that have nothing left to deliver because this one did it: they are to be cancelled.
        """
        fetch, redundant = self._ledger.end(span)
        source = self._sources.get(fetch.source)
        if source is not None:
            source.ended(fetch, now)
        return redundant

    def piece_failed(self, piece: int, suspects: frozenset[str], now: float) -> None:
        """A piece did not verify: it is fetched again as a whole from one source, another one if there is any."""
        self._retries[piece] = _Retry(suspects, now)
        self._ledger.failed(piece)
        if self._trials is not None:
            self._trials.judged(piece, good=False)

    def piece_verified(self, piece: int) -> frozenset[str]:
        """A piece is good, whoever it came from. Returns the sources that this proves: they may be asked for more."""
        self._retries.pop(piece, None)
        self._ledger.verified(piece)
        return self._trials.judged(piece, good=True) if self._trials is not None else frozenset()

    def distrust(self, key: str) -> None:
        """A source is to blame for something: what it gives is on trial again. End its fetches with `end` first."""
        if self._trials is not None:
            self._trials.disowned(key)

    def disowned(self, start: int, stop: int) -> None:
        """A run that was delivered is not believed, and is to be had anew; no piece in it may be verified."""
        self._ledger.disowned(start, stop)

    # -- choice ----------------------------------------------------------------------------------------------

    def next_span(self, key: str, now: float) -> Assignment | None:
        """What the source shall fetch now; None: nothing it could help with. The span runs until `end`."""
        source = self._sources[key]
        trial = self._on_trial(key)
        if trial and self._awaits_verdict(key, source, now):
            return None
        allowed = self._allowed(source, now)
        retry = self._retry(key, source, now)
        run = retry or self._free_run(key, source, lambda piece: piece not in self._retries and allowed(piece), now)
        assignment = Assignment(Span(*run)) if run is not None else self._rescue(key, source, allowed, now)
        if assignment is None:
            return None
        if not source.running:
            source.rate.start(now)
            source.heard = now
        source.running += 1
        self._ledger.begin(assignment.span, key, now, single=retry is not None)
        return assignment

    def _on_trial(self, key: str) -> bool:
        """Whether a server has still to show that what it gives is good, and others could bring it instead."""
        server = self._sources[key].kind is Kind.SERVER
        return self._trials is not None and server and len(self._sources) > 1 and not self._trials.is_proven(key)

    def _awaits_verdict(self, key: str, source: _Source, now: float) -> bool:
        """Whether a source on trial has given what it was asked for, and the verdict is still to come."""
        assert self._trials is not None
        if source.running:
            return True
        # Others may be long about the rest of a piece, or let it lie.
        return now - source.ended_at < GRACE and any(
            not self.free.overlap(self._layout.piece_start(piece), self._layout.piece_end(piece))
            for piece in self._trials.awaits(key)
        )

    def _retry(self, key: str, source: _Source, now: float) -> tuple[int, int] | None:
        """What is to be had of a piece that failed: all of it, unless a source broke off in the midst of it."""
        for piece, retry in self._retries.items():
            runs = self.free.overlap(self._layout.piece_start(piece), self._layout.piece_end(piece))
            if runs and source.has(piece) and self._may_retry(key, piece, retry, now):
                return runs[0]
        return None

    def _may_retry(self, key: str, piece: int, retry: _Retry, now: float) -> bool:
        if now - retry.since >= INNOCENT_FIRST:
            return True
        if not self._suspected(key, piece):
            # Only one source will be asked for it: rather one that is known to deliver.
            return not self._is_stranger(key, now) or not any(
                s.has(piece) and k not in retry.suspects and not self._is_stranger(k, now)
                for k, s in self._sources.items()
            )
        trial = self._on_trial(key)
        return not any(
            s.has(piece)
            for k, s in self._sources.items()
            if k not in retry.suspects or (trial and k != key and not self._on_trial(k))
        )

    def _is_stranger(self, key: str, now: float) -> bool:
        """Whether a source has not delivered anything yet, or does so no more."""
        source = self._sources[key]
        return source.silent(now) or source.rate.rate(now) <= 0

    def _suspected(self, key: str, piece: int) -> bool:
        retry = self._retries.get(piece)
        return retry is not None and key in retry.suspects

    def _free_run(
        self, key: str, source: _Source, allowed: Callable[[int], bool], now: float
    ) -> tuple[int, int] | None:
        if not self.free:
            return None
        rate = source.expects(now)
        if source.kind is not Kind.SERVER:
            return self._rare(allowed, rate, WIRE_MAX)
        most = SERVER_MAX
        if self._on_trial(key):
            # One piece, and all of it, if that can be had: then its verdict is about this source alone.
            most = 1
            if any(allowed(piece) and self._is_free(piece) for piece in range(self._layout.piece_count)):
                anything = allowed

                def allowed(piece: int) -> bool:
                    return self._is_free(piece) and anything(piece)

        if not self._in_order and any(other.kind is not Kind.SERVER for other in self._sources.values()):
            # Others fetch this too: what none of them has comes first, each begins elsewhere, and soon passes it on.
            run = self._rare(lambda piece: allowed(piece) and not self._copies(piece), rate, most)
            if run is not None:
                return run
        return largest_gap(
            self.free,
            self._layout,
            int(min(self._server_size(source, rate, now), most)),
            allowed=allowed,
            in_order=self._in_order,
            resume_at=source.last_stop,
            busy_ends={fetch.stop for fetch in self._ledger.running.values()},
        )

    def _server_size(self, source: _Source, rate: float, now: float) -> float:
        """How long a span a server gets: some seconds of its rate, and not what others would be through with sooner."""
        if rate > 0:
            size = max(rate * SERVER_SECONDS, self._layout.piece_length)
        else:
            size = max(source.expected * FIRST_SECONDS / (source.running + 1), FIRST)
        others = [other.rate.rate(now) or rate for other in self._sources.values() if other is not source]
        if not others or rate <= 0:
            return size
        share = rate / (source.rate.rate(now) + sum(others))
        return min(size, max(self.free.total * share * SHARE, FIRST))

    def _is_free(self, piece: int) -> bool:
        run = self._layout.piece_start(piece), self._layout.piece_end(piece)
        return self.free.overlap(*run) == [run]

    def _rare(self, allowed: Callable[[int], bool], rate: float, most: int) -> tuple[int, int] | None:
        return rarest_run(
            self.free,
            self._layout,
            int(min(max(rate * WIRE_SECONDS, self._layout.piece_length), most)),
            allowed=allowed,
            in_order=self._in_order,
            copies=self._copies,
            rng=self._rng,
        )

    def _rescue(self, key: str, source: _Source, allowed: Callable[[int], bool], now: float) -> Assignment | None:
        if source.silent(now):
            return None
        helper = Helper(key, source.expects(now), lambda piece: not self._suspected(key, piece) and allowed(piece))

        trial = self._on_trial(key)
        stranger = self._is_stranger(key, now) and not all(self._is_stranger(k, now) for k in self._sources)

        def pace(fetch: Running) -> Pace:
            its = self._pace(fetch, source, now)
            # Two silent ones in a row are what costs time: who delivers comes before who may turn out to be the next.
            if its.silent and stranger and now - self._heard(fetch) < 2 * GRACE:
                its = attrs.evolve(its, silent=False, known=False)
            # To share a piece with who may be wrong costs all of it: only what would take long is worth that.
            return attrs.evolve(its, known=False) if trial and its.eta < GRACE else its

        tail = best_tail(self._ledger, self._layout, helper, pace)
        if tail is not None:
            if trial:
                tail = self._last_piece(tail)
            self._ledger.shorten(tail.fetch, tail.start)
            return Assignment(Span(tail.start, tail.stop), tail.fetch.span, tail.start)
        if self._budget <= 0:
            return None
        budget = min(self._budget, self._layout.piece_length) if trial else self._budget
        copy = best_copy(self._ledger, self._layout, helper, pace, budget)
        if copy is None:
            return None
        self._budget -= copy[1] - copy[0]
        return Assignment(Span(*copy))

    def _last_piece(self, tail: Tail) -> Tail:
        last = self._layout.piece_start(self._layout.piece_at(tail.stop - 1))
        return attrs.evolve(tail, start=max(tail.start, last))

    # -- what choices go by ----------------------------------------------------------------------------------

    def _allowed(self, source: _Source, now: float) -> Callable[[int], bool]:
        """Pieces this source may be given: those it has, less those others shall bring."""
        wire_only = source.kind is Kind.SERVER and self._offloads(now) and self._wire_rate(now) > 0

        def allowed(piece: int) -> bool:
            return source.has(piece) and not (wire_only and self._copies(piece))

        return allowed

    def _offloads(self, now: float) -> bool:
        """Whether servers are to be spared at present."""
        return self._mode is Mode.OFFLOAD and self._wire_rate(now) >= self._floor_rate

    def _wire_rate(self, now: float) -> float:
        """What peers and super nodes bring together; who is not asked, or keeps silent, brings nothing."""
        wire = (s for s in self._sources.values() if s.kind is not Kind.SERVER and s.running)
        return sum(source.rate.rate(now) for source in wire if now - source.heard < GRACE)

    def _copies(self, piece: int) -> int:
        return sum(source.kind is not Kind.SERVER and source.has(piece) for source in self._sources.values())

    def _heard(self, fetch: Running) -> float:
        """When a fetch last gave a sign of life; what a wire source sends is one for all its fetches."""
        owner = self._sources[fetch.source]
        return fetch.heard if owner.kind is Kind.SERVER else owner.heard

    def _pace(self, fetch: Running, helper: _Source, now: float) -> Pace:
        """Servers answer fetches side by side, each at its own pace; wire sources answer one after another."""
        owner = self._sources[fetch.source]
        server = owner.kind is Kind.SERVER
        settled = now - fetch.since >= SETTLE
        rate = fetch.rate.rate(now) if server and settled else owner.rate.rate(now) / owner.running
        return Pace(
            rate,
            eta=fetch.left / rate if rate > 0 else float("inf"),
            silent=now - self._heard(fetch) >= GRACE,
            known=settled or owner.rate.age(now) >= SETTLE,
            spare=server and helper.kind is not Kind.SERVER and self._offloads(now),
        )
