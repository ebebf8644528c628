"""How do bytes flow from a store that is still being filled to one HTTP client, at the client's pace?"""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from p2sp.net.throttle import TokenBucket
from p2sp.storage.interfaces import IPieceStore, StorageError
from p2sp.supernode.turns import Turns

RUN: Final = 256 * 1024
"""Bytes of the largest read, and of what is written in one turn."""

FIRST_RUN: Final = 64 * 1024
"""Bytes of the first write: those who have nothing yet are many at times."""

SMALLEST_RUN: Final = 16 * 1024
OUTSTANDING: Final = 2
"""Reads under way at once: one more than is being sent, so that the disk does not wait for the client."""


class NoProgress(Exception):
    """The bytes a client waits for did not come in time."""


class ClientStalled(Exception):
    """The client has stopped taking bytes."""


@attrs.frozen
class Pace:
    """What bounds a stream.

    `fill` is how long no piece at all may arrive in the store while the client waits for one, `client` how long the
    client may take nothing (seconds); `bucket` the upload rate that all streams share, in bytes.
    """

    fill: float = 60.0
    client: float = 120.0
    bucket: TokenBucket | None = None

    @property
    def run(self) -> int:
        """Bytes to read and send at a time: small enough that a low rate still flows evenly."""
        if self.bucket is None:
            return RUN
        return min(max(int(self.bucket.rate / 4), SMALLEST_RUN), RUN)


async def arrival(
    store: IPieceStore, piece: int, wanted: Callable[[int], None], clock: IReactorTime, patience: float
) -> None:
    """Wait until the store has a piece, and let its owner know that somebody waits.

    Raises NoProgress when nothing became verified for `patience` seconds; other pieces are a sign of life.
    """
    asked = False
    while not store.has(piece):
        news: Deferred[None] = Deferred()
        stop = store.on_verified(lambda _, news=news: None if news.called else news.callback(None))  # type: ignore[misc]
        news.addTimeout(patience, clock)
        try:
            # Asked once listening: the answer may come at once.
            if not asked:
                asked = True
                wanted(piece)
            await news
        except DeadlineError:
            raise NoProgress(f"piece {piece} did not come, nor any other for {patience:g} s") from None
        finally:
            stop()


@implementer(IPushProducer)
class Stream:
    """One answer's body: positions `start` to `stop` of a store, written to a consumer that may pause it.

    `sent` is told the bytes of every write, `turns` says when there may be one. The consumer sees the true bytes in
    order, or fewer of them.
    """

    def __init__(
        self,
        store: IPieceStore,
        start: int,
        stop: int,
        consumer: Any,
        *,
        clock: IReactorTime,
        pace: Pace,
        wanted: Callable[[int], None],
        sent: Callable[[int], None],
        turns: Turns,
    ) -> None:
        self._store = store
        self._start = start
        self._at = start
        self._stop = stop
        self._consumer = consumer
        self._clock = clock
        self._pace = pace
        self._wanted = wanted
        self._sent = sent
        self._turns = turns
        self._reads: deque[tuple[int, Deferred[bytes]]] = deque()
        self._begun = False
        self._paused = False
        self._resumed: Deferred[None] | None = None

    async def run(self) -> None:
        """Write everything; the consumer is not finished, only left alone.

        Raises NoProgress, ClientStalled or StorageError with a part of the bytes written. Cancelling stops at once; it
        is for when the consumer is gone, which is then not touched any more.
        """
        self._consumer.registerProducer(self, True)
        gone = False
        try:
            while self._reads or self._at < self._stop:
                await self._write_at_hand()
                self._read_ahead()
                if not self._reads:
                    piece = self._store.content.layout.piece_at(self._at)
                    await arrival(self._store, piece, self._wanted, self._clock, self._pace.fill)
                    continue
                data = await self._next()
                if data is not None:
                    await self._write(data)
        except CancelledError:
            gone = True
            raise
        finally:
            self._drop_reads()
            if not gone:
                self._consumer.unregisterProducer()

    async def _write_at_hand(self) -> None:
        """Write what needs no disk: that takes no thread, and no memory while the client is slow."""
        while not self._reads and self._at < self._stop:
            length = self._readable(self._at, min(self._at + self._run(), self._stop)) - self._at
            if not length:
                return
            await self._may_write(length)
            data = self._store.at_hand(self._at, length)
            if data is None:
                self._took_back(length)
                return
            self._at += length
            self._put(data)

    def _read_ahead(self) -> None:
        while len(self._reads) < OUTSTANDING and self._at < self._stop:
            end = self._readable(self._at, min(self._at + self._run(), self._stop))
            if end == self._at:
                return
            self._reads.append((self._at, self._store.read(self._at, end - self._at)))
            self._at = end

    def _run(self) -> int:
        """Bytes for the next read."""
        return min(self._pace.run, FIRST_RUN if self._at == self._start else RUN)

    def _readable(self, start: int, stop: int) -> int:
        """Where the verified bytes that begin at `start` end, at `stop` at the latest."""
        layout = self._store.content.layout
        for piece in layout.pieces_in(start, stop):
            if not self._store.has(piece):
                return max(start, layout.piece_start(piece))
        return stop

    async def _next(self) -> bytes | None:
        """The oldest read's bytes; None when a piece was let go meanwhile and has to be waited for again."""
        start, reading = self._reads.popleft()
        end = self._reads[0][0] if self._reads else self._at
        try:
            return await reading
        except StorageError:
            if self._readable(start, end) == end:
                raise
            self._drop_reads()
            self._at = start
            return None

    async def _write(self, data: bytes) -> None:
        await self._may_write(len(data))
        self._put(data)

    def _put(self, data: bytes) -> None:
        self._begun = True
        self._consumer.write(data)
        self._sent(len(data))

    async def _may_write(self, count: int) -> None:
        """Wait until the rate, the client and the others allow so many bytes; they count as sent."""
        delay = 0.0 if self._pace.bucket is None else self._pace.bucket.take(count, self._clock.seconds())
        try:
            if delay > 0:
                await deferLater(self._clock, delay)
            await self._ready()
            await self._turns.take(count, first=not self._begun)
        except BaseException:
            self._took_back(count)
            raise

    def _took_back(self, count: int) -> None:
        if self._pace.bucket is not None:
            self._pace.bucket.give_back(count)

    async def _ready(self) -> None:
        """Wait while the consumer cannot take more."""
        if not self._paused:
            return
        self._resumed = Deferred()
        self._resumed.addTimeout(self._pace.client, self._clock)
        try:
            await self._resumed
        except DeadlineError:
            raise ClientStalled(f"the client took nothing for {self._pace.client:g} s") from None
        finally:
            self._resumed = None

    def _drop_reads(self) -> None:
        while self._reads:
            _, reading = self._reads.popleft()
            reading.addErrback(lambda failure: failure.trap(CancelledError, StorageError) and None)
            reading.cancel()

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The consumer takes more."""
        self._paused = False
        if self._resumed is not None:
            self._resumed.callback(None)

    def stopProducing(self) -> None:
        """The consumer is gone; whoever runs the stream hears of it too and cancels."""
        self._paused = True
