"""What does the conductor know of a source that takes part?"""

from collections.abc import Callable, Iterable
from random import Random

import attrs
from twisted.internet.defer import Deferred

from p2sp.download.report import SourceAccount
from p2sp.download.sink import SpanSink
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import ISource, SourceError, SourceRefused

TRIES = 5
"""Failures in a row, without a block between them, after which a source is dropped."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 60.0
"""Seconds to wait after a failure, doubled with each in a row, less a random part of up to a half."""


@attrs.define(eq=False)
class Fetch:
    """A running fetch of a source: where its bytes go, how to cancel it, how many came, and how many of use."""

    sink: SpanSink
    done: "Deferred[None] | None" = None
    arrived: int = 0
    bytes: int = 0


@attrs.define(eq=False)
class Member:
    """A source that takes part: its account, what it runs, when it may be asked again, and whether it rests."""

    source: ISource
    account: SourceAccount
    unwatch: Callable[[], None]
    lan: bool = False
    fetches: dict[Span, Fetch] = attrs.field(factory=dict)
    strikes: int = 0
    not_before: float = 0.0
    slow_since: float | None = None
    rests: int = 0
    parked_until: float = 0.0

    @property
    def cost(self) -> int:
        """What its bytes cost compared with others': a neighbour's least, a resource server's most."""
        match self.source.kind:
            case Kind.PEER:
                return 0 if self.lan else 2 if self.account.local else 3
            case Kind.SUPERNODE:
                return 1
            case _:
                return 4

    @property
    def free_from(self) -> float:
        """When it may be asked again."""
        return max(self.not_before, self.parked_until)

    def is_free(self, now: float) -> bool:
        """Whether it may be given one more fetch."""
        return not self.source.closed and self.free_from <= now and len(self.fetches) < self.source.slots

    def failed(self, error: SourceError, now: float, rng: Random) -> float | None:
        """A fetch of it failed: for how many seconds it waits now, None when it is not to be asked again."""
        self.account.failures += 1
        # What failed side by side counts once.
        self.strikes += now >= self.not_before
        if error.fatal or self.strikes >= TRIES:
            return None
        wait = min(FIRST_WAIT * 2.0 ** (self.strikes - 1), LONGEST_WAIT) * rng.uniform(0.5, 1.0)
        if isinstance(error, SourceRefused) and error.retry_after is not None:
            wait = error.retry_after
        self.account.last_failure = str(error)
        self.not_before = max(self.not_before, now + wait)
        return wait


def from_servers(members: Iterable[Member]) -> int:
    """How many fetches from resource servers run."""
    return sum(len(each.fetches) for each in members if each.source.kind is Kind.SERVER)
