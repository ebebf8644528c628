"""Which resource is this file or folder?"""

import hashlib
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred

from p2sp.resource.descriptor import MAX_DEPTH, MAX_FILES, Descriptor, FileEntry, make_descriptor
from p2sp.resource.layout import piece_length_for
from p2sp.resource.merkle import FileHasher
from p2sp.resource.names import check_name
from p2sp.resource.torrent_v1 import FlatHasher, make_hybrid
from p2sp.storage.files import told_as_storage_error
from p2sp.storage.interfaces import StorageError
from p2sp.storage.pool import Pool, detached

_RUN = 4 * 1024 * 1024

Progress = Callable[[int, int], None]
"""Told, on the reactor's thread, how many bytes were read and how many there are."""


@attrs.frozen
class Scan:
    """What was found out in one pass over the bytes; `sha256` is that of a single file."""

    descriptor: Descriptor
    sha256: bytes | None


@attrs.frozen
class _Found:
    """A file to be read, as it was when it was found."""

    path: Path
    parts: tuple[str, ...]
    size: int
    modified: int


def _walk(folder: Path, parts: tuple[str, ...], found: list[_Found]) -> None:
    """Put the files below a folder into `found`, in the order of the descriptor."""
    if len(parts) > MAX_DEPTH:
        raise StorageError(f"{folder}: deeper than {MAX_DEPTH} folders")
    with told_as_storage_error(folder):
        names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208 - iterdir makes a path of every name first
    if not names:
        raise StorageError(f"{folder}: an empty folder, which a resource cannot hold")
    for name in names:
        _find(folder / name, (*parts, check_name(name)), found)


def _find(path: Path, parts: tuple[str, ...], found: list[_Found]) -> None:
    with told_as_storage_error(path):
        status = path.lstat()
    if stat.S_ISDIR(status.st_mode):
        _walk(path, parts, found)
    elif not stat.S_ISREG(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "neither a file nor a folder"
        raise StorageError(f"{path}: is {what}, which a resource cannot hold")
    else:
        found.append(_Found(path, parts, status.st_size, status.st_mtime_ns))
        if len(found) > MAX_FILES:
            raise StorageError(f"{path}: more than {MAX_FILES} files")


def _inventory(path: Path) -> tuple[str, bool, list[_Found]]:
    """Name, whether it is a folder, and the files of what lies at `path`."""
    with told_as_storage_error(path):
        # Only names like "." have to be resolved; a link must stay one to be refused.
        path = path if path.name and path.name != ".." else path.resolve()
        folder = stat.S_ISDIR(path.lstat().st_mode)
    name = check_name(path.name)
    found: list[_Found] = []
    _find(path, () if folder else (name,), found)
    return name, folder, found


class _Reader:
    """Hashes one file, run by run. Blocking: for the pool's threads, one call at a time."""

    def __init__(self, found: _Found, piece_length: int, *, whole: bool, flat: bool) -> None:
        self._found = found
        self._tree = FileHasher(piece_length)
        self._flat = FlatHasher(piece_length) if flat else None
        self._whole = hashlib.sha256() if whole else None

    def step(self) -> int:
        """Read and hash the next run; how many bytes it had, 0 at the end. Raises StorageError."""
        found, start = self._found, self._tree.length
        wanted = min(_RUN, found.size - start)
        with told_as_storage_error(found.path):
            descriptor = os.open(found.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                data = bytearray()
                while len(data) < wanted and (more := os.pread(descriptor, wanted - len(data), start + len(data))):
                    data += more
                now = os.fstat(descriptor)
            finally:
                os.close(descriptor)
        if len(data) < wanted or (now.st_size, now.st_mtime_ns) != (found.size, found.modified):
            raise StorageError(f"{found.path}: has changed while it was read")
        self._tree.update(data)
        if self._flat is not None:
            self._flat.update(data)
        if self._whole is not None:
            self._whole.update(data)
        return len(data)

    def result(self) -> tuple[FileEntry, tuple[bytes, ...]]:
        """The entry of the file and its piece layer."""
        root, layer = self._tree.finish()
        return FileEntry(self._found.parts, self._tree.length, root), layer

    def pieces(self, *, padded: bool) -> list[bytes]:
        """SHA-1 of its pieces, if they were wanted; see `FlatHasher.finish`."""
        return self._flat.finish(padded=padded) if self._flat is not None else []

    def digest(self) -> bytes | None:
        """SHA-256 of the whole file, if it was wanted."""
        return None if self._whole is None else self._whole.digest()


async def describe(path: Path, pool: Pool, progress: Progress | None = None, *, hybrid: bool = False) -> Scan:
    """Hash a file, or all files of a folder, into the canonical descriptor, or one that BitTorrent v1 reads, too.

    Hidden files are taken; symbolic links, special files and empty folders cannot be part of a resource. Raises
    StorageError for these and for what cannot be read or changes meanwhile, DescriptorError for names that are unsafe
    on other systems; each names the file.
    """
    name, folder, found = await detached(pool.run(_inventory, path))
    total, done = sum(item.size for item in found), 0
    piece_length = piece_length_for(total)
    files: list[tuple[FileEntry, tuple[bytes, ...]]] = []
    digest: bytes | None = None
    pieces: list[bytes] = []
    bytes_after = total
    for item in found:
        reader = _Reader(item, piece_length, whole=not folder, flat=hybrid)
        bytes_after -= item.size
        while read := await detached(pool.run(reader.step)):
            done += read
            if progress is not None:
                progress(done, total)
        files.append(reader.result())
        digest = reader.digest()
        pieces += await detached(pool.run(partial(reader.pieces, padded=bytes_after > 0)))
    descriptor: Deferred[Descriptor] = pool.run(make_descriptor, name, files, piece_length)
    made = await detached(descriptor)
    return Scan(make_hybrid(made, pieces) if hybrid else made, digest)
