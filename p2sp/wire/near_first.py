"""How many of our upload slots have nodes outside of our ISP?"""

from collections.abc import Collection
from random import Random
from typing import Final, Generic

from p2sp.wire.choker import Applicant, Choker, K

KEPT: Final = 4
"""One slot in so many is kept for nodes outside as long as they want any: what we brought in, they need as well."""


class NearFirst(Generic[K]):
    """Shares out upload slots: first to who is near us, then to others, and among each as a `Choker` does.

    Where nobody is known to be near, or hardly any slots are there, all are alike.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._near: Choker[K] = Choker(slots)
        self._far: Choker[K] = Choker(slots)

    def decide(self, applicants: Collection[Applicant[K]], now: float, rng: Random) -> Collection[K]:
        """Who is to be unchoked now; everybody else is to be choked. `applicants` are all links there are."""
        if self._slots < KEPT:
            return self._far.decide(applicants, now, rng)
        near = [each for each in applicants if each.near]
        far = [each for each in applicants if not each.near]
        kept = min(self._slots // KEPT, sum(each.interested for each in far))
        share = min(sum(each.interested for each in near), self._slots - kept)
        served = set(self._near.decide(near, now, rng, max(share, 1)))
        return served.union(self._far.decide(far, now, rng, max(self._slots - share, 1)))
