"""What is under way of one span that another node gives, block by block?"""

from collections import deque
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from p2sp.resource.layout import Block, Layout
from p2sp.schedule.spans import Span
from p2sp.sources.interfaces import ISpanSink, SourceError

if TYPE_CHECKING:
    from p2sp.sources.peer import PeerSource


@attrs.frozen
class Asked:
    """A request under way: when it was made, and its number among all of its source."""

    block: Block
    since: float
    number: int


@implementer(IPushProducer)
class Fetch:
    """One span under way: what is still to be requested, and what is requested."""

    def __init__(self, source: "PeerSource", span: Span, sink: ISpanSink, layout: Layout) -> None:
        self.span = span
        self.sink = sink
        self.layout = layout
        self.todo = deque(layout.blocks(span.start, span.stop))
        self.requested: dict[tuple[int, int], Asked] = {}
        self.fault: SourceError | None = None
        self.done: Deferred[None] = Deferred(lambda _: source.abandon(self))
        self._link = source.link

    def position(self, block: Block) -> int:
        """Where a block lies in the resource."""
        return self.layout.piece_start(block.piece) + block.begin

    def pauseProducing(self) -> None:
        self._link.hold(self)

    def resumeProducing(self) -> None:
        self._link.release(self)

    def stopProducing(self) -> None:
        self.done.cancel()


@attrs.define
class Run:
    """Blocks of one fetch that follow each other and came at once: what costs by the piece is paid once for all."""

    fetch: Fetch
    start: int
    stop: int
    parts: list[bytes | memoryview] = attrs.Factory(list)
