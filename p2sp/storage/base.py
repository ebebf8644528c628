"""What do all stores do alike: take blocks, judge pieces, hand out verified bytes?"""

import hashlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from p2sp.resource.layout import Segment
from p2sp.resource.merkle import BLOCK
from p2sp.resource.verification import Content, Evidence
from p2sp.storage.interfaces import Examined, StorageError, Verdict
from p2sp.storage.jobs import Medium, Work, judge_job, leaves_job, write_job
from p2sp.storage.leaves import LeafFile
from p2sp.storage.pieces import PieceBook
from p2sp.storage.pool import Pool, detached

_DIGEST_RUN = 8 * 1024 * 1024

T = TypeVar("T")


class BaseStore:
    """A piece store over a medium; subclasses say what becomes of the bytes in the end."""

    _log = Logger()

    def __init__(self, content: Content, pool: Pool, medium: Medium, sidecar: LeafFile | None = None) -> None:
        self.content = content
        self._layout = content.layout
        self._pool = pool
        self._medium = medium
        self._sidecar = sidecar
        self._book = PieceBook(content)
        self._watchers: list[Callable[[int], None]] = []
        self._forget_watchers: list[Callable[[int], None]] = []
        self._forgotten: dict[int, int] = {}
        self._closed = False
        self._busy = 0
        self._idle: list[Deferred[None]] = []
        self._disowning: dict[str, list[tuple[Deferred[list[tuple[int, int]]], list[tuple[int, int]]]]] = {}

    @property
    def complete(self) -> bool:
        """Whether every piece is verified."""
        return self._book.complete

    @property
    def bytes_verified(self) -> int:
        """Bytes of the verified pieces."""
        return self._book.bytes_verified

    @property
    def pieces_verified(self) -> int:
        """How many pieces are verified."""
        return self._book.count

    def verified(self) -> Sequence[bool]:
        """See IPieceStore."""
        return self._book.verified

    def bitfield(self) -> bytes:
        """The verified pieces as a bitfield (BEP 3), a copy."""
        return bytes(self._book.bits)

    def remaining(self) -> list[tuple[int, int]]:
        """Runs of positions (start, stop) that are not verified, in order."""
        return self._book.remaining()

    def has(self, piece: int) -> bool:
        """See IPieceStore."""
        return 0 <= piece < len(self._book.verified) and self._book.verified[piece]

    def on_verified(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """See IPieceStore."""
        return _added(self._watchers, callback)

    def on_forgotten(self, callback: Callable[[int], None]) -> Callable[[], None]:
        """See IPieceStore."""
        return _added(self._forget_watchers, callback)

    def write(self, position: int, data: Sequence[bytes | memoryview], source: str) -> "Deferred[list[Verdict]]":
        """See IPieceStore. Cancelling lets go of the answer only: bytes under way to the disk are not called back."""
        return self._to_the_end(self._write(position, tuple(data), source))

    async def _write(self, position: int, data: tuple[bytes | memoryview, ...], source: str) -> list[Verdict]:
        self._check_open()
        length = sum(map(len, data))
        if not length:
            return []
        piece, blocks, where = self._locate(position, length)
        runs = self._book.claim(piece, blocks, source)
        if not runs:
            return []
        try:
            await self._before_write(piece)
            whole = len(runs) == 1 and length == self._layout.piece_size(piece)
            work = Work(piece, where, data, blocks.start, runs, whole)
            leaves, good = await self._run(
                write_job, self._medium, self.content, work, self._book.failed(piece), self._sidecar, weight=length
            )
        except BaseException:
            self._book.release(piece, runs)
            self._settle_disowned(source)
            raise
        self._after_write(where)
        verdict = self._book.landed(piece, runs, leaves)
        self._settle_disowned(source)
        if good is not None:
            verdict = self._book.judged(piece, good, leaves if any(leaves) else ())
        elif verdict is None and self._book.full(piece):
            verdict = await self._judge(piece)
        if verdict is None:
            return []
        if verdict.good:
            self._piece_verified(piece)
            self._tell(self._watchers, piece)
        return [verdict]

    def examine(self, piece: int, leaves: Sequence[bytes]) -> Examined | None:
        """See IPieceStore."""
        verification = self.content.verification
        if verification.evidence is not Evidence.LEAVES or not verification.check(piece, leaves):
            return None
        return self._book.examine(piece, leaves)

    def leaves(self, piece: int) -> "Deferred[tuple[bytes, ...]]":
        """See IPieceStore."""
        return Deferred.fromCoroutine(self._leaves(piece))

    async def _leaves(self, piece: int) -> tuple[bytes, ...]:
        self._check_open()
        if not self.has(piece) or self.content.verification.evidence is not Evidence.LEAVES:
            raise StorageError(f"{self.content.name}: piece {piece} has no leaf hashes to tell")
        return await self._run(leaves_job, self._medium, self.content, piece, self._sidecar)

    def disown(self, source: str) -> "Deferred[list[tuple[int, int]]]":
        """See IPieceStore."""
        runs = self._book.disown(source)
        if not self._book.awaited(source):
            return succeed(runs)
        landed: Deferred[list[tuple[int, int]]] = Deferred()
        self._disowning.setdefault(source, []).append((landed, runs))
        return landed

    def _settle_disowned(self, source: str) -> None:
        if source in self._disowning and not self._book.awaited(source):
            for landed, runs in self._disowning.pop(source):
                landed.callback(runs)

    async def _judge(self, piece: int) -> Verdict:
        try:
            good, leaves = await self._run(judge_job, self._medium, self.content, piece, self._book.failed(piece))
        except BaseException:
            self._book.dismiss(piece)
            raise
        return self._book.judged(piece, good, leaves)

    def _locate(self, position: int, length: int) -> tuple[int, range, Segment]:
        """The piece, its blocks and the place in a file of a run of whole blocks. Raises StorageError."""
        piece = self._layout.piece_at(position)
        if position < 0 or piece >= self._layout.piece_count:
            raise StorageError(f"{self.content.name}: nothing is kept at position {position}")
        start, end = self._layout.piece_start(piece), self._layout.piece_end(piece)
        stop = position + length
        if position % BLOCK or stop > end or (stop % BLOCK and stop != end):
            raise StorageError(
                f"{self.content.name}: positions {position}-{stop} are not whole blocks of piece {piece}"
            )
        where = self._layout.whole(position, stop)
        assert where is not None
        return piece, range((position - start) // BLOCK, -(-(stop - start) // BLOCK)), where

    def _tell(self, watchers: list[Callable[[int], None]], piece: int) -> None:
        for callback in tuple(watchers):
            try:
                callback(piece)
            except Exception:  # noqa: BLE001 - a watcher's fault must not cost the store's caller its answer
                self._log.failure("{name}: a watcher of pieces failed", name=self.content.name)

    def read(self, position: int, length: int) -> "Deferred[bytes]":
        """See IPieceStore."""
        return Deferred.fromCoroutine(self._read(position, length))

    async def _read(self, position: int, length: int) -> bytes:
        self._check_open()
        stop = position + length
        where = self._layout.whole(position, stop) if 0 <= position < stop else None
        pieces = self._layout.pieces_in(position, stop)
        if where is None or not all(map(self.has, pieces)):
            raise StorageError(f"{self.content.name}: positions {position}-{stop} are not verified bytes of one file")
        # A piece let go meanwhile may have been overwritten with bytes that nobody verified.
        before = [self._forgotten.get(piece) for piece in pieces]
        data = await self._run(self._medium.read, where)
        if before != [self._forgotten.get(piece) for piece in pieces]:
            raise StorageError(f"{self.content.name}: positions {position}-{stop} were let go while they were read")
        return data

    def at_hand(self, position: int, length: int) -> bytes | None:
        """See IPieceStore."""
        stop = position + length
        where = self._layout.whole(position, stop) if 0 <= position < stop and not self._closed else None
        if where is None or not all(map(self.has, self._layout.pieces_in(position, stop))):
            return None
        return self._medium.at_hand(where)

    def forget(self, piece: int) -> None:
        """See IPieceStore."""
        if self._book.forget(piece):
            self._forgotten[piece] = self._forgotten.get(piece, 0) + 1
            self._piece_forgotten(piece)
            self._tell(self._forget_watchers, piece)

    def digest(self, algorithm: str) -> "Deferred[bytes]":
        """See IPieceStore. Fails with StorageError for an unknown algorithm, a tree, and an incomplete store."""
        return Deferred.fromCoroutine(self._digest(algorithm))

    async def _digest(self, algorithm: str) -> bytes:
        self._check_open()
        if not self.content.single or not self.complete:
            raise StorageError(f"{self.content.name}: only a complete file has a digest")
        try:
            hasher = hashlib.new(algorithm, usedforsecurity=False)
        except ValueError as error:
            raise StorageError(f"digest algorithm {algorithm!r} is unknown") from error
        if not hasher.digest_size:
            raise StorageError(f"digest algorithm {algorithm!r} has no fixed length")

        def add(where: Segment) -> None:
            hasher.update(self._medium.read(where))

        for start in range(0, self._layout.length, _DIGEST_RUN):
            self._check_open()
            await self._run(add, Segment(0, start, min(_DIGEST_RUN, self._layout.length - start), start))
        return hasher.digest()

    def _run(self, job: Callable[..., T], *args: Any, weight: int = 0) -> "Deferred[T]":
        """Run a job that `_quiet` waits for, even when nobody waits for its result any more."""
        return self._counted(self._pool.run(job, *args, weight=weight))

    def _to_the_end(self, work: Coroutine[Deferred[Any], Any, T]) -> "Deferred[T]":
        """Work of several steps that cancelling does not stop half-way, and that `_quiet` waits for."""
        return self._counted(Deferred.fromCoroutine(work))

    def _counted(self, running: "Deferred[T]") -> "Deferred[T]":
        def ended(_: object) -> None:
            self._busy -= 1
            if not self._busy:
                idle, self._idle = self._idle, []
                for waiter in idle:
                    waiter.callback(None)

        self._busy += 1
        outer = detached(running)
        running.addBoth(ended)
        return outer

    async def _quiet(self) -> None:
        """Wait until nothing is under way in this store."""
        while self._busy:
            waiter: Deferred[None] = Deferred()
            self._idle.append(waiter)
            await waiter

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError(f"{self.content.name}: the store is closed")

    async def _before_write(self, piece: int) -> None:
        """What must be done before bytes of a piece change. Raises StorageError to prevent it."""

    def _after_write(self, where: Segment) -> None:
        """Bytes were written there."""

    def _piece_verified(self, piece: int) -> None:
        """A piece became whole and good."""

    def _piece_forgotten(self, piece: int) -> None:
        """A verified piece was let go."""


def _added(watchers: list[Callable[[int], None]], callback: Callable[[int], None]) -> Callable[[], None]:
    """Put a watcher on a list; the answer takes it off."""
    watchers.append(callback)

    def stop() -> None:
        if callback in watchers:
            watchers.remove(callback)

    return stop
