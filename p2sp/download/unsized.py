"""How is a file fetched whose length its server does not tell?"""

import os
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from p2sp.download.report import Report
from p2sp.schedule.spans import Kind
from p2sp.sources.http_probe import Probe
from p2sp.sources.interfaces import ISpanSink
from p2sp.storage.interfaces import AlreadyExists, StorageError
from p2sp.storage.pool import Pool

HIGH_WATER = 8 * 1024 * 1024


@implementer(ISpanSink)
class _Appender:
    """Writes a body to the end of a file, in the disk pool, in the order it comes."""

    def __init__(self, pool: Pool, descriptor: int, report: Report, label: str) -> None:
        self._pool = pool
        self._descriptor = descriptor
        self._account = report.account(label, Kind.SERVER)
        self._report = report
        self._producer: IPushProducer | None = None
        self._paused = False
        self._waiting: list[bytes] = []
        self._size = 0
        self._writing = False
        self.error: Exception | None = None
        self.idle: Deferred[None] | None = None

    def received(self, position: int, data: bytes) -> None:
        self._account.bytes += len(data)
        self._waiting.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER and self._producer is not None and not self._paused:
            self._paused = True
            self._producer.pauseProducing()
        self._write()

    def _write(self) -> None:
        if self._writing or not self._waiting:
            return
        parts, self._waiting = self._waiting, []
        self._writing = True
        self._pool.run(_write_all, self._descriptor, b"".join(parts)).addBoth(self._written)

    def _written(self, result: object) -> None:
        self._writing = False
        self._size = sum(map(len, self._waiting))
        error = getattr(result, "value", None)
        if isinstance(error, Exception):
            self.error = error
        if self._paused and self._producer is not None:
            self._paused = False
            self._producer.resumeProducing()
        if self._waiting and self.error is None:
            self._write()
        elif self.idle is not None:
            idle, self.idle = self.idle, None
            idle.callback(None)

    async def drain(self) -> None:
        """Wait until all is written. Raises StorageError."""
        if self._writing:
            self.idle = Deferred()
            await self.idle
        if self.error is not None:
            raise StorageError(f"cannot write: {self.error}") from self.error

    def register_producer(self, producer: IPushProducer) -> None:
        self._producer = producer

    def unregister_producer(self) -> None:
        self._producer = None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def fetch_unsized(found: Probe, path: Path, pool: Pool, report: Report) -> int:
    """Write the body of an answer without length to `path`, by way of `path.part`; its bytes.

    Nothing of it can be resumed or shared out among sources. Raises SourceError and StorageError.
    """
    if path.exists():
        raise AlreadyExists(f"{path} exists already")
    part = path.with_name(path.name + ".part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StorageError(f"{part}: {error.strerror}") from error
    try:
        sink = _Appender(pool, descriptor, report, found.url)
        length = await found.lane.serve_all(sink)
        await sink.drain()
        await pool.run(os.fsync, descriptor)
    finally:
        os.close(descriptor)
    part.rename(path)
    return length
