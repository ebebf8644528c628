"""How many requests shall be under way at one source, and how long may their answers take? Pure."""

from typing import Final

from p2sp.resource.merkle import BLOCK

FLOOR: Final = 8
LAN_FLOOR: Final = 32
"""The same for a source on our own network."""

CEILING: Final = 500
SECONDS: Final = 3.0
"""Seconds of the source's rate to keep requested."""

LEAST_PATIENCE: Final = 2.0
MOST_PATIENCE: Final = 30.0
UNKNOWN: Final = 20.0
"""Seconds to wait for the first block of a source."""

_BIN: Final = 1.0
_WEIGHT: Final = 0.3
_STILL_GROWING: Final = 5000
"""Growth, in bytes a second from one second to the next, below which slow start ends."""


class Pipeline:
    """Depth of a request queue: rate times three seconds, after a slow start of one more per block.

    `now` is any steady count of seconds. The rate is a moving average over bins of a second. A source that is `snubbed`
    is asked for one block at a time, until one comes.
    """

    def __init__(self, now: float, floor: int = FLOOR) -> None:
        self.rate = 0.0
        self.snubbed = False
        self._floor = floor
        self._slow_start = True
        self._depth = floor
        self._last_bin = 0.0
        self._bin_start = now
        self._bin_bytes = 0

    @property
    def depth(self) -> int:
        """Requests to keep under way."""
        return 1 if self.snubbed else max(self._floor, min(self._depth, CEILING))

    def snub(self) -> None:
        """Nothing came for long: begin with one request, and slowly again once there is an answer."""
        self.snubbed = self._slow_start = True
        self._depth = self._floor

    def idle(self, now: float) -> None:
        """Begin anew after a time in which nothing was asked for: that time says nothing of the source."""
        self._bin_start = now
        self._bin_bytes = 0

    def received(self, count: int, now: float) -> None:
        """A block of `count` bytes came."""
        self.snubbed = False
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


class BlockTimes:
    """How long the answers of one source take, and so how long to wait in silence: mean and four deviations."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def patience(self) -> float:
        """Seconds without any block after which one that is due counts as late."""
        if self._mean is None:
            return UNKNOWN
        return min(max(self._mean + 4 * self._deviation, LEAST_PATIENCE), MOST_PATIENCE)

    def took(self, seconds: float) -> None:
        """A block came so long after it was asked for."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        error = seconds - self._mean
        self._mean += error / 8
        self._deviation += (abs(error) - self._deviation) / 4
