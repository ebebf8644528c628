"""How are bytes put into the files of a content, and read from them?"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2sp.resource.layout import Segment
from p2sp.resource.merkle import leaf_hashes
from p2sp.resource.verification import Content, Evidence
from p2sp.storage.interfaces import NoSpace, StorageError
from p2sp.storage.leaves import LeafFile
from p2sp.storage.pieces import parts_of
from p2sp.storage.rest import Rest

Pwrite = Callable[[int, memoryview, int], int]
"""`os.pwrite`, or what a test puts in its place."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)


def storage_error(error: OSError, path: str | Path) -> StorageError:
    """What to tell a user of a failed system call on `path`."""
    if error.errno in _FULL:
        return NoSpace(f"{path}: the disk is full ({error.strerror})")
    if error.errno == errno.ELOOP:
        return StorageError(f"{path}: is a symbolic link, which is not followed")
    return StorageError(f"{path}: {error.strerror or error}")


@contextmanager
def told_as_storage_error(path: str | Path) -> Iterator[None]:
    """System calls in here fail with StorageError or NoSpace, naming `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def sync_folder(path: Path) -> None:
    """Make names in a folder durable. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


_CACHED_ONLY: Final = getattr(os, "RWF_NOWAIT", 0)
_SCRATCH: Final = bytearray(256 * 1024)
"""Where bytes at hand are put down before they are given out: on one thread, and never for longer than a call."""


class Files:
    """The files of a content below an open descriptor: the file itself, or the folder of a tree.

    All methods may be called in any thread; none moves a file position. Links inside a tree are never followed, so that
    a tree that somebody prepared cannot lead a write elsewhere. Raises StorageError, naming the file.
    """

    def __init__(
        self,
        root: int,
        path: Path,
        content: Content,
        *,
        writable: bool,
        pwrite: Pwrite = os.pwrite,
        rest: Path | None = None,
    ) -> None:
        self._root = root
        self._content = content
        self._rest = Rest(content, rest, pwrite)
        self._tells_cached = bool(_CACHED_ONLY)
        self._mode = os.O_RDWR if writable else os.O_RDONLY
        self._pwrite = pwrite
        self.path = path
        """Where the root can be found, for messages; changes when it is renamed."""

    def name(self, file: int) -> Path:
        """The path of a file, for messages."""
        return self.path.joinpath(*self._content.paths[file])

    @contextmanager
    def _folder(self, parts: tuple[str, ...], create: bool) -> Iterator[int]:
        """The folder below the root that `parts` lead to, step by step."""
        folder = os.dup(self._root)
        try:
            for part in parts:
                if create:
                    try:
                        os.mkdir(part, dir_fd=folder)
                    except FileExistsError:
                        pass
                    else:
                        os.fsync(folder)
                above, folder = folder, os.open(part, _FOLDER, dir_fd=folder)
                os.close(above)
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _open(self, file: int, create: bool = False) -> Iterator[int]:
        """A descriptor of a file; that of a tree is opened anew, there may be more files than descriptors."""
        parts = self._content.paths[file]
        if not parts:
            yield self._root
            return
        flags = self._mode | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_CREAT if create else 0)
        with self._folder(parts[:-1], create) as folder:
            descriptor = os.open(parts[-1], flags, 0o666, dir_fd=folder)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def write(self, where: Segment, data: memoryview) -> None:
        """See `p2sp.storage.base.Medium`."""
        if self._content.layout.joined:
            for part in self._parts(where):
                at = part.position - where.position
                self._write(part, data[at : at + part.length])
        else:
            self._write(where, data)

    def read(self, where: Segment) -> bytes:
        """See `p2sp.storage.base.Medium`."""
        if self._content.layout.joined:
            return b"".join(map(self._read, self._parts(where)))
        return self._read(where)

    def _parts(self, where: Segment) -> list[Segment]:
        return self._content.layout.file_segments(where.position, where.position + where.length)

    def _write(self, where: Segment, data: memoryview) -> None:
        if not self._content.keeps(where.file):
            with told_as_storage_error(self.name(where.file)):
                self._rest.write(where, data)
            return
        with told_as_storage_error(self.name(where.file)), self._open(where.file) as descriptor:
            written = 0
            while written < len(data):
                written += self._pwrite(descriptor, data[written:], where.offset + written)

    def _read(self, where: Segment) -> bytes:
        if not self._content.keeps(where.file):
            with told_as_storage_error(self.name(where.file)):
                data = self._rest.read(where)
            if len(data) < where.length:
                raise StorageError(f"{self.name(where.file)}: is not kept")
            return data
        with told_as_storage_error(self.name(where.file)), self._open(where.file) as descriptor:
            data = os.pread(descriptor, where.length, where.offset)
            while len(data) < where.length:
                more = os.pread(descriptor, where.length - len(data), where.offset + len(data))
                if not more:
                    raise StorageError(f"{self.name(where.file)}: the file has become shorter")
                data += more
            return data

    def at_hand(self, where: Segment) -> bytes | None:
        """See `p2sp.storage.base.Medium`: what of a lone file is in the system's cache, where the system can tell."""
        if not self._tells_cached or self._content.paths[where.file] or self._content.layout.joined:
            return None
        room = memoryview(_SCRATCH)[: where.length]
        if len(room) < where.length:
            return None
        try:
            found = os.preadv(self._root, [room], where.offset, _CACHED_ONLY)
        except BlockingIOError:
            return None
        except OSError:
            self._tells_cached = False
            return None
        return bytes(room) if found == where.length else None

    def prepare(self) -> set[int]:
        """Make what is missing: folders, and files of the right length without bytes in them (sparse).

        What an earlier run made of files that are not kept now is removed. Answers which files were not there with
        their full length: nothing in them can be trusted.
        """
        fresh = set()
        with told_as_storage_error(self.path):
            lost = not self._rest.open_old()
        for file, length in enumerate(self._content.layout.lengths):
            if file in self._content.pads:
                continue
            if not self._content.keeps(file):
                self._remove(file)
                if lost:
                    fresh.add(file)
                continue
            with told_as_storage_error(self.name(file)), self._open(file, create=True) as descriptor:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode):
                    raise StorageError(f"{self.name(file)}: is not a regular file")
                if found.st_size != length:
                    os.ftruncate(descriptor, length)
                    fresh.add(file)
        return fresh

    def misfits(self) -> set[int]:
        """Files that are missing or have another length than the content says."""
        wrong = set()
        for file, length in enumerate(self._content.layout.lengths):
            if not self._content.keeps(file):
                if file not in self._content.pads:
                    wrong.add(file)
                continue
            try:
                with self._open(file) as descriptor:
                    found = os.fstat(descriptor)
            except FileNotFoundError:
                wrong.add(file)
            except OSError as error:
                raise storage_error(error, self.name(file)) from error
            else:
                if not stat.S_ISREG(found.st_mode) or found.st_size != length:
                    wrong.add(file)
        return wrong

    def sync(self, files: Iterable[int]) -> None:
        """Make the bytes of files durable."""
        files = set(files)
        kept = set(filter(self._content.keeps, files))
        if kept != files:
            with told_as_storage_error(self.path):
                self._rest.sync()
        for file in kept:
            with told_as_storage_error(self.name(file)), self._open(file) as descriptor:
                os.fdatasync(descriptor)

    def sync_names(self) -> None:
        """Make the names in a tree durable: the folders that hold its files."""
        kept = [parts for file, parts in enumerate(self._content.paths) if self._content.keeps(file)]
        folders = {parts[:depth] for parts in kept if parts for depth in range(len(parts))}
        for parts in sorted(folders, key=len, reverse=True):
            with told_as_storage_error(self.path.joinpath(*parts)), self._folder(parts, create=False) as folder:
                os.fsync(folder)

    def check(self, pieces: Iterable[int], sidecar: LeafFile | None = None) -> list[int]:
        """Those of `pieces` whose bytes here are good; what cannot be read is not. Leaf hashes go into the sidecar."""
        return [piece for piece in pieces if self._good(piece, sidecar)]

    def _good(self, piece: int, sidecar: LeafFile | None) -> bool:
        verification, layout = self._content.verification, self._content.layout
        try:
            parts = parts_of(self.read, layout, piece)
            if sidecar is None or verification.evidence is not Evidence.LEAVES:
                return verification.judge(piece, parts)
            leaves = [leaf for part in parts for leaf in leaf_hashes(part)]
        except StorageError:
            return False
        sidecar.note(layout.piece_start(piece), leaves)
        return verification.check(piece, leaves)

    def drop_rest(self) -> None:
        """Take the bytes of files that are not kept off the disk; while this is open they can still be read."""
        with told_as_storage_error(self.path):
            self._rest.unlink()

    def close(self) -> None:
        """Let the root go, and the lock on it."""
        self._rest.close()
        os.close(self._root)

    def _remove(self, file: int) -> None:
        """Take a file off the disk, and the folders that held nothing else."""
        parts = self._content.paths[file]
        with told_as_storage_error(self.name(file)):
            try:
                with self._folder(parts[:-1], create=False) as folder:
                    os.unlink(parts[-1], dir_fd=folder)
                for depth in range(len(parts) - 1, 0, -1):
                    with self._folder(parts[: depth - 1], create=False) as folder:
                        os.rmdir(parts[depth - 1], dir_fd=folder)
            except OSError as error:
                if error.errno not in _NOTHING_THERE:
                    raise
