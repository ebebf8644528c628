"""What shall an idle source fetch next?

Every byte of an unfinished resource is *free*, *owned* by one running fetch, or *delivered* (given to the store,
which judges it). An idle source gets, in this order: a piece that failed before; a free run; the tail of a running
fetch that it helps; a second copy of what is nearly done, within a budget.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule import bits
from p2sp.schedule.border import Border, Myself
from p2sp.schedule.ledger import Ledger
from p2sp.schedule.picker import largest_gap, rarest_run
from p2sp.schedule.rescue import GRACE
from p2sp.schedule.rescuer import Rescuer
from p2sp.schedule.retries import Retries
from p2sp.schedule.spans import Assignment, IntervalSet, Kind, Mode, Span
from p2sp.schedule.standing import Hints, SourceState
from p2sp.schedule.trial import Trials

if TYPE_CHECKING:
    from random import Random

BITE = BLOCK
"""What a server is asked for as long as nobody knows whether others fetch the same."""

RANDOM_FIRST = 4
"""Pieces that are chosen at random before the rarest come first."""


class Scheduler:
    """Divides a resource among its sources. Knows no clock and no network: `now` is seconds on any steady clock.

    `verified` are the pieces that need not be fetched. `floor_rate` (bytes a second) is what wire sources must bring
    together in mode OFFLOAD, or servers help. `myself` is how others know us: with them it is agreed who brings what
    into our ISP (see `Border`). `trials` says that pieces are judged: a server beside others is then asked for one
    piece, and for more once that was good.
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
        myself: Myself | None = None,
        trials: bool = False,
    ) -> None:
        self._layout = layout
        self._rng = rng
        self._in_order = in_order
        self._expecting = myself is not None
        self._sources: dict[str, SourceState] = {}
        done = set(verified)
        self._verified = len(done)
        self._everything = bits.run(0, layout.piece_count)
        self._wanted = self._everything & ~sum(1 << piece for piece in done)
        self._ledger = Ledger(layout, done)
        self._trials = Trials(layout) if trials else None
        self._retries = Retries(layout, self._on_trial)
        self._border = Border(
            myself or Myself("", b""),
            layout.piece_count,
            mode=mode,
            in_order=in_order,
            floor_rate=floor_rate,
            rng=rng,
        )
        self._shared = False
        self._begun = False
        self._rescuer = Rescuer(
            layout,
            self._ledger,
            self._sources,
            self._retries,
            self._on_trial,
            spared=mode is Mode.OFFLOAD,
            floor_rate=floor_rate,
        )

    @property
    def free(self) -> IntervalSet:
        """What nobody fetches yet."""
        return self._ledger.free

    # -- sources ---------------------------------------------------------------------------------------------

    def add_source(
        self,
        key: str,
        kind: Kind,
        pieces: int,
        now: float,
        *,
        in_row: Callable[[], bool] = lambda: False,
        expected: float = 0.0,
        hints: Callable[[], Hints] = Hints,
        inside: bool = False,
        node: str = "",
    ) -> None:
        """A source appears that can deliver these `pieces` (see `p2sp.schedule.bits`; -1 for all there are).

        `in_row` and `hints` (see `ISource`) are asked anew at each choice. `expected`: bytes a second it brought at
        another time, for the length of its first span. `inside` says that it is in our ISP, `node` is the id of a node
        that divides with others who brings what.
        """
        if not self._begun:
            self._begun = True
            self._border.begin(now)
        source = SourceState(kind, pieces & self._everything, in_row, expected, hints, inside, node)
        self._sources[key] = source
        if kind is not Kind.SERVER:
            self._border.joined(source, now)

    def source_has(self, key: str, pieces: int, now: float) -> None:
        """What a source can deliver is `pieces` from now on."""
        source = self._sources[key]
        before, source.pieces = source.pieces, pieces & self._everything
        if source.pieces != before and source.kind is not Kind.SERVER:
            self._border.gained(source, before, now)

    def source_is(self, key: str, now: float, *, inside: bool) -> None:
        """It has turned out whether a source is in our ISP."""
        source = self._sources[key]
        if source.inside is not inside and source.kind is not Kind.SERVER:
            self._border.left(source)
            source.inside = inside
            self._border.joined(source, now)

    def remove_source(self, key: str) -> None:
        """A source is gone; end its fetches with `end` first."""
        source = self._sources.pop(key, None)
        if source is not None and source.kind is not Kind.SERVER:
            self._border.left(source)

    def rate_of(self, key: str, now: float) -> float:
        """What a source delivers, in bytes a second; while it has nothing to do, what it last did."""
        return self._sources[key].rate.rate(now)

    def listen(self, until: float) -> None:
        """Trackers are being asked who else fetches this: until they have answered a server is asked for a bite."""
        self._border.expected.listen(until)

    def heard(self) -> None:
        """They have answered."""
        self._border.expected.listen(0.0)

    def expect(self, node: str, now: float, until: float, *, whole: bool) -> None:
        """A node of our ISP was named and is being called: as if it were there already, until it is, or `until`.

        If it has the resource as a `whole`, nothing is asked for outside meanwhile.
        """
        self._border.expect(node, now, until, whole=whole)

    def expect_no_more(self, node: str) -> None:
        """It cannot be reached."""
        self._border.expect_no_more(node)

    # -- what happens to spans -------------------------------------------------------------------------------

    def delivered(self, span: Span, start: int, stop: int, now: float) -> None:
        """Whole blocks of a running fetch were given to the store."""
        key = self._ledger.delivered(span, start, stop, now).source
        source = self._sources.get(key)
        if source is not None:
            source.heard_of(stop - start, now)
            if source.kind is not Kind.SERVER:
                self._border.delivered(source, now)
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
        self._retries.failed(piece, suspects, now)
        self._ledger.failed(piece)
        if self._trials is not None:
            self._trials.judged(piece, good=False)

    def piece_verified(self, piece: int, now: float) -> frozenset[str]:
        """A piece is good, whoever it came from. Returns the sources that this proves: they may be asked for more."""
        self._retries.verified(piece)
        self._ledger.verified(piece)
        self._verified += 1
        self._wanted &= ~(1 << piece)
        self._border.verified(piece, now)
        return self._trials.judged(piece, good=True) if self._trials is not None else frozenset()

    def distrust(self, key: str) -> None:
        """A source is to blame for something: what it gives is on trial again. End its fetches with `end` first."""
        if self._trials is not None:
            self._trials.disowned(key)

    def disowned(self, start: int, stop: int) -> None:
        """A run that was delivered is not believed, and is to be had anew; no piece in it may be verified."""
        self._ledger.disowned(start, stop)

    def recalled(self) -> list[tuple[Span, int]]:
        """What servers fetch in long spans, and where each of these is to end now: others may bring the rest.

        To be asked for whenever a source has joined.
        """
        if not self._border.shared or self._shared:
            return []
        self._shared = True
        cuts = []
        for span, fetch in self._ledger.running.items():
            stop = self._layout.piece_end(self._layout.piece_at(fetch.frontier))
            if stop < fetch.stop and self._sources[fetch.source].kind is Kind.SERVER:
                self._ledger.shorten(fetch, stop)
                cuts.append((span, stop))
        return cuts

    # -- choice ----------------------------------------------------------------------------------------------

    def next_span(self, key: str, now: float) -> Assignment | None:
        """What the source shall fetch now; None: nothing it could help with. The span runs until `end`."""
        source = self._sources[key]
        if self._on_trial(key) and self._awaits_verdict(key, source, now):
            return None
        retry = self._retries.next(key, self._sources, self.free, now)
        run, may = (retry, 0) if retry is not None else self._free_run(key, source, now)
        assignment = Assignment(Span(*run)) if run is not None else self._rescuer.rescue(key, may, now)
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
        whole, begun = self._ledger.free_pieces()
        return waits and not all((whole | begun) >> piece & 1 for piece in self._trials.awaits(key))

    def _free_run(self, key: str, source: SourceState, now: float) -> tuple[tuple[int, int] | None, int]:
        """A free run for a source, if there is one; if not, all the pieces that it may be asked for."""
        serves = source.serves()
        whole, begun = self._ledger.free_pieces()
        may = 0
        enough = self._border.has_enough(source, self._sources.values(), self._layout.piece_length, now)
        for tier in self._tiers(source, whole | begun, now):
            among = tier & serves
            may |= among
            among &= ~self._retries.pieces
            if enough or not among & (whole | begun):
                continue
            if source.kind is Kind.SERVER:
                run = self._run_of_server(key, source, among & whole, among & begun, now)
            else:
                run = self._run_of_node(source, among & whole, among & begun, now)
            if run is not None:
                return run, may
        return None, may

    def _tiers(self, source: SourceState, free: int, now: float) -> Iterator[int]:
        """Sets of pieces to ask a source for, the better ones first."""
        border = self._border
        if source.kind is Kind.SERVER and not border.guarded and not self._in_order and self._has_company():
            # Others fetch this too: what none of them has comes first.
            yield self._wanted & border.unheard
        yield from border.tiers(source, self._sources.values(), self._wanted, free, self._layout.piece_length, now)

    def _has_company(self) -> bool:
        """Whether others than servers take part."""
        return any(other.kind is not Kind.SERVER for other in self._sources.values())

    def _run_of_node(self, source: SourceState, whole: int, begun: int, now: float) -> tuple[int, int] | None:
        if not self._in_order:
            for piece in source.hints().pieces:
                if whole >> piece & 1:
                    return self._layout.piece_start(piece), self._layout.piece_end(piece)
        return self._rare(source, whole, begun, source.wire_size(now))

    def _run_of_server(
        self, key: str, source: SourceState, whole: int, begun: int, now: float
    ) -> tuple[int, int] | None:
        if self._border.listens(now):
            if source.last_stop >= 0 or source.running:
                return None
            run = self._rare(source, whole, begun, 1.0)
            return run if run is None else (run[0], min(run[1], run[0] + BITE))
        others = [other for other in self._sources.values() if other is not source]
        size = source.server_size(others, self.free.total, self._layout.piece_length, now)
        if self._on_trial(key):
            whole, begun = self._fit_for_trial(key, whole, begun)
            size = 1.0
        # Each of those who fetch this at the same time begins elsewhere, and soon passes it on.
        if self._has_company():
            rare = self._border.guarded or not (whole | begun) & ~self._border.unheard
            size = min(size, source.wire_size(now)) if rare else size
        else:
            rare = self._expecting and source.last_stop < 0
            size = 1.0 if rare else size
        if rare and not self._in_order:
            return self._rare(source, whole, begun, size)
        return largest_gap(
            self.free,
            self._layout,
            int(size),
            allowed=lambda piece: bool((whole | begun) >> piece & 1),
            in_order=self._in_order,
            resume_at=source.last_stop,
            busy_ends={fetch.stop for fetch in self._ledger.running.values()},
        )

    def _rare(self, source: SourceState, whole: int, begun: int, size: float) -> tuple[int, int] | None:
        # The first pieces are to be there soon, and not what everybody who begins now asks for.
        rarest = self._verified >= RANDOM_FIRST
        return rarest_run(
            self.free,
            self._layout,
            int(size),
            whole=whole,
            begun=begun,
            in_order=self._in_order,
            rarest=lambda among: self._border.rarest(source, among) if rarest else among,
            rng=self._rng,
        )

    def _fit_for_trial(self, key: str, whole: int, begun: int) -> tuple[int, int]:
        """What to give of one piece: the rest of one it began, else one that it alone will have given."""
        assert self._trials is not None
        awaited = sum(1 << piece for piece in self._trials.awaits(key))
        if awaited & (whole | begun):
            return awaited & whole, awaited & begun
        return (whole, 0) if whole else (0, begun)
