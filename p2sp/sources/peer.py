"""How is a span fetched from another node, block by block?"""

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from p2sp.resource.layout import Block, Layout
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import (
    ISource,
    ISpanSink,
    SourceError,
    SourceGone,
    SourceRefused,
    SourceStalled,
)
from p2sp.wire.link import PeerLink
from p2sp.wire.pipeline import Pipeline

SILENCE: Final = 30.0
"""Seconds without any block, while some are requested, after which the source counts as stalled."""

LONGEST_WAIT: Final = 120.0
"""Seconds for a single block, while others come."""

FAST: Final = 1024 * 1024
"""Bytes a second from which on a source takes more spans at the same time."""

_CHECK_SECONDS: Final = 5.0


@implementer(IPushProducer)
class _Fetch:
    """One span under way: what is still to be requested, and what is requested."""

    def __init__(self, source: "PeerSource", span: Span, sink: ISpanSink, layout: Layout) -> None:
        self.span = span
        self.sink = sink
        self.layout = layout
        self.todo = deque(layout.blocks(span.start, span.stop))
        self.requested: dict[tuple[int, int], tuple[Block, float]] = {}
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


@implementer(ISource)
class PeerSource:
    """A peer or super node at the other end of a link: spans are fetched as blocks, in order, many under way at once.

    Every fetch has the same queue of requests, the earlier span first. Blocks come in any order.
    """

    _log = Logger()

    def __init__(self, link: PeerLink) -> None:
        self.link = link
        self.kind: Kind = link.kind
        self.label = link.label
        self.closed = link.closing
        self.in_row = False
        self._clock = link.clock
        self._pipeline = Pipeline(self._clock.seconds())
        self._fetches: list[_Fetch] = []
        self._owners: dict[tuple[int, int], _Fetch] = {}
        self._watchers: list[Callable[[], None]] = []
        self._progress = 0.0
        self._check: IDelayedCall | None = None
        if not self.closed:
            link.attach(self)

    # ISource

    @property
    def slots(self) -> int:
        """Spans at the same time: none while the other side chokes us, or before the descriptor is known."""
        if self.closed or self.link.session.choked or self.link.session.layout is None:
            return 0
        return 4 if self._pipeline.rate >= FAST else 2

    def has(self, piece: int) -> bool:
        return not self.closed and piece in self.link.session.pieces

    def fetch(self, span: Span, sink: ISpanSink) -> "Deferred[None]":
        layout = self.link.session.layout
        if self.closed:
            return fail(SourceGone(f"{self.label} is gone"))
        if layout is None:
            return fail(SourceRefused(f"{self.label} cannot be asked before the descriptor is known"))
        if self.link.session.choked:
            return fail(SourceRefused(f"{self.label} chokes us"))
        lacking = next((piece for piece in layout.pieces_in(span.start, span.stop) if not self.has(piece)), None)
        if lacking is not None:
            return fail(SourceRefused(f"{self.label} does not have piece {lacking}"))
        if not self._fetches:
            self._progress = self._clock.seconds()
            self._pipeline.idle(self._progress)
        fetch = _Fetch(self, span, sink, layout)
        self._fetches.append(fetch)
        sink.register_producer(fetch)
        if self._check is None:
            self._check = self._clock.callLater(_CHECK_SECONDS, self._look)
        self._pump()
        self._settle(fetch)
        return fetch.done

    def shorten(self, span: Span, stop: int) -> None:
        fetch = next((fetch for fetch in self._fetches if fetch.span is span), None)
        if fetch is None:
            return
        while fetch.todo and fetch.position(fetch.todo[-1]) >= stop:
            fetch.todo.pop()
        for block, _ in list(fetch.requested.values()):
            if fetch.position(block) >= stop:
                self._take_back(fetch, block)
        self._settle(fetch)
        self._pump()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._watchers.append(changed)

        def stop() -> None:
            if changed in self._watchers:
                self._watchers.remove(changed)

        return stop

    def close(self) -> None:
        # The link stays: it may go on serving the other side.
        self.link.detach(self)
        self.ended("it is not needed any more")

    def abandon(self, fetch: _Fetch) -> None:
        """A fetch was cancelled: take its requests back."""
        self._remove(fetch)
        self._pump()

    # BlockTaker

    def block(self, piece: int, begin: int, data: bytes) -> None:
        fetch = self._owners.pop((piece, begin), None)
        if fetch is None:
            return
        block, _ = fetch.requested.pop((piece, begin))
        self._progress = self._clock.seconds()
        self._pipeline.received(len(data), self._progress)
        fetch.sink.received(fetch.position(block), data)
        self._settle(fetch)
        self._pump()

    def rejected(self, piece: int, begin: int, length: int) -> None:
        fetch = self._owners.pop((piece, begin), None)
        if fetch is None:
            return
        del fetch.requested[piece, begin]
        why = "chokes us" if self.link.session.choked else f"will not give {length} bytes at {begin} of piece {piece}"
        self._fail(fetch, SourceRefused(f"{self.label} {why}"))
        self._pump()

    def changed(self) -> None:
        for watcher in list(self._watchers):
            watcher()

    def ended(self, reason: str) -> None:
        if self.closed:
            return
        self.closed = True
        if self._check is not None:
            self._check.cancel()
            self._check = None
        for fetch in list(self._fetches):
            self._fail(fetch, SourceGone(f"{self.label} is gone: {reason}"))
        self.changed()

    # Inside

    def _pump(self) -> None:
        """Ask for blocks until the queue is as deep as it shall be."""
        session = self.link.session
        if self.closed or session.choked:
            return
        now = self._clock.seconds()
        for fetch in self._fetches:
            while fetch.todo and len(self._owners) < self._pipeline.depth and session.room > 0:
                block = fetch.todo[0]
                key = (block.piece, block.begin)
                if key in self._owners:
                    # Another fetch of this source has it under way; this one goes on when it is through.
                    break
                if not self.has(block.piece):
                    fetch.fault = SourceRefused(f"{self.label} does not have piece {block.piece} any more")
                    fetch.todo.clear()
                    break
                fetch.todo.popleft()
                self._owners[key] = fetch
                fetch.requested[key] = (block, now)
                self.link.request(block)
        self.link.flush()
        for fetch in [fetch for fetch in self._fetches if fetch.fault is not None]:
            self._settle(fetch)

    def _take_back(self, fetch: _Fetch, block: Block) -> None:
        key = (block.piece, block.begin)
        del fetch.requested[key]
        del self._owners[key]
        self.link.cancel(block)

    def _remove(self, fetch: _Fetch) -> bool:
        """Let go of a fetch and everything it asked for; False when that was done before."""
        if fetch not in self._fetches:
            return False
        self._fetches.remove(fetch)
        for block, _ in list(fetch.requested.values()):
            self._take_back(fetch, block)
        fetch.todo.clear()
        fetch.sink.unregister_producer()
        self.link.release(fetch)
        self.link.flush()
        return True

    def _settle(self, fetch: _Fetch) -> None:
        """Let a fetch fire that has nothing more to do."""
        if not fetch.todo and not fetch.requested and self._remove(fetch):
            fetch.done.callback(None) if fetch.fault is None else fetch.done.errback(fetch.fault)

    def _fail(self, fetch: _Fetch, error: SourceError) -> None:
        if self._remove(fetch):
            fetch.done.errback(error)

    def _look(self) -> None:
        """Has anything come lately?"""
        self._check = None
        now = self._clock.seconds()
        if self.link.held:
            # We ourselves do not read: the source is not to blame.
            self._progress = now
        if not self._fetches:
            return
        self._check = self._clock.callLater(_CHECK_SECONDS, self._look)
        if now - self._progress >= SILENCE:
            for fetch in list(self._fetches):
                self._fail(fetch, SourceStalled(f"{self.label} has sent nothing for {SILENCE:.0f} seconds"))
            return
        for fetch in list(self._fetches):
            oldest = min((asked for _, asked in fetch.requested.values()), default=now)
            if now - oldest >= LONGEST_WAIT:
                self._fail(fetch, SourceStalled(f"{self.label} owes a block for {LONGEST_WAIT:.0f} seconds"))
