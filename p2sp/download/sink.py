"""How do the bytes of one fetch get to the store, in good portions and no faster than the disk takes them?"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.net.throttle import TokenBucket
from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Span
from p2sp.sources.interfaces import ISpanSink
from p2sp.storage.interfaces import IPieceStore, Verdict

PORTION = 1024 * 1024
"""Bytes written and hashed in one job of the disk pool; less where a piece ends."""

HIGH_WATER = 4 * 1024 * 1024
"""Bytes of one fetch that may wait for the disk before its source is paused."""


@implementer(ISpanSink)
class SpanSink:
    """Collects what a source delivers into runs of whole blocks within a piece, and writes them.

    `delivered(start, stop)` tells of whole blocks as soon as they are here (the store gets them for certain, if a
    little later), `judged(verdicts)` of pieces the store has judged, and `failed` of a write that went wrong. What ends
    inside a block when the fetch ends is dropped.
    """

    def __init__(
        self,
        clock: IReactorTime,
        layout: Layout,
        store: IPieceStore,
        span: Span,
        source: str,
        *,
        delivered: Callable[[int, int], None],
        judged: Callable[[list[Verdict]], None],
        failed: Callable[[Failure], None],
        arrived: Callable[[int], None],
        limit: TokenBucket | None = None,
    ) -> None:
        self._clock = clock
        self._layout = layout
        self._store = store
        self._source = source
        self._delivered = delivered
        self._judged = judged
        self._failed = failed
        self._arrived = arrived
        self._limit = limit
        self._stop = span.stop
        self._at = span.start
        self._told = span.start
        self._parts: list[bytes | memoryview] = []
        self._held = 0
        self._waiting = 0
        self._producer: IPushProducer | None = None
        self._paused = False
        self._resume: IDelayedCall | None = None
        self._closed = False

    def cut(self, stop: int) -> None:
        """Take nothing at or behind `stop`."""
        self._stop = min(self._stop, stop)

    # -- ISpanSink -------------------------------------------------------------------------------------------

    def received(self, position: int, data: bytes) -> None:
        if self._closed:
            return
        self._arrived(len(data))
        if self._limit is not None and (wait := self._limit.take(len(data), self._clock.seconds())) > 0:
            self._hold_for(wait)
        if position != self._at + self._held:
            self.flush()
            self._at = self._told = position
        # Cut without copying: a piece may end anywhere in what one read of the socket gave.
        rest = memoryview(data)
        while rest and position < self._stop and not self._closed:
            room = min(self._layout.piece_end(self._layout.piece_at(position)), self._stop) - position
            part, rest = rest[:room], rest[room:]
            self._parts.append(part)
            self._held += len(part)
            position += len(part)
            self._tell(position, piece_ends=position == self._layout.piece_end(self._layout.piece_at(position - 1)))
            if self._held >= PORTION or len(part) == room:
                self._write()
            if len(part) == room and rest:
                position = self._layout.piece_start(self._layout.piece_at(position - 1) + 1)
                self._at = self._told = position

    def _tell(self, position: int, *, piece_ends: bool) -> None:
        """Tell of the blocks that are whole now; held bytes end at `position`."""
        whole = position if piece_ends else position - position % BLOCK
        if whole > self._told:
            start, self._told = self._told, whole
            self._delivered(start, whole)

    def register_producer(self, producer: IPushProducer) -> None:
        self._producer = producer
        if self._paused:
            producer.pauseProducing()

    def unregister_producer(self) -> None:
        self._producer = None

    # -- to the store ----------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what is held, as far as it is whole blocks."""
        self._write()
        self._parts.clear()
        self._at += self._held
        self._held = 0

    def close(self) -> None:
        """The fetch is over: write what is whole, take no more."""
        if self._closed:
            return
        self.flush()
        self._end()

    def abort(self) -> tuple[int, int]:
        """The fetch is over, and what it brought is not wanted: the run that was told of and is not in the store."""
        held = self._at, max(self._at, self._told)
        self._parts.clear()
        self._held = 0
        self._end()
        return held

    def _end(self) -> None:
        self._closed = True
        self._producer = None
        if self._resume is not None and self._resume.active():
            self._resume.cancel()

    def _write(self) -> None:
        """Write the whole blocks that are held; they lie within one piece."""
        if not self._held:
            return
        end = self._at + self._held
        ends_piece = end >= self._layout.piece_end(self._layout.piece_at(self._at))
        whole = self._held if ends_piece else self._held - end % BLOCK
        if whole <= 0:
            return
        parts: list[bytes | memoryview] = self._parts
        rest = b""
        if whole < self._held:
            cut = len(parts[-1]) - (self._held - whole)
            while cut <= 0:
                rest = bytes(parts.pop()) + rest
                cut += len(parts[-1])
            rest = bytes(parts[-1][cut:]) + rest
            parts[-1] = parts[-1][:cut]
        start = self._at
        self._parts = [rest] if rest else []
        self._at += whole
        self._held -= whole
        self._waiting += whole
        if self._waiting >= HIGH_WATER and not self._paused:
            self._pause()
        written: Deferred[Any] = self._store.write(start, parts, self._source)
        written.addCallback(self._judged)
        written.addErrback(self._failed)
        written.addBoth(self._written, whole)

    def _written(self, _: object, count: int) -> None:
        self._waiting -= count
        if self._paused and self._resume is None and self._waiting <= HIGH_WATER // 2:
            self._go_on()

    # -- flow ------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        self._paused = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def _go_on(self) -> None:
        self._paused = False
        if self._producer is not None:
            self._producer.resumeProducing()

    def _hold_for(self, seconds: float) -> None:
        """Let nothing in for a while, to keep the download under its limit."""
        if self._resume is not None and self._resume.active():
            self._resume.reset(seconds)
        else:
            self._resume = self._clock.callLater(seconds, self._limit_over)
        if not self._paused:
            self._pause()

    def _limit_over(self) -> None:
        self._resume = None
        if self._paused and self._waiting <= HIGH_WATER // 2:
            self._go_on()
