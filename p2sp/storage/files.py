"""How are bytes put into the files of a content, and read from them?"""

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from p2sp.resource.layout import Segment
from p2sp.resource.verification import Content
from p2sp.storage.interfaces import NoSpace, StorageError
from p2sp.storage.pieces import parts_of

Pwrite = Callable[[int, memoryview, int], int]
"""`os.pwrite`, or what a test puts in its place."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)


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


class Files:
    """The files of a content below an open descriptor: the file itself, or the folder of a tree.

    All methods may be called in any thread; none moves a file position. Links inside a tree are never followed, so that
    a tree that somebody prepared cannot lead a write elsewhere. Raises StorageError, naming the file.
    """

    def __init__(self, root: int, path: Path, content: Content, *, writable: bool, pwrite: Pwrite = os.pwrite) -> None:
        self._root = root
        self._content = content
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
        with told_as_storage_error(self.name(where.file)), self._open(where.file) as descriptor:
            written = 0
            while written < len(data):
                written += self._pwrite(descriptor, data[written:], where.offset + written)

    def read(self, where: Segment) -> bytes:
        """See `p2sp.storage.base.Medium`."""
        with told_as_storage_error(self.name(where.file)), self._open(where.file) as descriptor:
            data = os.pread(descriptor, where.length, where.offset)
            while len(data) < where.length:
                more = os.pread(descriptor, where.length - len(data), where.offset + len(data))
                if not more:
                    raise StorageError(f"{self.name(where.file)}: the file has become shorter")
                data += more
            return data

    def prepare(self) -> set[int]:
        """Make what is missing: folders, and files of the right length without bytes in them (sparse).

        Answers which files were not there with their full length: nothing in them can be trusted.
        """
        fresh = set()
        for file, length in enumerate(self._content.layout.lengths):
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
        for file in files:
            with told_as_storage_error(self.name(file)), self._open(file) as descriptor:
                os.fdatasync(descriptor)

    def sync_names(self) -> None:
        """Make the names in a tree durable: the folders that hold its files."""
        folders = {parts[:depth] for parts in self._content.paths if parts for depth in range(len(parts))}
        for parts in sorted(folders, key=len, reverse=True):
            with told_as_storage_error(self.path.joinpath(*parts)), self._folder(parts, create=False) as folder:
                os.fsync(folder)

    def check(self, pieces: Iterable[int]) -> list[int]:
        """Those of `pieces` whose bytes here are good; what cannot be read is not."""
        return [piece for piece in pieces if self._good(piece)]

    def _good(self, piece: int) -> bool:
        try:
            return self._content.verification.judge(piece, parts_of(self.read, self._content.layout, piece))
        except StorageError:
            return False

    def close(self) -> None:
        """Let the root go, and the lock on it."""
        os.close(self._root)
