"""How is a span fetched from another node, block by block?"""

from collections.abc import Callable, Collection
from typing import Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from zope.interface import implementer

from p2sp.net.reading import unread
from p2sp.resource.layout import Block
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import (
    ISource,
    ISpanSink,
    SourceError,
    SourceGone,
    SourceRefused,
    SourceStalled,
)
from p2sp.sources.peer_fetch import Asked, Fetch, Run
from p2sp.wire.link import PeerLink
from p2sp.wire.pipeline import FLOOR, LAN_FLOOR, MOST_PATIENCE, BlockTimes, Pipeline

SNUB: Final = 20.0
"""Seconds without any block, while some are requested, after which one request at a time is enough."""

FAST: Final = 1024 * 1024
"""Bytes a second from which on a source takes more spans at the same time."""

_LONG: Final = 128
"""Requests from which on a queue need not be full at every moment."""

_CHECK_SECONDS: Final = 1.0
_ASLEEP: Final = 3.0
"""Seconds between two looks at the clock from which on it was we who did nothing."""


@implementer(ISource)
class PeerSource:
    """A peer or super node at the other end of a link: spans are fetched as blocks, in order, many under way at once.

    Every fetch has the same queue of requests, the earlier span first. Blocks come in any order. `lan` says that the
    other side is on our own network.
    """

    _log = Logger()

    def __init__(self, link: PeerLink, *, lan: bool = False) -> None:
        self.link = link
        self.kind: Kind = link.kind
        self.label = link.label
        self.closed = link.closing
        self.in_row = False
        self._clock = link.clock
        self._pipeline = Pipeline(self._clock.seconds(), LAN_FLOOR if lan else FLOOR)
        self._times = BlockTimes()
        self._numbers = 0
        self._newest = 0
        self._lost = 0.0
        self._looked = 0.0
        self._fetches: list[Fetch] = []
        self._owners: dict[tuple[int, int], Fetch] = {}
        self._watchers: list[Callable[[], None]] = []
        self._progress = 0.0
        self._check: IDelayedCall | None = None
        self._run: Run | None = None
        self.wasted: Callable[[int], None] = lambda count: None
        if not self.closed:
            link.attach(self)

    # ISource

    @property
    def slots(self) -> int:
        """Spans at the same time: none before the descriptor is known, or while choked and nothing is allowed."""
        session = self.link.session
        if self.closed or session.layout is None:
            return 0
        if session.choked:
            return int(any(map(session.may_ask, session.allowed)))
        if self._pipeline.snubbed:
            return 1
        return 4 if self._pipeline.rate >= FAST else 2

    @property
    def hints(self) -> Collection[int]:
        """What the other side suggests, or allows while it chokes us (BEP 6)."""
        session = self.link.session
        return tuple(session.allowed if session.choked else session.suggested)

    @property
    def hints_only(self) -> bool:
        """Whether we are choked."""
        return self.link.session.choked

    def has(self, piece: int) -> bool:
        return not self.closed and piece in self.link.session.pieces

    def pieces(self) -> int:
        return 0 if self.closed else self.link.session.pieces.number()

    def fetch(self, span: Span, sink: ISpanSink) -> "Deferred[None]":
        layout = self.link.session.layout
        if self.closed:
            return fail(SourceGone(f"{self.label} is gone"))
        if layout is None:
            return fail(SourceRefused(f"{self.label} cannot be asked before the descriptor is known"))
        pieces = layout.pieces_in(span.start, span.stop)
        if self.link.session.choked and not all(map(self.link.session.may_ask, pieces)):
            return fail(SourceRefused(f"{self.label} chokes us"))
        lacking = next((piece for piece in pieces if not self.has(piece)), None)
        if lacking is not None:
            return fail(SourceRefused(f"{self.label} does not have piece {lacking}"))
        if not self._fetches:
            now = self._looked = self._clock.seconds()
            self._progress = now - self._lost
            self._pipeline.idle(now)
        fetch = Fetch(self, span, sink, layout)
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
        for asked in list(fetch.requested.values()):
            if fetch.position(asked.block) >= stop:
                self._take_back(fetch, asked.block)
        self._settle(fetch)
        self._pump()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._watchers.append(changed)

        def stop() -> None:
            if changed in self._watchers:
                self._watchers.remove(changed)

        return stop

    def close(self) -> None:
        if self._owners:
            # What of it has come, and nobody has read yet, is for nothing.
            asked = sum(asked.block.length for fetch in self._fetches for asked in fetch.requested.values())
            self.wasted(min(unread(self.link.transport), asked))
        # The link stays: it may go on serving the other side.
        self.link.detach(self)
        self.ended("it is not needed any more")

    def abandon(self, fetch: Fetch) -> None:
        """A fetch was cancelled: take its requests back."""
        self._remove(fetch)
        self._pump()

    # BlockTaker

    def block(self, piece: int, begin: int, data: bytes | memoryview) -> None:
        key = piece, begin
        fetch = self._owners.get(key)
        if fetch is not None and not self._follows(fetch, fetch.requested[key].block):
            # Before this block is taken off the list: its fetch might seem to be through, and has to wait for it.
            self._hand_over()
            fetch = self._owners.get(key)
        if fetch is None:
            # Taken back too late.
            self.wasted(len(data))
            return
        del self._owners[key]
        asked = fetch.requested.pop(key)
        now = self._clock.seconds()
        self._progress = now - self._lost
        self._newest = max(self._newest, asked.number)
        self._times.took(self._progress - asked.since)
        self._pipeline.received(len(data), now)
        if self._run is None:
            position = fetch.position(asked.block)
            self._run = Run(fetch, position, position)
        self._run.parts.append(data)
        self._run.stop += len(data)

    def _follows(self, fetch: Fetch, block: Block) -> bool:
        """Whether a block goes on where the run that is held ends."""
        run = self._run
        return run is None or (run.fetch is fetch and run.stop == fetch.position(block))

    def heard(self) -> None:
        self._hand_over()
        # A long queue is filled up in groups: each group is a packet, and a packet costs as much as a block.
        depth = self._pipeline.depth
        if depth < _LONG or len(self._owners) * 4 <= depth * 3:
            self._pump()

    def rejected(self, piece: int, begin: int, length: int) -> None:
        self._hand_over()
        fetch = self._owners.pop((piece, begin), None)
        if fetch is None:
            return
        del fetch.requested[piece, begin]
        why = "chokes us" if self.link.session.choked else f"will not give {length} bytes at {begin} of piece {piece}"
        self._fail(fetch, SourceRefused(f"{self.label} {why}"))

    def changed(self) -> None:
        self._hand_over()
        for watcher in list(self._watchers):
            watcher()

    def ended(self, reason: str) -> None:
        if self.closed:
            return
        self._hand_over()
        self.closed = True
        if self._check is not None:
            self._check.cancel()
            self._check = None
        for fetch in list(self._fetches):
            self._fail(fetch, SourceGone(f"{self.label} is gone: {reason}"))
        self.changed()

    # Inside

    def _hand_over(self) -> None:
        """Give on the blocks that came after one another."""
        run, self._run = self._run, None
        if run is not None:
            run.fetch.sink.received(run.start, b"".join(run.parts))
            self._settle(run.fetch)

    def _pump(self) -> None:
        """Ask for blocks until the queue is as deep as it shall be."""
        session = self.link.session
        if self.closed or (session.choked and not session.allowed):
            return
        now = self._clock.seconds() - self._lost
        for fetch in self._fetches:
            while fetch.todo and len(self._owners) < self._pipeline.depth and session.room > 0:
                block = fetch.todo[0]
                key = (block.piece, block.begin)
                if key in self._owners:
                    # Another fetch of this source has it under way; this one goes on when it is through.
                    break
                if session.choked and block.piece not in session.allowed:
                    break
                if not self.has(block.piece):
                    fetch.fault = SourceRefused(f"{self.label} does not have piece {block.piece} any more")
                    fetch.todo.clear()
                    break
                fetch.todo.popleft()
                self._owners[key] = fetch
                self._numbers += 1
                fetch.requested[key] = Asked(block, now, self._numbers)
                self.link.request(block)
        self.link.flush()
        for fetch in [fetch for fetch in self._fetches if fetch.fault is not None]:
            self._settle(fetch)

    def _take_back(self, fetch: Fetch, block: Block) -> None:
        key = (block.piece, block.begin)
        del fetch.requested[key]
        del self._owners[key]
        self.link.cancel(block)

    def _remove(self, fetch: Fetch) -> bool:
        """Let go of a fetch and everything it asked for; False when that was done before."""
        if fetch not in self._fetches:
            return False
        self._fetches.remove(fetch)
        if self._run is not None and self._run.fetch is fetch:
            self.wasted(self._run.stop - self._run.start)
            self._run = None
        for asked in list(fetch.requested.values()):
            self._take_back(fetch, asked.block)
        fetch.todo.clear()
        fetch.sink.unregister_producer()
        self.link.release(fetch)
        self.link.flush()
        return True

    def _settle(self, fetch: Fetch) -> None:
        """Let a fetch fire that has nothing more to do."""
        if not fetch.todo and not fetch.requested and self._remove(fetch):
            fetch.done.callback(None) if fetch.fault is None else fetch.done.errback(fetch.fault)

    def _fail(self, fetch: Fetch, error: SourceError) -> None:
        if self._remove(fetch):
            fetch.done.errback(error)

    def _look(self) -> None:
        """Has anything come lately? Time in which we ourselves did not read, or did nothing, is not counted."""
        self._check = None
        now = self._clock.seconds()
        elapsed, self._looked = now - self._looked, now
        if self.link.held:
            self._lost += elapsed
        elif elapsed > _ASLEEP:
            self._lost += elapsed - _CHECK_SECONDS
        if not self._fetches:
            return
        self._check = self._clock.callLater(_CHECK_SECONDS, self._look)
        now -= self._lost
        silence = now - self._progress
        if silence >= SNUB:
            self._pipeline.snub()
            for fetch in list(self._fetches):
                self._fail(fetch, SourceStalled(f"{self.label} has sent nothing for {SNUB:.0f} seconds"))
            return
        patience = self._times.patience
        for fetch in list(self._fetches):
            oldest = min(fetch.requested.values(), key=lambda asked: asked.number, default=None)
            if oldest is None:
                continue
            waited = now - oldest.since
            if silence >= patience and waited >= patience:
                self._fail(fetch, SourceStalled(f"{self.label} has sent nothing for {silence:.0f} seconds"))
            elif waited >= MOST_PATIENCE and oldest.number < self._newest:
                self._fail(fetch, SourceStalled(f"{self.label} owes a block for {waited:.0f} seconds"))
