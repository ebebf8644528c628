"""How does a scripted source behave: fast or slow, late, partial, dying, stalling, lying, refusing?"""

from collections.abc import Callable, Collection

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.task import Clock
from zope.interface import implementer

from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import ISource, ISpanSink, SourceError, SourceGone, SourceRefused, SourceStalled
from tests.storage.kit import Sample, spoiled

TICK = 0.05
"""Seconds between two deliveries."""

SILENCE = 10.0


@attrs.define
class Script:
    """What a source is like. Rates in bytes a second, times in seconds, `None` for never or for everything.

    `rate` is shared by its fetches, `lane_rate` binds each of them. It stops answering after `stall_after` bytes,
    closes after `die_after` bytes or at `die_at`; `lies` are pieces it spoils one byte of, each only once with `once`;
    the first `refusals` fetches are refused.
    """

    rate: float
    latency: float = 0.05
    slots: int = 1
    lane_rate: float | None = None
    pieces: Collection[int] | None = None
    stall_after: int | None = None
    die_after: int | None = None
    die_at: float | None = None
    lies: Collection[int] = ()
    once: bool = False
    refusals: int = 0
    retry_after: float | None = None
    silence: float = SILENCE


@implementer(IPushProducer)
class _Job:
    """One fetch under way."""

    def __init__(self, source: "ScriptedSource", span: Span, sink: ISpanSink) -> None:
        self.span = span
        self.sink = sink
        self.at = span.start
        self.stop = span.stop
        self.done: Deferred[None] = Deferred(lambda _: source.forget(self))
        self.starts = source.clock.seconds() + source.script.latency
        self.heard = source.clock.seconds()
        self.credit = 0.0
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.done.cancel()


@implementer(ISource)
class ScriptedSource:
    """Delivers the true bytes of a sample in order, on a virtual clock, as its script says."""

    def __init__(self, clock: Clock, sample: Sample, label: str, kind: Kind, script: Script) -> None:
        self.clock = clock
        self.kind = kind
        self.label = label
        self.script = script
        self.closed = False
        self.in_row = False
        self.hints: Collection[int] = ()
        self.hints_only = False
        self.wasted: Callable[[int], None] = lambda count: None
        self.choked = False
        self.sent = 0
        self.asked: list[tuple[float, Span]] = []
        self.held = None if script.pieces is None else set(script.pieces)
        self._sample = sample
        self._layout = sample.content.layout
        self._jobs: list[_Job] = []
        self._watchers: list[Callable[[], None]] = []
        self._call: IDelayedCall | None = None
        if script.die_at is not None:
            clock.callLater(script.die_at, self.die)

    # -- ISource ---------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        return 0 if self.closed or self.choked else self.script.slots

    @property
    def rate(self) -> float:
        """Bytes a second it delivers now, all fetches together."""
        return self.script.rate

    @property
    def busy(self) -> bool:
        """Whether anything is asked of it."""
        return bool(self._jobs)

    def has(self, piece: int) -> bool:
        return bool(self.pieces() >> piece & 1)

    def pieces(self) -> int:
        if self.closed:
            return 0
        return -1 if self.held is None else sum(1 << piece for piece in self.held)

    def fetch(self, span: Span, sink: ISpanSink) -> "Deferred[None]":
        lacking = [piece for piece in self._layout.pieces_in(span.start, span.stop) if not self.has(piece)]
        assert not lacking, f"{self.label} was asked for pieces {lacking} it does not have"
        assert len(self._jobs) < self.slots, f"{self.label} was asked for more at once than it takes"
        assert span.start % BLOCK == 0
        self.asked.append((self.clock.seconds(), span))
        if self.script.refusals > 0:
            self.script.refusals -= 1
            return fail(SourceRefused(f"{self.label}: HTTP 503", self.script.retry_after))
        job = _Job(self, span, sink)
        self._jobs.append(job)
        sink.register_producer(job)
        self._schedule()
        return job.done

    def shorten(self, span: Span, stop: int) -> None:
        for job in self._jobs:
            if job.span is span:
                job.stop = min(job.stop, stop)
                if job.at >= job.stop:
                    self._finish(job, None)
                return

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed) if changed in self._watchers else None

    def close(self) -> None:
        self._end(SourceGone(f"{self.label}: closed"))

    # -- what scripts and tests do to it ---------------------------------------------------------------------

    def gain(self, *pieces: int) -> None:
        """It has more pieces now."""
        assert self.held is not None
        self.held.update(pieces)
        self._changed()

    def choke(self, choked: bool) -> None:
        """It serves nothing for a while, or does again; what runs is refused."""
        self.choked = choked
        if choked:
            for job in list(self._jobs):
                self._finish(job, SourceRefused(f"{self.label} chokes us"))
        self._changed()

    def die(self) -> None:
        """It breaks off."""
        self._end(SourceGone(f"{self.label}: connection lost"))

    def forget(self, job: _Job) -> None:
        """A fetch was cancelled."""
        if job in self._jobs:
            self._jobs.remove(job)

    # -- inside ----------------------------------------------------------------------------------------------

    def _end(self, error: SourceError) -> None:
        if self.closed:
            return
        self.closed = True
        if self._call is not None and self._call.active():
            self._call.cancel()
        for job in list(self._jobs):
            self._finish(job, error)
        self._changed()

    def _changed(self) -> None:
        for changed in list(self._watchers):
            changed()

    def _finish(self, job: _Job, error: SourceError | None) -> None:
        if job not in self._jobs:
            return
        self._jobs.remove(job)
        job.sink.unregister_producer()
        if error is None:
            job.done.callback(None)
        else:
            job.done.errback(error)

    def _schedule(self) -> None:
        if self._jobs and not self.closed and (self._call is None or not self._call.active()):
            self._call = self.clock.callLater(TICK, self._tick)

    def _tick(self) -> None:
        now = self.clock.seconds()
        flowing = [job for job in self._jobs if job.starts <= now and not job.paused]
        for job in flowing:
            self._flow(job, self.rate / len(flowing))
        for job in list(self._jobs):
            if job.paused:
                job.heard = now
            elif now - job.heard >= self.script.silence:
                self._finish(job, SourceStalled(f"{self.label}: nothing for {self.script.silence:g} s"))
        self._schedule()

    def _flow(self, job: _Job, rate: float) -> None:
        if self.script.lane_rate is not None:
            rate = min(rate, self.script.lane_rate)
        job.credit += rate * TICK
        limit = self.script.stall_after
        while job in self._jobs and not job.paused and job.credit >= 1 and job.at < job.stop:
            count = min(int(job.credit), job.stop - job.at, self._left_in_piece(job.at))
            if limit is not None:
                count = min(count, limit - self.sent)
            if count <= 0:
                return
            self._send(job, count)
            if self.script.die_after is not None and self.sent >= self.script.die_after:
                self.die()
        if job.at >= job.stop:
            self._finish(job, None)

    def _left_in_piece(self, position: int) -> int:
        return self._layout.piece_end(self._layout.piece_at(position)) - position

    def _send(self, job: _Job, count: int) -> None:
        data = self._sample.at(job.at, job.at + count)
        piece = self._layout.piece_at(job.at)
        if piece in self.script.lies and job.at <= self._layout.piece_start(piece) + 7 < job.at + count:
            data = spoiled(data, self._layout.piece_start(piece) + 7 - job.at)
            if self.script.once:
                self.script.lies = set(self.script.lies) - {piece}
        position, job.at = job.at, job.at + count
        if job.at < job.stop and self._left_in_piece(position) == count:
            job.at = self._layout.piece_start(piece + 1)
        job.credit -= count
        job.heard = self.clock.seconds()
        self.sent += count
        job.sink.received(position, data)
