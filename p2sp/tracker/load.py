"""Is more asked of this process than it can do, and what share is to be turned away? Pure."""

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from random import Random

TICK: Final = 0.1
"""Seconds between two looks at the clock."""

LATE: Final = 0.1
"""A look that comes so much too late means that everybody waits as long."""

_MORE: Final = 0.15
_LESS: Final = 0.02
MOST_SHED: Final = 0.95
RETRY: Final = 30
"""Seconds after which who was turned away may come back."""


@attrs.define
class LoadGauge:
    """How late the event loop is, and the share of requests that is refused before it costs anything.

    `tick` is called every `TICK` seconds by a clock that does not go back. While ticks come late the share grows
    quickly; it shrinks slowly, so that it settles where the loop just keeps up.
    """

    share: float = 0.0
    lag: float = 0.0
    turned_away: int = 0
    _last: float | None = None

    def tick(self, now: float) -> None:
        """Look at the clock."""
        if self._last is not None:
            self.lag = max(0.0, now - self._last - TICK)
            self.share = min(MOST_SHED, self.share + _MORE) if self.lag > LATE else max(0.0, self.share - _LESS)
        self._last = now

    def turns_away(self, rng: "Random") -> bool:
        """Whether the request at hand is to be refused."""
        if self.share > 0.0 and rng.random() < self.share:
            self.turned_away += 1
            return True
        return False
