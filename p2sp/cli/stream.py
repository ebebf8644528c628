"""How does a file go to standard output, in order, while it is still coming?"""

import os
import select
import stat
import tempfile
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred, FirstError, gatherResults

from p2sp.cli.outcome import UserError
from p2sp.download.report import ExitCode
from p2sp.storage.disk import DiskStore
from p2sp.storage.pool import Pool

_RUN: Final = 1024 * 1024
_LOOK_EVERY: Final = 0.2
# A pipe that polls as writable takes this much without blocking (POSIX, PIPE_BUF).
_PIPE: Final = 4096


class PipeClosed(UserError):
    """Whoever read our standard output wants no more."""

    def __init__(self) -> None:
        super().__init__("standard output is closed", ExitCode.ERROR)


class Outlet:
    """Standard output, written from the disk pool's threads: a reader that is slow stops nothing but itself."""

    def __init__(self, pool: Pool, descriptor: int = 1) -> None:
        self._pool = pool
        self._descriptor = descriptor
        self._over = False
        self._folder: Path | None = None

    def place(self) -> Path:
        """Where the file may lie meanwhile. Raises OSError."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="p2sp-"))
        return self._folder / "stream"

    async def close(self) -> None:
        """Nothing more is written, and nothing is left on disk."""
        # A thread that waits for a slow reader looks at this now and then.
        self._over = True
        await self._pool.run(self._remove)

    def _remove(self) -> None:
        if self._folder is not None:
            for path in self._folder.iterdir():
                path.unlink(missing_ok=True)
            self._folder.rmdir()

    async def copy(self, path: Path) -> None:
        """Write a whole file. Raises PipeClosed, OSError."""
        position = 0
        while data := await self._pool.run(_read, path, position):
            await self._pool.run(self._write, data)
            position += len(data)

    async def beside(self, downloading: "Deferred[None]", store: DiskStore) -> None:
        """Write what a download brings, until both are over. Raises what it fails with, PipeClosed, OSError."""
        writing = Deferred.fromCoroutine(self.follow(store))
        try:
            await gatherResults([downloading, writing], consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        finally:
            self._over = True
            downloading.cancel()
            writing.cancel()

    async def follow(self, store: DiskStore) -> None:
        """Write a store's bytes as its pieces are verified, until all are out. Raises PipeClosed, OSError."""
        layout = store.content.layout
        more: Deferred[None] | None = None

        def verified(_: int) -> None:
            nonlocal more
            waiting, more = more, None
            if waiting is not None:
                waiting.callback(None)

        stop_watching = store.on_verified(verified)
        try:
            for piece in range(layout.piece_count):
                while not store.has(piece):
                    more = Deferred()
                    await more
                start, size = piece * layout.piece_length, layout.piece_size(piece)
                for at in range(start, start + size, _RUN):
                    await self._pool.run(self._write, await store.read(at, min(_RUN, start + size - at)))
        finally:
            stop_watching()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        poll = select.poll()
        if not regular:
            poll.register(self._descriptor, select.POLLOUT)
        try:
            while rest and not self._over:
                if regular:
                    rest = rest[os.write(self._descriptor, rest) :]
                elif poll.poll(_LOOK_EVERY * 1000):
                    rest = rest[os.write(self._descriptor, rest[:_PIPE]) :]
        except BrokenPipeError:
            raise PipeClosed from None


def _read(path: Path, position: int) -> bytes:
    with path.open("rb") as file:
        file.seek(position)
        return file.read(_RUN)
