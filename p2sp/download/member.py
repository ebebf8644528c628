"""What does the conductor know of a source that takes part?"""

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred

from p2sp.download.report import SourceAccount
from p2sp.download.sink import SpanSink
from p2sp.schedule.spans import Span
from p2sp.sources.interfaces import ISource


@attrs.define(eq=False)
class Fetch:
    """A running fetch of a source: where its bytes go, how to cancel it, and how many bytes came."""

    sink: SpanSink
    done: "Deferred[None] | None" = None
    bytes: int = 0


@attrs.define(eq=False)
class Member:
    """A source that takes part: its account, what it runs, when it may be asked again, and whether it rests."""

    source: ISource
    account: SourceAccount
    unwatch: Callable[[], None]
    fetches: dict[Span, Fetch] = attrs.field(factory=dict)
    strikes: int = 0
    not_before: float = 0.0
    slow_since: float | None = None
    rests: int = 0
    parked_until: float = 0.0

    @property
    def free_from(self) -> float:
        """When it may be asked again."""
        return max(self.not_before, self.parked_until)
