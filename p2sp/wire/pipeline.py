"""How many requests shall be under way at one source?"""

from typing import Final

from p2sp.resource.merkle import BLOCK

FLOOR: Final = 8
CEILING: Final = 500
SECONDS: Final = 3.0
"""Seconds of the source's rate to keep requested."""

_BIN: Final = 1.0
_WEIGHT: Final = 0.3
_STILL_GROWING: Final = 5000
"""Growth, in bytes a second from one second to the next, below which slow start ends."""


class Pipeline:
    """Depth of a request queue: rate times three seconds, after a slow start of one more per block.

    `now` is any steady count of seconds. The rate is a moving average over bins of a second.
    """

    def __init__(self, now: float) -> None:
        self.rate = 0.0
        self._slow_start = True
        self._depth = FLOOR
        self._last_bin = 0.0
        self._bin_start = now
        self._bin_bytes = 0

    @property
    def depth(self) -> int:
        """Requests to keep under way."""
        return max(FLOOR, min(self._depth, CEILING))

    def idle(self, now: float) -> None:
        """Begin anew after a time in which nothing was asked for: that time says nothing of the source."""
        self._bin_start = now
        self._bin_bytes = 0

    def received(self, count: int, now: float) -> None:
        """A block of `count` bytes came."""
        self._bin_bytes += count
        if self._slow_start:
            self._depth += 1
        elapsed = now - self._bin_start
        if elapsed < _BIN:
            return
        measured = self._bin_bytes / elapsed
        self.rate = measured if not self.rate else self.rate + _WEIGHT * (measured - self.rate)
        if measured - self._last_bin < _STILL_GROWING:
            self._slow_start = False
        self._last_bin = measured
        if not self._slow_start:
            self._depth = int(self.rate * SECONDS / BLOCK)
        self.idle(now)
