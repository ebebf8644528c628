"""Which of the things placed on a super node is it told of next, so that it is never told to fetch much at once?"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs

from p2sp.manager.placement import Decision

AHEAD: Final = 2
"""Fills named for each that the super node runs at a time: the next one is at hand until it reports again."""

INTERVALS: Final = 2.0
"""Heartbeats for which the super node shall have enough to do, if it says how fast it fetches."""

UNLIMITED: Final = 1 << 30
"""Bytes that are named at once to a super node that knows no limit."""

MOST_NEW: Final = 1000
"""Things not whole yet that are named at once, however small they are."""


@attrs.frozen
class Budget:
    """How much a super node is told to fetch at once: `fills` things, or more as long as they are `bytes` together."""

    fills: int
    bytes: float

    @classmethod
    def of(cls, fills: int, fill_rate: int, interval: float) -> "Budget":
        """That of a super node that runs `fills` at a time at `fill_rate` bytes a second (0: no limit).

        It reports every `interval` seconds.
        """
        return cls(AHEAD * fills, fill_rate * INTERVALS * interval if fill_rate else UNLIMITED)


def due(
    decisions: Sequence[Decision], shares: Mapping[str, float], troubled: Collection[str], budget: Budget | None
) -> list[Decision]:
    """Of what is placed on a super node (most valuable first) that which it shall hold now, in the same order.

    `shares` is what it has of each resource, and that is always named: nothing that is there is given up or fetched
    again. What it has nothing of comes in as far as the budget (None: nothing) goes beyond what is being fetched. What
    is `troubled`, as nobody has it, stays named and takes no other's turn.
    """
    fetching = [each for each in decisions if shares.get(each.resource, 1.0) < 1.0 and each.resource not in troubled]
    count, missing = len(fetching), sum(each.length * (1.0 - shares[each.resource]) for each in fetching)
    named: list[Decision] = []
    in_vain = 0
    for each in decisions:
        if each.resource in shares:
            named.append(each)
        elif budget is None:
            continue
        elif each.resource in troubled:
            in_vain += 1
            if in_vain <= budget.fills:
                named.append(each)
        elif count < budget.fills or (missing + each.length <= budget.bytes and count < MOST_NEW):
            count += 1
            missing += each.length
            named.append(each)
    return named
