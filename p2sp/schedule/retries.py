"""Which source may have a piece that failed before?"""

from collections.abc import Callable, Mapping

import attrs

from p2sp.resource.layout import Layout
from p2sp.schedule.spans import IntervalSet
from p2sp.schedule.standing import SourceState

INNOCENT_FIRST = 5.0
"""Seconds that a piece that failed waits for a source not suspected of it; then anybody may have it."""


@attrs.frozen
class _Retry:
    """A piece that failed: who gave some of it, and when that was found."""

    suspects: frozenset[str]
    since: float


class Retries:
    """Pieces that failed: each is fetched again as a whole from one source, another one if there is any.

    `on_trial` tells whether a source has still to show that what it gives is good.
    """

    def __init__(self, layout: Layout, on_trial: Callable[[str], bool]) -> None:
        self._layout = layout
        self._on_trial = on_trial
        self._retries: dict[int, _Retry] = {}
        self.pieces = 0
        """Those that wait to be had again, one bit each."""

    def failed(self, piece: int, suspects: frozenset[str], now: float) -> None:
        """A piece did not verify."""
        self._retries[piece] = _Retry(suspects, now)
        self.pieces |= 1 << piece

    def verified(self, piece: int) -> None:
        """A piece is good."""
        if self._retries.pop(piece, None) is not None:
            self.pieces ^= 1 << piece

    def suspected(self, key: str, piece: int) -> bool:
        """Whether a source gave some of a piece that failed."""
        retry = self._retries.get(piece)
        return retry is not None and key in retry.suspects

    def next(
        self, key: str, sources: Mapping[str, SourceState], free: IntervalSet, now: float
    ) -> tuple[int, int] | None:
        """What is to be had of a piece that failed: all of it, unless a source broke off in the midst of it."""
        serves = sources[key].serves() if self._retries else 0
        for piece, retry in self._retries.items():
            runs = free.overlap(self._layout.piece_start(piece), self._layout.piece_end(piece))
            if runs and serves >> piece & 1 and self._may(key, piece, retry, sources, now):
                return runs[0]
        return None

    def _may(self, key: str, piece: int, retry: _Retry, sources: Mapping[str, SourceState], now: float) -> bool:
        if now - retry.since >= INNOCENT_FIRST:
            return True
        if key not in retry.suspects:
            # Only one source will be asked for it: rather one that is known to deliver.
            return not sources[key].stranger(now) or not any(
                s.has(piece) and k not in retry.suspects and not s.stranger(now) for k, s in sources.items()
            )
        trial = self._on_trial(key)
        return not any(
            s.has(piece)
            for k, s in sources.items()
            if k not in retry.suspects or (trial and k != key and not self._on_trial(k))
        )
