"""How is a file fetched whose length its server does not tell?"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.download.report import Report
from p2sp.net.throttle import TokenBucket
from p2sp.resource.layout import Segment
from p2sp.resource.verification import undescribed
from p2sp.schedule.spans import Kind
from p2sp.sources.http_probe import Probe
from p2sp.sources.interfaces import ISpanSink, SourceError
from p2sp.storage.interfaces import Changed, StorageError
from p2sp.storage.places import Place, journal_path, part_path, take
from p2sp.storage.pool import Pool

HIGH_WATER = 8 * 1024 * 1024
"""Bytes that may wait for the disk before the server is paused."""


@implementer(ISpanSink)
class _Appender:
    """Writes a body to the end of a file, in the disk pool, in the order it comes, and no faster than allowed."""

    def __init__(
        self, clock: IReactorTime, pool: Pool, place: Place, report: Report, label: str, limit: TokenBucket | None
    ) -> None:
        self._clock = clock
        self._pool = pool
        self._place = place
        self._report = report
        self._limit = limit
        self._producer: IPushProducer | None = None
        self._resume: IDelayedCall | None = None
        self._paused = False
        self._waiting: list[bytes] = []
        self._size = 0
        self._at = 0
        self._writing = False
        self._idle: Deferred[None] | None = None
        self.account = report.account(label, Kind.SERVER)
        self.error: StorageError | None = None

    def received(self, position: int, data: bytes) -> None:
        """Take the next bytes."""
        if self.error is not None:
            return
        now = self._clock.seconds()
        self.account.took(len(data))
        self._report.rate.add(len(data), now)
        self._waiting.append(data)
        self._size += len(data)
        wait = self._limit.take(len(data), now) if self._limit is not None else 0.0
        if wait > 0:
            if self._resume is not None:
                self._resume.reset(wait)
            else:
                self._resume = self._clock.callLater(wait, self._waited)
        self._flow()
        self._write()

    def _waited(self) -> None:
        self._resume = None
        self._flow()

    def _flow(self) -> None:
        """Pause the server or let it go on, as disk and limit have it."""
        if self._producer is None:
            return
        if self._resume is not None or self._size > HIGH_WATER:
            if not self._paused:
                self._paused = True
                self._producer.pauseProducing()
        elif self._paused:
            self._paused = False
            self._producer.resumeProducing()

    def _write(self) -> None:
        if self._writing or not self._waiting:
            return
        data, self._waiting = b"".join(self._waiting), []
        self._writing = True
        where = Segment(0, self._at, len(data), self._at)
        self._at += len(data)
        writing = self._pool.run(self._place.files.write, where, memoryview(data), weight=len(data))
        writing.addCallbacks(lambda _: self._written(len(data)), self._failed)

    def _written(self, count: int) -> None:
        self._writing = False
        self._size -= count
        self._flow()
        self._write()
        self._tell()

    def _failed(self, failure: Failure) -> None:
        self._writing = False
        error = failure.value
        self.error = error if isinstance(error, StorageError) else StorageError(f"cannot write: {error}")
        self._waiting.clear()
        if self._producer is not None:
            self._producer.stopProducing()
        self._tell()

    def _tell(self) -> None:
        if not self._writing and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    async def drain(self) -> None:
        """Wait until all is written, or was tried. Raises StorageError."""
        if self._writing:
            self._idle = Deferred()
            await self._idle
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Nothing more will come."""
        self._producer = None
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    def register_producer(self, producer: IPushProducer) -> None:
        """See ISpanSink."""
        self._producer = producer

    def unregister_producer(self) -> None:
        """See ISpanSink."""
        self._producer = None


async def fetch_unsized(
    found: Probe,
    path: Path,
    pool: Pool,
    report: Report,
    clock: IReactorTime,
    *,
    overwrite: bool = False,
    fresh: bool = False,
    limit: TokenBucket | None = None,
    approve: Callable[[Path, int], Awaitable[None]] | None = None,
) -> int:
    """Write the body of an answer without length to `path`, by way of `path.part`; its bytes.

    `approve` is given path and length of what came before it takes its name, and prevents that by raising. Nothing of
    it can be resumed or shared out among sources, so nothing of it stays when it fails. Raises SourceError and
    StorageError, among them AlreadyExists, Changed, Locked and NoSpace.
    """
    if not fresh and await pool.run(journal_path(path).exists):
        raise Changed(
            f"{found.url} no longer tells its length, so the download in {part_path(path)} cannot go on; "
            "--fresh throws it away and starts anew"
        )
    content = undescribed(found.url, found.name, 0)
    place = await pool.run(lambda: take(path, content, overwrite=overwrite, fresh=fresh))
    try:
        length = await _append(found, _Appender(clock, pool, place, report, found.url, limit), clock)
        if approve is not None:
            await approve(place.part, length)
        await pool.run(place.publish)
    except BaseException:
        await pool.run(place.remove)
        raise
    finally:
        await pool.run(place.close)
    return length


async def _append(found: Probe, sink: _Appender, clock: IReactorTime) -> int:
    sink.account.begin(clock.seconds())
    try:
        length = await found.lane.serve_all(sink)
        await sink.drain()
    except SourceError as error:
        sink.account.failures += 1
        sink.account.last_failure = str(error)
        # A disk that refuses cuts the connection: it is to blame, not the server.
        await sink.drain()
        raise
    finally:
        sink.stop()
        sink.account.finish(clock.seconds())
    return length
