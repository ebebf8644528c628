"""How fast is this source, right now?"""

from math import exp

import attrs


@attrs.define
class RateEstimate:
    """An exponentially weighted rate in bytes a second, with a memory of about `memory` seconds.

    Weights fall with age, so that bursts and silences both count, and the early estimate is corrected for its short
    history instead of starting at zero.
    """

    memory: float = 3.0
    _level: float = 0.0
    _at: float | None = None
    _since: float = 0.0

    def add(self, count: int, now: float) -> None:
        """`count` bytes arrived at `now`."""
        if self._at is None:
            self._at = self._since = now
        self._fade(now)
        self._level += count

    def start(self, now: float) -> None:
        """The source was asked for bytes at `now`; waiting for the first one counts."""
        if self._at is None:
            self._at = self._since = now

    def rate(self, now: float) -> float:
        """Bytes a second; 0.0 while nothing came."""
        if self._at is None:
            return 0.0
        self._fade(now)
        history = max(now - self._since, 0.05)
        return self._level / (self.memory * (1.0 - exp(-history / self.memory)))

    def _fade(self, now: float) -> None:
        assert self._at is not None
        if now > self._at:
            self._level *= exp(-(now - self._at) / self.memory)
            self._at = now
