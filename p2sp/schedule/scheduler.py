"""What shall an idle source fetch next?

Every byte of an unfinished resource is *free*, *owned* by one running fetch, or *delivered* (given to the store,
which judges it). An idle source gets, in this order: a piece that failed before; a free run; the tail of a running
fetch that it helps; a second copy of what is nearly done, within a budget.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from p2sp.resource.layout import Layout
from p2sp.schedule.ledger import Ledger, Running
from p2sp.schedule.picker import largest_gap, rarest_run
from p2sp.schedule.rescue import FIRST, GRACE, SETTLE, Helper, Pace, best_copy, best_tail
from p2sp.schedule.spans import IntervalSet, Kind, Span
from p2sp.schedule.standing import Hints, Holdings, SourceState
from p2sp.schedule.trial import Trials

if TYPE_CHECKING:
    from random import Random

RANDOM_FIRST = 4
"""Pieces that are chosen at random before the rarest come first."""

COPY_MAX = 16 * 1024 * 1024
COPY_SHARE = 0.03
"""Of a resource this part, but at least FIRST and at most COPY_MAX bytes, may be asked for twice."""

INNOCENT_FIRST = 5.0
"""Seconds that a piece that failed waits for a source not suspected of it; then anybody may have it."""


class Mode(StrEnum):
    """What the download optimises: time, or the resource servers' bandwidth."""

    FAST = "fast"
    OFFLOAD = "offload"


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
        self._sources: dict[str, SourceState] = {}
        done = set(verified)
        self._verified = len(done)
        self._ledger = Ledger(layout, done)
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
        hints: Callable[[], Hints] = Hints,
    ) -> None:
        """A source appears. `has`, `in_row` and `hints` (see `ISource`) are asked anew at each choice.

        `expected`: bytes a second it brought at another time, for the length of its first span.
        """
        self._sources[key] = SourceState(kind, has, in_row, expected, hints)

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
        self._verified += 1
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
        beside = len(self._sources) > 1 and self._sources[key].kind is Kind.SERVER
        return beside and self._trials is not None and not self._trials.is_proven(key)

    def _awaits_verdict(self, key: str, source: SourceState, now: float) -> bool:
        """Whether a source on trial has given what it was asked for, and the verdict is still to come, not for ever."""
        assert self._trials is not None
        if source.running:
            return True
        waits = now - source.ended_at < GRACE
        return waits and not all(map(self._ledger.has_free, self._trials.awaits(key)))

    def _retry(self, key: str, source: SourceState, now: float) -> tuple[int, int] | None:
        """What is to be had of a piece that failed: all of it, unless a source broke off in the midst of it."""
        serves = source.serving()
        for piece, retry in self._retries.items():
            runs = self.free.overlap(self._layout.piece_start(piece), self._layout.piece_end(piece))
            if runs and serves(piece) and self._may_retry(key, piece, retry, now):
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
        self, key: str, source: SourceState, allowed: Callable[[int], bool], now: float
    ) -> tuple[int, int] | None:
        if not self.free:
            return None
        if source.kind is not Kind.SERVER:
            if not self._in_order:
                for piece in source.hints().pieces:
                    if self._ledger.is_free(piece) and allowed(piece):
                        return self._layout.piece_start(piece), self._layout.piece_end(piece)
            return self._rare(allowed, source.wire_size(now))
        others = [other for other in self._sources.values() if other is not source]
        size = source.server_size(others, self.free.total, self._layout.piece_length, now)
        if self._on_trial(key):
            allowed, size = self._fit_for_trial(key, allowed), 1.0
        if not self._in_order and any(other.kind is not Kind.SERVER for other in others):
            # Others fetch this too: what none of them has comes first, each begins elsewhere, and soon passes it on.
            run = self._rare(lambda piece: allowed(piece) and not self._copies(piece), min(size, source.wire_size(now)))
            if run is not None:
                return run
        return largest_gap(
            self.free,
            self._layout,
            int(size),
            allowed=allowed,
            in_order=self._in_order,
            resume_at=source.last_stop,
            busy_ends={fetch.stop for fetch in self._ledger.running.values()},
        )

    def _rare(self, allowed: Callable[[int], bool], size: float) -> tuple[int, int] | None:
        return rarest_run(
            self.free,
            self._layout,
            int(size),
            allowed=allowed,
            in_order=self._in_order,
            # The first pieces are to be there soon, and not what everybody who begins now asks for.
            copies=self._copies if self._verified >= RANDOM_FIRST else lambda _: 0,
            rng=self._rng,
        )

    def _fit_for_trial(self, key: str, allowed: Callable[[int], bool]) -> Callable[[int], bool]:
        """What to give of one piece: the rest of one it began, else one that it alone will have given."""
        assert self._trials is not None
        begun = set(filter(allowed, filter(self._ledger.has_free, self._trials.awaits(key))))
        choice = begun or set(filter(allowed, filter(self._ledger.is_free, range(self._layout.piece_count))))
        return choice.__contains__ if choice else allowed

    def _rescue(self, key: str, source: SourceState, allowed: Callable[[int], bool], now: float) -> Assignment | None:
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
                tail = tail.last_piece(self._layout)
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

    # -- what choices go by ----------------------------------------------------------------------------------

    def _allowed(self, source: SourceState, now: float) -> Callable[[int], bool]:
        """Pieces this source may be given: those it has, less those others shall bring."""
        wire_only = source.kind is Kind.SERVER and self._offloads(now) and self._wire_rate(now) > 0

        serves = source.serving()

        def allowed(piece: int) -> bool:
            return serves(piece) and not (wire_only and self._copies(piece))

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

    def _pace(self, fetch: Running, helper: SourceState, now: float) -> Pace:
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
