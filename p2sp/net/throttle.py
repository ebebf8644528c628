"""How long must a sender wait so that a rate is kept?"""

import attrs


@attrs.define
class TokenBucket:
    """A rate with a burst: tokens flow in at `rate` a second up to `burst`, and work takes them out.

    Units are the caller's (bytes or requests). `now` is any steadily growing count of seconds.
    Raises ValueError for a rate or burst that is not positive.
    """

    rate: float
    burst: float
    _level: float = attrs.field(init=False)
    _at: float | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        if not (self.rate > 0 and self.burst > 0):
            raise ValueError(f"a rate and a burst must be positive, not {self.rate} and {self.burst}")
        self._level = self.burst

    def _refill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        # A clock that jumps back must not stop the flow for as long as it jumped.
        self._at = now

    def take(self, n: float, now: float) -> float:
        """Take `n` tokens at once, into debt if need be; the answer is how many seconds to wait before more.

        Debt is what lets a take larger than the burst work: its wait is longer, that is all.
        """
        self._refill(now)
        self._level -= n
        return 0.0 if self._level >= 0 else -self._level / self.rate

    def give_back(self, n: float) -> None:
        """Return tokens that were taken for work that did not happen."""
        self._level = min(self.burst, self._level + n)

    def try_take(self, n: float, now: float) -> float:
        """Take `n` tokens if they are there (answer 0.0), else take none: seconds until they will be."""
        self._refill(now)
        if self._level >= n:
            self._level -= n
            return 0.0
        return (n - self._level) / self.rate

    def trim(self, most: float) -> None:
        """Let no more than so many tokens be left of what was earned so far."""
        self._level = min(self._level, most)

    def set_rate(self, rate: float, now: float) -> None:
        """Go on at another rate from now; what was earned or owed so far stays."""
        if not rate > 0:
            raise ValueError(f"a rate must be positive, not {rate}")
        self._refill(now)
        self.rate = rate
