"""Which of the resources that a super node shall hold are fetched next?"""

from collections.abc import Sequence
from typing import Final

import attrs

LINGER: Final = 60.0
"""Seconds after its last reader until the fill of what nobody ordered ends."""


@attrs.frozen
class Fill:
    """A resource that is ordered and not whole. `moving`: it is being fetched, and that gets on.

    What is being fetched in vain, as nobody has it at present, goes on looking but takes nobody's turn: it does not
    belong here.
    """

    resource: str
    value: float
    moving: bool


def next_fills(fills: Sequence[Fill], most: int) -> list[str]:
    """Those to begin now, the most valuable first, so that no more than `most` move at a time."""
    waiting = [fill for fill in fills if not fill.moving]
    free = most - sum(fill.moving for fill in fills)
    waiting.sort(key=lambda fill: (-fill.value, fill.resource))
    return [fill.resource for fill in waiting[: max(free, 0)]]
