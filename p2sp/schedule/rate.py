"""How fast is this source, right now?"""

from math import exp

import attrs

SHORTEST = 0.05
"""Seconds of history that an estimate assumes at the least: the first bytes must not look like infinite speed."""


@attrs.define
class RateEstimate:
    """An exponentially weighted rate in bytes a second, with a memory of about `memory` seconds.

    Weights fall with age, so that bursts and silences both count, and the early estimate is corrected for its short
    history instead of starting at zero. While nothing is asked of the source (`rest`) its time stands still: who had
    nothing to do is not slow.
    """

    memory: float = 3.0
    _level: float = 0.0
    _at: float | None = None
    _since: float = 0.0
    _resting: bool = False

    def start(self, now: float) -> None:
        """The source was asked for bytes at `now`; waiting for the first one counts."""
        if self._at is None:
            self._at = self._since = now
        elif self._resting:
            self._since += max(now - self._at, 0.0)
            self._at = max(now, self._at)
        self._resting = False

    def rest(self, now: float) -> None:
        """Nothing more is asked of the source until the next `start`."""
        if self._at is not None and not self._resting:
            self._fade(now)
            self._resting = True

    def add(self, count: int, now: float) -> None:
        """`count` bytes arrived at `now`."""
        self.start(now)
        self._fade(now)
        self._level += count

    def rate(self, now: float) -> float:
        """Bytes a second; 0.0 while nothing came."""
        if self._at is None:
            return 0.0
        self._fade(now)
        history = max(self._at - self._since, SHORTEST)
        return self._level / (self.memory * (1.0 - exp(-history / self.memory)))

    def age(self, now: float) -> float:
        """Seconds in which something was asked of the source."""
        if self._at is None:
            return 0.0
        return (self._at if self._resting else max(now, self._at)) - self._since

    def _fade(self, now: float) -> None:
        assert self._at is not None
        if now > self._at and not self._resting:
            self._level *= exp(-(now - self._at) / self.memory)
            self._at = now
