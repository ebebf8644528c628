"""How does a resource on disk survive whatever ends the process?"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.resource.layout import Segment
from p2sp.resource.verification import Content, Evidence
from p2sp.storage.base import BaseStore
from p2sp.storage.files import Files, Pwrite, told_as_storage_error
from p2sp.storage.interfaces import IPieceStore, StorageError, Validators
from p2sp.storage.journal import MAX_RECENT, state_of
from p2sp.storage.leaves import LeafFile, leaves_path
from p2sp.storage.places import Place, take
from p2sp.storage.pool import Pool, detached

JOURNAL_SECONDS = 5.0
"""The longest that a verified piece waits for the journal."""

JOURNAL_BYTES = 32 * 1024 * 1024
"""Verified bytes after which the journal is written at once."""

RECENT_SECONDS = 60.0
RECENT_BYTES = 1024 * 1024 * 1024
"""Pieces younger than this at the last journal, and no more of them than this, are checked when taken up again."""

_CHECK_RUN = 4 * 1024 * 1024
_CHECKERS = 2


@implementer(IPieceStore)
class DiskStore(BaseStore):
    """A store in a file or a folder; made by `open_store` (to download) or `open_complete` (to seed).

    A piece is in the journal only after its bytes were made durable, and is taken out of it before they may change, so
    a process killed at any instant leaves no mark on bytes that do not verify.
    """

    def __init__(
        self,
        content: Content,
        pool: Pool,
        clock: IReactorTime,
        files: Files,
        path: Path,
        place: Place | None,
        sidecar: LeafFile | None = None,
    ) -> None:
        super().__init__(content, pool, files, sidecar)
        self.path = path
        """The name it has, or will have, when complete."""
        self.validators = place.validators if place is not None else Validators()
        """What goes into the journal as the version; set it when a server tells more."""
        self._clock = clock
        self._files = files
        self._place = place
        self._mutex = DeferredLock()
        self._timer: IDelayedCall | None = None
        self._unsaved_bytes = 0
        self._dirty: set[int] = set()
        self._recent: deque[tuple[float, int]] = deque(maxlen=MAX_RECENT)
        self._still_marked: set[int] = set()
        self._broken: StorageError | None = None

    @property
    def finished(self) -> bool:
        """Whether the bytes lie under their own name; they are not written to any more."""
        return self._place is None

    async def _before_write(self, piece: int) -> None:
        if self._place is None:
            raise StorageError(f"{self.path}: the finished file is not written to")
        if self._broken is not None:
            raise self._broken
        if piece in self._still_marked:
            await self._save()

    def _after_write(self, where: Segment) -> None:
        self._dirty.update(part.file for part in self._layout.segments(where.position, where.position + where.length))

    def _piece_verified(self, piece: int) -> None:
        self._unsaved_bytes += self._layout.piece_size(piece)
        self._recent.append((self._clock.seconds(), piece))
        if self._unsaved_bytes >= JOURNAL_BYTES:
            self._save_now()
        else:
            self._save_later()

    def _piece_forgotten(self, piece: int) -> None:
        if self._place is not None:
            self._still_marked.add(piece)
            self._save_later()

    def _save_later(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._clock.callLater(JOURNAL_SECONDS, self._save_now)

    def _save_now(self) -> None:
        self._stop_timer()
        self._unsaved_bytes = 0
        self.save().addErrback(
            lambda failure: self._log.warn("{reason}; the journal is behind", reason=failure.getErrorMessage())
        )

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def save(self) -> "Deferred[None]":
        """Make all that is verified durable now. Fails with StorageError."""
        return self._to_the_end(self._save())

    async def _save(self, *, clean: bool = False) -> None:
        """Bytes first, then the mark; `clean` says that nothing need be checked when it is read."""
        async with self._mutex:
            place = self._place
            if place is None:
                return
            self._stop_timer()
            if self._broken is not None:
                raise self._broken
            dirty, self._dirty = self._dirty, set()
            bits = bytes(self._book.bits)
            let_go = set(self._still_marked)
            self._unsaved_bytes = 0
            state = state_of(self.content, bits, () if clean else self._young(), self.validators)
            try:
                await self._run(self._files.sync, dirty)
            except StorageError as error:
                # The kernel may have dropped the pages and report the next sync as done: nothing since can be trusted.
                self._broken = error
                raise
            try:
                await self._run(place.journal.save, state)
            except StorageError:
                self._save_later()
                raise
            self._still_marked -= let_go

    def _young(self) -> tuple[int, ...]:
        """The pieces to be checked when the journal is taken up after a crash."""
        since = self._clock.seconds() - RECENT_SECONDS
        while self._recent and self._recent[0][0] < since:
            self._recent.popleft()
        pieces: dict[int, None] = {}
        length = 0
        for _, piece in reversed(self._recent):
            if length < RECENT_BYTES and self.has(piece) and piece not in pieces:
                pieces[piece] = None
                length += self._layout.piece_size(piece)
        return tuple(pieces)

    def finish(self) -> "Deferred[str]":
        """See IPieceStore."""
        return self._to_the_end(self._finish())

    async def _finish(self) -> str:
        async with self._mutex:
            self._check_open()
            if not self.complete:
                raise StorageError(f"{self.path}: the download is not complete")
            if self._place is not None:
                if self._broken is not None:
                    raise self._broken
                self._stop_timer()
                await self._run(self._place.publish)
                self._place = None
            return str(self.path)

    def close(self) -> "Deferred[None]":
        """See IPieceStore. Of a download without one verified piece nothing is left on disk."""
        return detached(Deferred.fromCoroutine(self._close(keep=True)))

    def discard(self) -> "Deferred[None]":
        """Close, and remove part and journal; a finished file stays."""
        return detached(Deferred.fromCoroutine(self._close(keep=False)))

    async def _close(self, *, keep: bool) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop_timer()
        await self._quiet()
        try:
            if self._place is not None:
                if keep and self._book.count:
                    await self._save(clean=True)
                    await self._run(self._place.journal.drop_reserve)
                else:
                    await self._run(self._place.remove)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._files.close()
        if self._sidecar is not None:
            self._sidecar.close()

    async def check(self, pieces: Sequence[int], progress: Callable[[int, int], None] | None = None) -> list[int]:
        """Those of `pieces` whose bytes on disk are good; `progress` is told the bytes looked at and their sum."""
        run = max(_CHECK_RUN // self._layout.piece_length, 1)
        parts = iter([pieces[at : at + run] for at in range(0, len(pieces), run)])
        total = sum(map(self._layout.piece_size, pieces))
        good: list[int] = []
        done = 0

        async def work() -> None:
            nonlocal done
            for part in parts:
                if self._closed:
                    return
                good.extend(await self._run(self._files.check, part, self._sidecar))
                done += sum(map(self._layout.piece_size, part))
                if progress is not None:
                    progress(done, total)

        try:
            await gatherResults([Deferred.fromCoroutine(work()) for _ in range(_CHECKERS)], consumeErrors=True)
        except FirstError as error:
            error.subFailure.raiseException()
        return sorted(good)

    async def _take_up(self, pieces: Sequence[int]) -> None:
        for piece in pieces:
            self._book.mark(piece)
        await self._save()

    async def _give_up(self) -> None:
        self._closed = True
        self._stop_timer()
        await self._quiet()
        self._let_go()


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


def _owned(opening: "Deferred[C]") -> "Deferred[C]":
    """What a job opens; should nobody wait for it any more, it is closed."""
    outer: Deferred[C] = Deferred()

    def settle(result: C | Failure) -> None:
        if not outer.called:
            outer.callback(result)
        elif not isinstance(result, Failure):
            result.close()

    opening.addBoth(settle)
    return outer


async def open_store(
    path: Path,
    content: Content,
    pool: Pool,
    clock: IReactorTime,
    *,
    validators: Validators | None = None,
    overwrite: bool = False,
    fresh: bool = False,
    keep_leaves: bool = False,
    pwrite: Pwrite = os.pwrite,
) -> DiskStore:
    """Begin a download to `path`, or go on with the one that an earlier run left there.

    `fresh` throws away what an earlier run left. `keep_leaves` leaves the leaf hashes beside the finished bytes, for
    the next run that seeds them. Of content without hashes an earlier run must have seen the same
    version: of the validators, those that both sides state must be equal. Raises AlreadyExists, Locked, Changed,
    NoSpace or StorageError, each with a sentence for the user.
    """
    taking = pool.run(
        lambda: take(
            path,
            content,
            validators,
            overwrite=overwrite,
            fresh=fresh,
            keep_leaves=keep_leaves,
            pwrite=pwrite,
        )
    )
    place = await _owned(taking)
    store = DiskStore(content, pool, clock, place.files, path, place, place.sidecar)
    try:
        bad = set(place.recent) - set(await store.check(place.recent))
        await store._take_up([piece for piece in place.marked if piece not in bad])
    except BaseException:
        await store._give_up()
        raise
    return store


async def open_complete(
    path: Path,
    content: Content,
    pool: Pool,
    clock: IReactorTime,
    *,
    trust: bool = False,
    keep_leaves: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DiskStore:
    """A store over a file or folder that is there already, to seed it or to verify it; it is never written to.

    Every piece is read and checked, unless `trust` says that we made it just now; pieces in files of another length
    than the content's are never good. `keep_leaves` keeps the leaf hashes in a file beside it. Raises StorageError when
    there is nothing at `path`.
    """

    def opened() -> Files:
        with told_as_storage_error(path):
            root = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        return Files(root, path, content, writable=False)

    files = await _owned(pool.run(opened))
    sidecar = None
    if keep_leaves and content.verification.evidence is Evidence.LEAVES:
        sidecar = LeafFile(leaves_path(path), content.layout)
    store = DiskStore(content, pool, clock, files, path, None, sidecar)
    try:
        wrong = await store._run(files.misfits)
        layout = content.layout
        hopeless = content.unwanted.union(*(layout.pieces_of(file) for file in wrong))
        pieces = [piece for piece in range(layout.piece_count) if piece not in hopeless]
        await store._take_up(pieces if trust else await store.check(pieces, progress))
    except BaseException:
        await store._give_up()
        raise
    return store
