"""Which of many answers writes in this turn of the event loop?"""

from collections import deque
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

BUDGET: Final = 512 * 1024
"""Bytes written in one turn: to read, encrypt and send them takes about 2 ms, and for so long a new request waits."""


class Turns:
    """Lets so many bytes be written in a turn of the event loop, so that new requests are read between two turns.

    Answers come one after another, each with a portion; those that have not begun go before the others. A portion
    larger than what a turn allows takes a turn of its own.
    """

    def __init__(self, clock: IReactorTime, budget: int = BUDGET) -> None:
        self._clock = clock
        self._budget = budget
        self._left = budget
        self._first: deque[tuple[int, Deferred[None]]] = deque()
        self._later: deque[tuple[int, Deferred[None]]] = deque()
        self._next: IDelayedCall | None = None

    def take(self, count: int, *, first: bool = False) -> "Deferred[None]":
        """Fires when so many bytes may be written, at once if this turn has room; cancelling gives up the place.

        `first`: nothing of this answer has been written yet.
        """
        if not (self._first or self._later) and self._left > 0:
            self._spend(count)
            return succeed(None)
        queue = self._first if first else self._later
        waiting: Deferred[None] = Deferred(lambda _: queue.remove(place))
        place = (count, waiting)
        queue.append(place)
        self._schedule()
        return waiting

    def _spend(self, count: int) -> None:
        self._left -= count
        self._schedule()

    def _schedule(self) -> None:
        if self._next is None:
            self._next = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._next = None
        self._left = self._budget
        while self._left > 0 and (queue := self._first or self._later):
            count, waiting = queue.popleft()
            self._spend(count)
            waiting.callback(None)
        if self._first or self._later:
            self._schedule()
