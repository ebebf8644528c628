"""Where are bytes kept that need not outlive the process?"""

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from p2sp.resource.layout import Segment
from p2sp.resource.verification import Content
from p2sp.storage.base import BaseStore
from p2sp.storage.interfaces import IPieceStore, StorageError
from p2sp.storage.pool import Pool


class _Pieces:
    """One buffer for every piece that has been begun."""

    def __init__(self, content: Content) -> None:
        self._layout = content.layout
        self._buffers: dict[int, bytearray] = {}

    def write(self, where: Segment, data: memoryview) -> None:
        piece = self._layout.piece_at(where.position)
        # setdefault, because two threads may begin one piece at the same time.
        buffer = self._buffers.setdefault(piece, bytearray(self._layout.piece_size(piece)))
        at = where.position - self._layout.piece_start(piece)
        buffer[at : at + len(data)] = data

    def read(self, where: Segment) -> bytes:
        parts = []
        for part in self._layout.segments(where.position, where.position + where.length):
            piece = self._layout.piece_at(part.position)
            buffer = self._buffers.get(piece)
            if buffer is None:
                raise StorageError(f"piece {piece} was let go")
            at = part.position - self._layout.piece_start(piece)
            parts.append(memoryview(buffer)[at : at + part.length])
        return b"".join(parts)

    def at_hand(self, where: Segment) -> bytes:
        return self.read(where)

    def drop(self, piece: int) -> None:
        self._buffers.pop(piece, None)

    def clear(self) -> None:
        self._buffers.clear()


@implementer(IPieceStore)
class MemoryStore(BaseStore):
    """A store in memory, for tests and small things; nothing is left of it after `close`."""

    def __init__(self, content: Content, pool: Pool) -> None:
        self._pieces = _Pieces(content)
        super().__init__(content, pool, self._pieces)

    def _piece_forgotten(self, piece: int) -> None:
        self._pieces.drop(piece)

    def finish(self) -> "Deferred[str]":
        """Fires with the content's name: there is no path."""
        if not self.complete or self._closed:
            return fail(StorageError(f"{self.content.name}: only a complete open store can be finished"))
        return succeed(self.content.name)

    async def _close(self) -> None:
        self._closed = True
        await self._quiet()
        self._pieces.clear()

    def close(self) -> "Deferred[None]":
        """Let all bytes go."""
        return Deferred.fromCoroutine(self._close())
