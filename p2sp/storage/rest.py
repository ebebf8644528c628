"""Where do the bytes go that are fetched with a piece, but belong to no file that is kept?

Pieces of BitTorrent v1 cross files. What such a piece holds of files nobody selected lies in one sparse file beside the
download, by its position, so that the piece can be verified and given to others; it goes when the download is complete.
Padding is zeros and lies nowhere (BEP 47).
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from p2sp.resource.layout import Segment
from p2sp.resource.verification import Content

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


class Rest:
    """The bytes of one content that no kept file holds; `path` None when there is no place for any.

    Methods may be called in any thread. Raises OSError.
    """

    def __init__(self, content: Content, path: Path | None, pwrite: Callable[[int, memoryview, int], int]) -> None:
        self._content = content
        self._path = path
        self._pwrite = pwrite
        self._opening = threading.Lock()
        self._descriptor: int | None = None

    def open_old(self) -> bool:
        """Go on with what an earlier run left; whether it left anything."""
        if self._path is None:
            return False
        try:
            self._descriptor = os.open(self._path, _FLAGS)
        except FileNotFoundError:
            return False
        return True

    def write(self, where: Segment, data: memoryview) -> None:
        """Put all of `data` at a place; what should be zeros is taken for it."""
        if where.file in self._content.pads:
            return
        written = 0
        while written < len(data):
            written += self._pwrite(self._open(), data[written:], where.position + written)

    def read(self, where: Segment) -> bytes:
        """Exactly the bytes of a place; where none were written there are fewer, or zeros."""
        if where.file in self._content.pads:
            return bytes(where.length)
        if self._descriptor is None:
            return b""
        data = b""
        while len(data) < where.length:
            more = os.pread(self._descriptor, where.length - len(data), where.position + len(data))
            if not more:
                break
            data += more
        return data

    def sync(self) -> None:
        """Make what was written durable."""
        if self._descriptor is not None:
            os.fdatasync(self._descriptor)

    def unlink(self) -> None:
        """Take it off the disk; what is open can still be read."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let it go."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _open(self) -> int:
        with self._opening:
            if self._descriptor is None:
                if self._path is None:
                    raise FileNotFoundError("there is no place for bytes that are not kept")
                self._descriptor = os.open(self._path, _FLAGS | os.O_CREAT, 0o666)
            return self._descriptor
