"""Whom do we serve?"""

from collections.abc import Collection, Hashable
from typing import Final, Generic, TypeVar

TURN: Final = 30.0
"""Seconds after which a slot changes hands while others wait."""

K = TypeVar("K", bound=Hashable)


class Choker(Generic[K]):
    """Gives a number of upload slots to who is interested, and sees to it that nobody waits for ever.

    As long as slots are free everybody who is interested has one. When others wait, every 30 seconds the one who has
    had a slot longest makes room for the one who has waited longest. `now` is any steady count of seconds.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._holders: dict[K, None] = {}
        self._waiting: dict[K, None] = {}
        self._turned: float | None = None

    def decide(self, interested: Collection[K], now: float) -> Collection[K]:
        """Who is to be unchoked now; everybody else is to be choked."""
        wanted = set(interested)
        self._holders = {key: None for key in self._holders if key in wanted}
        self._waiting = {key: None for key in self._waiting if key in wanted}
        for key in interested:
            if key not in self._holders:
                self._waiting.setdefault(key)
        while self._waiting and len(self._holders) < self._slots:
            self._promote()
        if not self._waiting or not self._holders:
            self._turned = None
        elif self._turned is None:
            self._turned = now
        elif now - self._turned >= TURN:
            self._turned = now
            oldest = next(iter(self._holders))
            del self._holders[oldest]
            self._promote()
            self._waiting[oldest] = None
        return self._holders.keys()

    def _promote(self) -> None:
        first = next(iter(self._waiting))
        del self._waiting[first]
        self._holders[first] = None
