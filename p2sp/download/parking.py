"""Which servers are so slow beside the others that asking them costs more than it brings? They rest for a while."""

from collections.abc import Callable, Collection
from statistics import median_high

from p2sp.download.member import Member
from p2sp.schedule.spans import Kind

FLOOR = 16 * 1024
"""Bytes a second below which a server is slow beside any that is not."""

SHARE = 0.05
"""Of the median rate: below it a server is slow, however fast it is."""

TOO_LONG = 10.0
"""Seconds that it may be slow without a break."""

FIRST_REST = 30.0
LONGEST_REST = 600.0
"""Seconds it rests the first time, doubled each time, up to this."""


def park_slow(
    members: Collection[Member], rate_of: Callable[[str], float], now: float
) -> list[tuple[Member, str, float]]:
    """The servers that rest from now on, each with the reason and for how many seconds; to be asked regularly.

    Nobody does while no other source does better than what is asked of it: the last one that gives anything stays.
    And when all that do not rest have to wait themselves, those that rest are asked again at once.
    """
    if all(now < member.free_from for member in members):
        for member in members:
            member.parked_until = min(member.parked_until, now)
    rates = {member: rate_of(member.source.label) for member in members if member.fetches}
    bar = max(FLOOR, SHARE * median_high(rates.values())) if rates else 0.0
    does_well = any(rate >= bar for rate in rates.values())
    parked: list[tuple[Member, str, float]] = []
    for member in members:
        rate = rates.get(member)
        if rate is None or rate >= bar or not does_well or member.source.kind is not Kind.SERVER:
            member.slow_since = None
        elif member.slow_since is None:
            member.slow_since = now
        elif now - member.slow_since >= TOO_LONG:
            rest = min(FIRST_REST * 2.0**member.rests, LONGEST_REST)
            member.rests += 1
            member.slow_since = None
            member.parked_until = now + rest
            parked.append((member, f"{member.source.label}: {rate / 1024:.0f} KiB/s is too slow beside others", rest))
    return parked
