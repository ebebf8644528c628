"""Which of the blocks that one link asks for is sent next? Pure.

Pieces with the fewest copies near us come first: as soon as there are two of such a piece, two can serve it. Apart from
that it goes by the order in which pieces were asked for, and none waits for ever.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from p2sp.wire.messages import Request

CHOICE: Final = 4
"""Pieces that are compared, those asked for first."""

OVERTAKEN: Final = 64
"""Blocks that may be sent before the piece that has waited longest: a MiB."""


class Queue:
    """The requests of a link that were taken and are still to be answered; of a piece in the order they came.

    `copies` tells how many copies of a piece there are near us. The `first` request stays the same until it is taken.
    """

    def __init__(self, copies: Callable[[int], int]) -> None:
        self._copies = copies
        self._pieces: dict[int, deque[Request]] = {}
        self._chosen: int | None = None
        self._overtaken = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def add(self, request: Request) -> None:
        """Take a request."""
        self._pieces.setdefault(request.piece, deque()).append(request)

    def clear(self) -> None:
        """Forget all."""
        self._pieces.clear()
        self._chosen = None

    @property
    def first(self) -> Request:
        """The request to be answered next; there must be one."""
        if self._chosen is None:
            self._chosen = self._choose()
        return self._pieces[self._chosen][0]

    def take(self) -> Request:
        """The `first` one, which is out of the queue now."""
        first = self.first
        row = self._pieces[first.piece]
        row.popleft()
        self._overtaken = 0 if first.piece == next(iter(self._pieces)) else self._overtaken + 1
        if not row:
            del self._pieces[first.piece]
        self._chosen = None
        return first

    def take_behind(self, last: Request) -> Request | None:
        """The one that follows right behind `last` in its piece, if it is next there; it is out of the queue now."""
        row = self._pieces.get(last.piece)
        if row is None or row[0].begin != last.begin + last.length:
            return None
        self._chosen = last.piece
        return self.take()

    def _choose(self) -> int:
        longest = next(iter(self._pieces))
        if len(self._pieces) == 1 or self._overtaken >= OVERTAKEN:
            return longest
        return min(islice(self._pieces, CHOICE), key=self._copies)
