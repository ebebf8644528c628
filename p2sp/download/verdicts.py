"""What follows from a verdict on a piece: for the piece, for who gave it, and for all else that they gave?"""

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from p2sp.download.errors import DownloadError, exit_code
from p2sp.download.examiner import Examiner
from p2sp.download.member import Member
from p2sp.download.report import ExitCode, Report
from p2sp.schedule.reputation import Fault, Reputation
from p2sp.schedule.scheduler import Scheduler
from p2sp.schedule.spans import Span
from p2sp.storage.interfaces import Examined, IPieceStore, StorageError, Verdict


class Download(Protocol):
    """What a verdict may lead to in the download (see `Conductor`)."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""

    @property
    def members(self) -> Mapping[str, Member]:
        """The sources that take part."""

    def pump(self) -> None:
        """Give idle sources something to do."""

    def finish(self, error: DownloadError | None) -> None:
        """End it."""

    def drop(self, label: str, reason: str, *, believed: bool = True) -> None:
        """Let a source go."""

    def release(self, member: Member, span: Span) -> bool:
        """Forget a fetch; whether some of it is still missing."""

    def broken(self, failure: Failure) -> None:
        """Something went wrong that should not."""


class Verdicts:
    """Acts upon what the store says of pieces. `banned(label, reason)` hears who is never asked again."""

    def __init__(
        self,
        download: Download,
        clock: IReactorTime,
        store: IPieceStore,
        scheduler: Scheduler,
        report: Report,
        examiner: Examiner,
        banned: Callable[[str, str], None],
    ) -> None:
        self._download = download
        self._clock = clock
        self._store = store
        self._layout = store.content.layout
        self._scheduler = scheduler
        self._report = report
        self._examiner = examiner
        self._banned = banned
        self._reputation = Reputation()

    def is_banned(self, label: str) -> bool:
        """Whether a source is never asked again."""
        return self._reputation.is_banned(label)

    def judged(self, verdicts: list[Verdict]) -> None:
        """The store has judged pieces."""
        news = False
        for verdict in verdicts:
            if verdict.good:
                news |= bool(self._scheduler.piece_verified(verdict.piece, self._clock.seconds()))
                self._charge(verdict)
            else:
                news |= self._doubt(verdict)
        if self._store.complete:
            self._download.finish(None)
        elif news:
            self._download.pump()

    def disown(self, label: str, member: Member | None = None) -> None:
        """End what a source fetches, and have all anew that it gave and that is not verified."""
        while member is not None and member.fetches:
            span, fetch = next(iter(member.fetches.items()))
            held = fetch.sink.abort()
            self._download.release(member, span)
            self._disowned([held])
            if fetch.done is not None:
                fetch.done.cancel()
        self._scheduler.distrust(label)
        disowning: Deferred[None] = self._store.disown(label).addCallback(self._disowned)
        disowning.addErrback(self._download.broken)

    def _doubt(self, verdict: Verdict) -> bool:
        """A piece is bad: whether it is to be had anew at once; else nobody gets any of it until it is examined."""
        alone = len(verdict.suspects) == 1

        def told(found: Examined | None) -> None:
            if self._download.over:
                return
            if found is None:
                self._scheduler.piece_failed(verdict.piece, verdict.suspects, self._clock.seconds())
            else:
                for start, stop in found.bad:
                    self._scheduler.disowned(start, stop)
            if not alone:
                # Without leaf hashes it is the piece, once it is good, that tells who of several was wrong.
                guilty = verdict if found is None else Verdict(verdict.piece, False, found.guilty)
                self._charge(guilty, proven=found is not None)
            self._download.pump()

        examining = self._examiner.examine(verdict, told)
        if examining is None:
            self._scheduler.piece_failed(verdict.piece, verdict.suspects, self._clock.seconds())
        else:
            examining.addErrback(self._download.broken)
        if alone or examining is None:
            self._charge(verdict)
        return examining is None

    def _charge(self, verdict: Verdict, *, proven: bool = False) -> None:
        kinds = {label: account.kind for label, account in self._report.accounts.items()}
        for fault in self._reputation.judge(verdict, kinds, proven=proven):
            self._blame(fault)
        if self._reputation.hopeless(verdict):
            problem = f"piece {verdict.piece} fails verification again and again"
            self._download.finish(DownloadError(problem, ExitCode.CHECKSUM))

    def _blame(self, fault: Fault) -> None:
        """A source is caught: nothing else that it gave is believed, unless nobody else could give it."""
        members = self._download.members
        member = members.get(fault.label)
        if fault.banned:
            if member is None:  # it has left, and what it gave is still there
                self.disown(fault.label)
            self._download.drop(fault.label, fault.reason, believed=False)
            self._banned(fault.label, fault.reason)
        elif member is not None:
            member.account.last_failure = fault.reason
            member.account.note(fault.reason)
            self._report.tell(fault.reason)
            if any(not self._reputation.is_at_fault(label) for label in members):
                self.disown(fault.label, member)

    def _disowned(self, runs: list[tuple[int, int]]) -> None:
        """Runs of positions that are to be had anew, but for pieces that others have made whole meanwhile."""
        runs = [(start, stop) for start, stop in runs if start < stop]
        for start, stop in runs:
            for piece in self._layout.pieces_in(start, stop):
                if not self._store.has(piece):
                    low, high = self._layout.piece_start(piece), self._layout.piece_end(piece)
                    self._scheduler.disowned(max(low, start), min(high, stop))
        if runs and not self._download.over:
            self._download.pump()

    def write_failed(self, failure: Failure) -> None:
        """The store could not take what was to be written."""
        if self._download.over:
            return
        if failure.check(StorageError):
            problem = DownloadError(f"{failure.value}", exit_code(failure.value) or ExitCode.ERROR)
            self._download.finish(problem)
        else:
            self._download.broken(failure)
