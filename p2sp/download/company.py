"""Whom may a download expect soon, of those that trackers are asked for and name?"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from p2sp.schedule.scheduler import Scheduler
from p2sp.sources.interfaces import Candidate

LISTEN: Final = 1.0
"""Seconds that trackers have for their first answer before servers are asked for more than a bite."""

EXPECT: Final = 2.0
"""Seconds in which a node that is called for the first time is taken to be about to come."""


class Company:
    """Tells the scheduler who is about to come, and has the sources fed when that turns out one way or the other."""

    def __init__(self, clock: IReactorTime, scheduler: Scheduler, pump: Callable[[], None]) -> None:
        self._clock = clock
        self._scheduler = scheduler
        self._pump = pump

    def listen(self) -> None:
        """Trackers are being asked for the first time."""
        self._scheduler.listen(self._clock.seconds() + LISTEN)

    def answered(self) -> None:
        """A tracker has answered, or none will."""
        self._scheduler.heard()
        self._pump()

    def called(self, candidate: Candidate) -> None:
        """A node that nobody named before is going to be called."""
        if candidate.node_id and (candidate.local or candidate.lan):
            now = self._clock.seconds()
            self._scheduler.expect(candidate.node_id, now, now + EXPECT, whole=candidate.have >= 1.0)

    def unreachable(self, candidate: Candidate) -> None:
        """A call failed."""
        self._scheduler.expect_no_more(candidate.node_id)
        self._pump()
