"""What must a source of bytes promise?"""

from collections.abc import Callable, Collection
from enum import Enum

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import Attribute, Interface

from p2sp.net.addresses import host_port
from p2sp.schedule.spans import Kind, Span


class Reason(Enum):
    """Why a fetch failed, as far as it matters to whoever wants the file. The text of an error is for people alone."""

    LOST = "lost"
    """The source cannot be reached, has left, or broke off."""

    SILENT = "silent"
    """A deadline passed."""

    ANSWER = "answer"
    """A server's answer is no, or nothing can be made of it."""

    MISSING = "missing"
    """A server says that there is nothing."""

    CHANGED = "changed"
    """It is another version than the one begun with."""


class SourceError(Exception):
    """A fetch failed; the text names the source and what it did."""

    fatal = False
    """Whether asking this source again is pointless."""

    reason = Reason.LOST


class SourceGone(SourceError):
    """The source closed, or will never serve this resource."""

    fatal = True


class SourceChanged(SourceError):
    """The server holds another version of the resource than the one begun with."""

    fatal = True
    reason = Reason.CHANGED


class SourceRefused(SourceError):
    """The source said no for now (choked, 429, 503, 416), and maybe for how many seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SourceStalled(SourceError):
    """A deadline passed: no connection, no answer, or no byte for too long."""

    reason = Reason.SILENT


class ISpanSink(Interface):
    """Where the bytes of one fetch go."""

    def received(position: int, data: bytes) -> None:
        """Bytes at a position of the resource:

        in order from HTTP, by blocks in any order within the span from peers.
        """

    def register_producer(producer: IPushProducer) -> None:
        """The push producer to pause while the disk is behind. At most one at a time."""

    def unregister_producer() -> None:
        """The producer of this fetch is through."""


class ISource(Interface):
    """Something that delivers bytes of one resource: an HTTP server, a peer, a super node.

    A source never retries by itself and never judges bytes: it delivers what was asked for, from where it was asked
    for, or fails.
    """

    kind: Kind = Attribute("Which of the three kinds.")
    label: str = Attribute("Stable name for logs, summaries and blame: a URL, or kind and address.")
    closed: bool = Attribute("Whether it is gone for good.")
    in_row: bool = Attribute("Whether it can deliver only from the first byte on, so that jumping costs all between.")
    slots: int = Attribute("Spans it takes at the same time at the most; 0 while it can serve nothing (choked).")
    hints: Collection[int] = Attribute("Pieces to ask it for before others, a few: it says that they cost it little.")
    hints_only: bool = Attribute("Whether it serves nothing but those now (BEP 6, allowed fast).")
    wasted: Callable[[int], None] = Attribute("To be set: told of bytes that came and that no sink gets.")

    def has(piece: int) -> bool:
        """Whether it can deliver that piece now."""

    def pieces() -> int:
        """All that it can deliver now: bit `p` for piece `p` (see `p2sp.schedule.bits`), -1 for everything."""

    def fetch(span: Span, sink: "ISpanSink") -> "Deferred[None]":
        """Deliver a span; fires when all of it (as shortened meanwhile) was given to the sink.

        Cancelling aborts promptly: nothing reaches the sink afterwards; what was delivered before counts. Fails with
        SourceError.
        """

    def shorten(span: Span, stop: int) -> None:
        """End the running fetch of `span` at `stop`, a block's boundary inside it; its Deferred then fires as usual.

        At or before what was already delivered, the fetch ends at once.
        """

    def watch(changed: Callable[[], None]) -> Callable[[], None]:
        """Call back when pieces, slots or life of the source change; the answer stops it. Once more after its end."""

    def close() -> None:
        """Abort every fetch and let the source go."""


@attrs.frozen
class Candidate:
    """A node that was named to us: where it listens and whom to expect there.

    An empty `node_id` means a foreign BitTorrent client: it is called in clear text, where the operator allows that,
    and left alone where not. What is `lan` was heard of on our own network and costs least.
    """

    kind: Kind
    node_id: str
    host: str
    port: int
    local: bool = False
    """Whether it is in our ISP."""

    lan: bool = False
    """Whether it is on our own network."""

    have: float = 0.0
    """The share of the resource that it said it has."""

    @property
    def who(self) -> str:
        """What tells it from others: its node id, or its address where it has none; see `PeerLink.who`."""
        return self.node_id or host_port(self.host, self.port)


class ISourceFinder(Interface):
    """Finds sources of one resource while a download runs: index, trackers, or a scripted list.

    Whatever goes wrong is news for the report, never an error of the download.
    """

    def start(found: Callable[[Candidate], None], news: Callable[[str], None]) -> None:
        """Begin; call `found` for every node, each time it is named, and `news` with sentences fit for a user."""

    def stop() -> "Deferred[None]":
        """Say goodbye where that is due, bounded in time."""
