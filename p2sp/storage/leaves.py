"""Where are the leaf hashes of a resource kept, so that nobody has to read its bytes again to tell them?"""

import os
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from twisted.logger import Logger

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK, HASH_SIZE

_HEAD = b"p2sp leaf hashes 1".ljust(HASH_SIZE, b"\0")
_LONGEST_NAME = 255
_EMPTY = bytes(HASH_SIZE)

_log = Logger()


def leaves_path(path: Path) -> Path:
    """Where the leaf hashes of what lies at `path` are kept beside it: a hidden file."""
    name = os.fsencode(path.name)
    room = _LONGEST_NAME - len(".~12345678.leaves")
    shown = path.name if len(name) <= room else f"{name[:room].decode(errors='ignore')}~{sha256(name).hexdigest()[:8]}"
    return path.with_name(f".{shown}.leaves")


class LeafFile:
    """A sidecar: one hash for each block, at the place that the block's position gives; what is not known is zeros.

    Nothing in it is believed: whoever reads the leaves of a piece checks that they make the piece's hash. So it is
    written without care, also before a piece is judged, and if it cannot be had, read or written, that costs nothing
    but the reading of data later. A file of that name which is not one of ours is left alone. Blocking: for the pool's
    threads, any number at a time.
    """

    def __init__(self, path: Path, layout: Layout, *, fresh: bool = False) -> None:
        self.path = path
        self._layout = layout
        self._file: int | None = None
        self._usable = False
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            file = os.open(path, flags, 0o666)
        except OSError as error:
            self._failed(error)
            return
        self._file, self._usable = file, True
        try:
            head = os.pread(file, len(_HEAD), 0)
            if head not in (b"", _HEAD):
                raise FileExistsError(0, "is not a file of leaf hashes")
            if fresh or not head:
                os.ftruncate(file, 0)
                os.pwrite(file, _HEAD, 0)
        except OSError as error:
            self._failed(error)

    def note(self, position: int, leaves: Sequence[bytes]) -> None:
        """Keep the hashes of blocks that follow one another, from the one at a position on."""
        if self._file is None or not self._usable or not leaves:
            return
        try:
            os.pwrite(self._file, b"".join(leaves), self._place(position))
        except OSError as error:
            self._failed(error)

    def read(self, piece: int) -> list[bytes] | None:
        """What is kept of a piece, one hash for each of its blocks; None when that is not all."""
        if self._file is None or not self._usable:
            return None
        size = self._layout.blocks_of(piece) * HASH_SIZE
        try:
            row = os.pread(self._file, size, self._place(self._layout.piece_start(piece)))
        except OSError as error:
            self._failed(error)
            return None
        leaves = [row[at : at + HASH_SIZE] for at in range(0, len(row), HASH_SIZE)]
        return leaves if len(row) == size and _EMPTY not in leaves else None

    def rename(self, path: Path) -> None:
        """Give it the name that belongs to finished bytes, unless something else has it."""
        if not self._usable:
            return
        try:
            with suppress(FileNotFoundError), path.open("rb") as there:
                if there.read(len(_HEAD)) != _HEAD:
                    raise FileExistsError(0, "is not a file of leaf hashes")
            self.path.replace(path)
        except OSError as error:
            self.remove()
            self._failed(error)
        else:
            self.path = path

    def remove(self) -> None:
        """Take it off the disk; what it holds can be read until it is closed."""
        if self._usable:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let the file go."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def _place(position: int) -> int:
        return len(_HEAD) + position // BLOCK * HASH_SIZE

    def _failed(self, error: OSError) -> None:
        _log.info(
            "{path}: leaf hashes are not kept here: {reason}", path=str(self.path), reason=error.strerror or str(error)
        )
        # Others may be using the file at this moment: it is closed at the end.
        self._usable = False


def drop_leaves(path: Path) -> None:
    """Remove a file of leaf hashes that nobody needs any more, if it is one of ours."""
    with suppress(OSError):
        with path.open("rb") as file:
            ours = file.read(len(_HEAD)) == _HEAD
        if ours:
            path.unlink()
