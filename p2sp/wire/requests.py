"""Which blocks has one side asked for that the other has still to answer?"""

from collections.abc import Iterator

from p2sp.resource.layout import Block
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
from p2sp.wire.messages import Request

Key = tuple[int, int, int]
"""Piece, begin and length: what an answer is matched by."""


def _shown(key: Key) -> str:
    return f"{key[2]} bytes at {key[1]} of piece {key[0]}"


class Outstanding:
    """Our requests at the other side. Each is answered once, also when it was cancelled (BEP 6).

    A cancelled request stays on the books until its answer comes, and that answer is dropped. A block may be asked for
    again meanwhile: the first block that comes then counts, and the other answer is dropped.
    """

    def __init__(self) -> None:
        self._asked: set[Key] = set()
        self._cancelled: dict[Key, int] = {}
        self._dropping = 0

    def __len__(self) -> int:
        return len(self._asked) + self._dropping

    def __contains__(self, block: Block) -> bool:
        return (block.piece, block.begin, block.length) in self._asked

    def ask(self, block: Block) -> None:
        """Book a request. Raises LocalProtocolError for one that is booked already."""
        key = (block.piece, block.begin, block.length)
        if key in self._asked:
            raise LocalProtocolError(f"Request for {_shown(key)} twice")
        self._asked.add(key)

    def cancel(self, block: Block) -> bool:
        """Expect an answer that will be dropped; False when there is none to come."""
        key = (block.piece, block.begin, block.length)
        if key not in self._asked:
            return False
        self._asked.remove(key)
        self._cancelled[key] = self._cancelled.get(key, 0) + 1
        self._dropping += 1
        return True

    def arrived(self, piece: int, begin: int, length: int) -> bool:
        """Whether a block that came is wanted. Raises RemoteProtocolError when it was never asked for."""
        key = (piece, begin, length)
        if key in self._asked:
            self._asked.remove(key)
            return True
        if self._drop(key):
            return False
        for other in (*self._asked, *self._cancelled):
            if other[:2] == key[:2]:
                raise RemoteProtocolError(f"Piece with {_shown(key)}; {other[2]} were requested")
        raise RemoteProtocolError(f"Piece with {_shown(key)}, which was not requested")

    def rejected(self, key: Key) -> bool:
        """Whether a rejection matters. Raises RemoteProtocolError when nothing of the kind was asked for."""
        if self._drop(key):
            return False
        if key not in self._asked:
            raise RemoteProtocolError(f"Reject of {_shown(key)}, which was not requested")
        self._asked.remove(key)
        return True

    def _drop(self, key: Key) -> bool:
        count = self._cancelled.get(key, 0)
        if not count:
            return False
        self._dropping -= 1
        if count == 1:
            del self._cancelled[key]
        else:
            self._cancelled[key] = count - 1
        return True


class Pending:
    """The other side's requests that we took and have to answer once each."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken: dict[Key, Request] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, request: Request) -> bool:
        return (request.piece, request.begin, request.length) in self._taken

    def __iter__(self) -> Iterator[Request]:
        return iter(tuple(self._taken.values()))

    def take(self, request: Request) -> bool:
        """Book a request, unless there are too many. Raises RemoteProtocolError for one that is booked already."""
        key = (request.piece, request.begin, request.length)
        if key in self._taken:
            raise RemoteProtocolError(f"Request for {_shown(key)} twice")
        if len(self._taken) >= self._limit:
            return False
        self._taken[key] = request
        return True

    def done(self, piece: int, begin: int, length: int) -> bool:
        """Strike a request off; False when it is not on the books (any more)."""
        return self._taken.pop((piece, begin, length), None) is not None
