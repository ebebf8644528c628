"""Is more asked of this process than it can do, and what share is to be turned away? Pure."""

from typing import TYPE_CHECKING, Final

import attrs

from p2sp.net.ratelimit import AT_ONCE, RateLimit

if TYPE_CHECKING:
    from random import Random

TICK: Final = 0.1
"""Seconds between two looks at the clock."""

LATE: Final = 0.1
"""A look that comes so much too late means that everybody waits as long."""

_DEARER: Final = 1.5
_CHEAPER: Final = 0.95
MOST_PRICE: Final = 64.0
_MORE: Final = 0.15
_LESS: Final = 0.02
MOST_SHED: Final = 0.95
RETRY: Final = 30
"""Seconds after which who was turned away may come back."""


@attrs.define
class LoadGauge:
    """How late the event loop is, and what is done about it: who asks much is served less, then all are.

    `tick` is called every `TICK` seconds by a clock that does not go back. While ticks come late the price of an
    announce rises, so that allowances last for fewer of them; who announces once in its interval never feels that
    (`price_for`). When that does not help, a growing share of all requests is turned away before it costs anything.
    Both grow quickly and shrink slowly, so that they settle where the loop just keeps up.
    """

    price: float = 1.0
    share: float = 0.0
    lag: float = 0.0
    turned_away: int = 0
    _last: float | None = None

    def tick(self, now: float) -> None:
        """Look at the clock."""
        if self._last is not None:
            self.lag = max(0.0, now - self._last - TICK)
            if self.lag > LATE:
                if self.price >= MOST_PRICE:
                    self.share = min(MOST_SHED, self.share + _MORE)
                self.price = min(MOST_PRICE, self.price * _DEARER)
            elif self.share > 0.0:
                self.share = max(0.0, self.share - _LESS)
            else:
                self.price = max(1.0, self.price * _CHEAPER)
        self._last = now

    def price_for(self, limit: RateLimit, interval: float) -> float:
        """What an announce counts for in an allowance, when `interval` seconds are what is between two.

        However much there is to do, an allowance is good for two announces in each interval, and for a few at once.
        """
        return max(1.0, min(self.price, limit.burst / AT_ONCE, limit.rate * interval / 2.0))

    def turns_away(self, rng: "Random") -> bool:
        """Whether the request at hand is to be refused."""
        if self.share > 0.0 and rng.random() < self.share:
            self.turned_away += 1
            return True
        return False
