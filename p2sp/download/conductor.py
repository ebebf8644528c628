"""Who does what when, until every piece is verified? Sources, scheduler and store brought together."""

from collections.abc import Callable
from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.download.company import Company
from p2sp.download.errors import DownloadError, no_source_left
from p2sp.download.examiner import AskForLeaves, Examiner
from p2sp.download.member import Fetch, Member, from_servers
from p2sp.download.parking import park_slow
from p2sp.download.report import Report
from p2sp.download.sink import SpanSink
from p2sp.download.verdicts import Verdicts
from p2sp.net.throttle import TokenBucket
from p2sp.schedule.border import Myself
from p2sp.schedule.scheduler import Scheduler
from p2sp.schedule.spans import Assignment, Kind, Mode, Span
from p2sp.schedule.standing import Hints
from p2sp.sources.interfaces import ISource, SourceChanged, SourceError
from p2sp.storage.interfaces import IPieceStore

TICK = 0.5
"""Seconds between two looks at who is slow, silent or due again."""

MOST_CONNECTIONS = 16
"""Fetches from resource servers that run at the same time, over all of them."""

PATIENCE = 60.0
"""Seconds without any source that a download waits while sources may still be found."""


class Conductor:
    """One download: sources come and go, and it ends when the store is complete or nothing can complete it."""

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        store: IPieceStore,
        report: Report,
        *,
        rng: Random,
        mode: Mode = Mode.FAST,
        in_order: bool = False,
        floor_rate: float = 0.0,
        myself: Myself | None = None,
        limit: TokenBucket | None = None,
        expecting: Callable[[], bool] = lambda: False,
        banned: Callable[[str, str], None] = lambda label, reason: None,
        leaves: AskForLeaves | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self._clock = clock
        self._store = store
        self._report = report
        self._rng = rng
        self._limit = limit
        self._expecting = expecting
        self._patience = patience
        self._layout = store.content.layout
        unwanted = store.content.unwanted
        self._scheduler = Scheduler(
            self._layout,
            [piece for piece in range(self._layout.piece_count) if store.has(piece) or piece in unwanted],
            rng=rng,
            mode=mode,
            in_order=in_order,
            floor_rate=floor_rate,
            myself=myself,
            trials=store.content.by_piece,
        )
        self._verdicts = Verdicts(self, clock, store, self._scheduler, report, Examiner(clock, store, leaves), banned)
        self.members: dict[str, Member] = {}
        self.company = Company(clock, self._scheduler, self.pump)
        self._done: Deferred[None] | None = None
        self.over = False
        self._pumping = False
        self._again = False
        self._last_byte = clock.seconds()
        self._last_error: SourceError | None = None
        self._ticker = LoopingCall(self._tick)
        self._ticker.clock = clock

    # -- sources ---------------------------------------------------------------------------------------------

    def add(
        self, source: ISource, *, local: bool = False, lan: bool = False, node: str = "", expected: float = 0.0
    ) -> bool:
        """A source joins, of which so many bytes a second are expected (0.0: nothing is known); `local` is one in our
        ISP, `lan` one on our own network, `node` the id of one that divides work with us.

        False, and it is closed, when it was banned or has a double here already.
        """
        label = source.label
        if self.over or label in self.members or self._verdicts.is_banned(label):
            if label not in self.members or self.members[label].source is not source:
                source.close()
            return False
        account = self._report.account(label, source.kind, local=local)
        source.wasted = account.waste
        self.members[label] = Member(source, account, source.watch(lambda: self._changed(label)), lan=lan)
        self._scheduler.add_source(
            label,
            source.kind,
            source.pieces(),
            self._clock.seconds(),
            in_row=lambda: source.in_row,
            expected=expected,
            hints=lambda: Hints(source.hints, source.hints_only),
            inside=local or lan,
            node=node,
        )
        for span, stop in self._scheduler.recalled():
            self._shorten(span, stop)
        self.pump()
        return True

    def _changed(self, label: str) -> None:
        member = self.members.get(label)
        if member is None:
            return
        if member.source.closed:
            self.drop(label, "")
            self.pump()
        else:
            self._scheduler.source_has(label, member.source.pieces(), self._clock.seconds())
            self.pump(member)

    def place(self, label: str, *, local: bool, lan: bool) -> None:
        """It has turned out where a source is."""
        member = self.members.get(label)
        if member is not None and (member.account.local, member.lan) != (local, lan):
            member.account.local, member.lan = local, lan
            self._scheduler.source_is(label, self._clock.seconds(), inside=local or lan)
            self.pump(member)

    def drop(self, label: str, reason: str, *, believed: bool = True) -> None:
        """Let a source go, for a reason if there is one to be told; unless `believed`, what it gave is had anew."""
        member = self.members.pop(label, None)
        if member is None:
            return
        member.unwatch()
        if not believed:
            self._verdicts.disown(label, member)
        # The end of one fetch may make another of the same source redundant, and end it, too.
        while member.fetches:
            self._abandon(member, next(iter(member.fetches)))
        self._scheduler.remove_source(label)
        member.source.close()
        if reason:
            member.account.last_failure = reason
            member.account.note(reason)
            self._report.tell(reason)
            self.log.info("source dropped: {reason}", reason=reason)

    @property
    def sources(self) -> int:
        """How many sources take part now."""
        return len(self.members)

    # -- life ------------------------------------------------------------------------------------------------

    def run(self) -> "Deferred[None]":
        """Begin; fires when every piece is verified. Fails with DownloadError. Cancelling stops it."""
        done: Deferred[None] = Deferred(lambda _: self.stop())
        self._done = done
        self._last_byte = self._clock.seconds()
        if self._store.complete:
            self.finish(None)
        else:
            self._ticker.start(TICK, now=False)
            self.pump()
        return done

    def stop(self) -> None:
        """Let go of every source; what is verified stays."""
        self.over = True
        if self._ticker.running:
            self._ticker.stop()
        for label in list(self.members):
            self.drop(label, "")

    def finish(self, error: DownloadError | None) -> None:
        """End it, well or with an error."""
        if self.over:
            return
        self.stop()
        done, self._done = self._done, None
        if done is not None:
            done.callback(None) if error is None else done.errback(error)

    def _tick(self) -> None:
        now = self._clock.seconds()
        if now - self._last_byte >= 1.0:
            self._report.stalled_seconds += TICK
        self._park(now)
        self.pump()
        if self.over or self.members:
            return
        if not self._expecting() or now - self._last_byte > self._patience:
            self.finish(no_source_left(self._store.content.name, self._last_error))

    def _park(self, now: float) -> None:
        members = self.members.values()
        for member, reason, rest in park_slow(members, lambda label: self._scheduler.rate_of(label, now), now):
            member.account.note(reason)
            self._report.tell(f"{reason}; not asked for {rest:g} s")
            while member.fetches:
                self._abandon(member, next(iter(member.fetches)))

    # -- work ------------------------------------------------------------------------------------------------

    def pump(self, only: Member | None = None) -> None:
        """Give idle sources something to do: all of them, or the one of which alone something changed."""
        if self._pumping:
            self._again = True
            return
        self._pumping = True
        try:
            self._again = True
            while self._again and not self.over and self._done is not None:
                self._again = False
                now = self._clock.seconds()
                by_cost = sorted(self.members.values(), key=lambda member: member.cost)
                for member in by_cost if only is None else [only]:
                    self._feed(member, now)
                only = None
        finally:
            self._pumping = False

    def _feed(self, member: Member, now: float) -> None:
        """Fill the free slots of a source."""
        label = member.source.label
        while (
            self.members.get(label) is member
            and member.is_free(now)
            and (member.source.kind is not Kind.SERVER or from_servers(self.members.values()) < MOST_CONNECTIONS)
        ):
            assignment = self._scheduler.next_span(label, now)
            if assignment is None:
                return
            self._begin(member, assignment)

    def _begin(self, member: Member, assignment: Assignment) -> None:
        span = assignment.span
        if assignment.victim is not None:
            self._shorten(assignment.victim, assignment.victim_stop)

        def delivered(start: int, stop: int) -> None:
            if span in member.fetches:
                count = self._layout.size_of(start, stop)
                fetch.bytes += count
                member.account.took(count)
                member.strikes = 0
                self._scheduler.delivered(span, start, stop, self._clock.seconds())

        def arrived(count: int) -> None:
            fetch.arrived += count
            self._arrived(count)

        sink = SpanSink(
            self._clock,
            self._layout,
            self._store,
            span,
            member.source.label,
            delivered=delivered,
            judged=self._verdicts.judged,
            failed=self._verdicts.write_failed,
            arrived=arrived,
            limit=self._limit,
        )
        member.account.begin(self._clock.seconds())
        # The entry must exist before the source runs: it may be through at once.
        fetch = member.fetches[span] = Fetch(sink)
        done = fetch.done = member.source.fetch(span, sink)
        done.addCallbacks(lambda _: self._fetched(member, span, None), lambda f: self._fetched(member, span, f))
        done.addErrback(self.broken)
        if member.fetches.get(span) is not fetch:
            # Given up from within: there was nothing yet to cancel.
            done.cancel()

    def _shorten(self, span: Span, stop: int) -> None:
        for member in self.members.values():
            if span in member.fetches:
                member.fetches[span].sink.cut(stop)
                member.source.shorten(span, stop)
                return

    def _arrived(self, count: int) -> None:
        now = self._clock.seconds()
        self._last_byte = now
        self._report.rate.add(count, now)

    def _fetched(self, member: Member, span: Span, failure: Failure | None) -> None:
        """A fetch is over: account for it, free what is left, and see what the source may do next."""
        fetch = member.fetches.get(span)
        if fetch is None:
            return
        fetch.sink.close()
        if span not in member.fetches:  # its last blocks brought a verdict, and that gave it up
            return
        missing = self.release(member, span)
        if failure is None and missing and not fetch.bytes:
            failure = Failure(SourceError(f"{member.source.label}: delivered nothing of what was asked"))
        if failure is not None and not failure.check(CancelledError):
            self._failed(member, failure)
        # What is free again is for everybody; else there is news for this source alone.
        self.pump(None if missing else member)

    def release(self, member: Member, span: Span) -> bool:
        """Forget a fetch that is over; whether some of it is still missing."""
        fetch = member.fetches.pop(span)
        member.account.waste(fetch.arrived - fetch.bytes)
        now = self._clock.seconds()
        member.account.finish(now)
        missing = self._scheduler.is_missing(span)
        for other in self._scheduler.end(span, now):
            for owner in list(self.members.values()):
                if other in owner.fetches:
                    self._abandon(owner, other)
        return missing

    def _abandon(self, member: Member, span: Span) -> None:
        """Cancel a fetch; whole blocks it brought count."""
        fetch = member.fetches[span]
        fetch.sink.close()
        if span in member.fetches:
            self.release(member, span)
        if fetch.done is not None:
            fetch.done.cancel()

    def _failed(self, member: Member, failure: Failure) -> None:
        error = failure.value
        if not isinstance(error, SourceError):
            self.log.failure("source {label} broke", failure=failure, label=member.source.label)
            error = SourceError(f"{member.source.label}: {error}")
        self._last_error = error
        wait = member.failed(error, self._clock.seconds(), self._rng)
        if wait is None:
            self.drop(member.source.label, str(error), believed=not isinstance(error, SourceChanged))
            return
        self.log.info("source waits {wait:.1f} s: {reason}", wait=wait, reason=str(error))

    def broken(self, failure: Failure) -> None:
        """Something went wrong that should not: the download ends."""
        self.log.failure("the conductor failed", failure=failure)
        self.finish(DownloadError(f"internal error: {failure.value}"))
