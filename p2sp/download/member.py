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
    """A source that takes part: its account, what it runs, and when it may be asked again."""

    source: ISource
    account: SourceAccount
    unwatch: Callable[[], None]
    fetches: dict[Span, Fetch] = attrs.field(factory=dict)
    strikes: int = 0
    not_before: float = 0.0
