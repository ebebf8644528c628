"""How does one connection to another node live: its handshakes, its bytes both ways, its silence and its end?"""

from collections.abc import Callable
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.net.addresses import host_port
from p2sp.net.errors import IdentityMismatch, NetError
from p2sp.net.reading import Gathering, widen
from p2sp.net.sending import SendBuffer
from p2sp.net.trust import negotiated, peer_node_id
from p2sp.resource.layout import Block
from p2sp.schedule.spans import Kind
from p2sp.wire.errors import LinkLost, LinkRefused, RemoteProtocolError, Why
from p2sp.wire.extensions import Abilities, DontHave
from p2sp.wire.interfaces import BlockTaker, LinkOwner
from p2sp.wire.messages import (
    AllowedFast,
    Bitfield,
    Choke,
    Handshake,
    Have,
    HaveAll,
    HaveNone,
    Piece,
    Reject,
    Suggest,
    Unchoke,
)
from p2sp.wire.session import Session
from p2sp.wire.silence import Silence
from p2sp.wire.upload import Uploader

ALPN: Final = (b"p2sp/1",)
"""What the peer protocol inside TLS is called; both sides insist on it."""

HANDSHAKE_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
"""Seconds a polite end may take before the connection is cut."""


@implementer(IHandshakeListener, IPushProducer)
class PeerLink(TwistedProtocol, Gathering):
    """One connection to another node for one resource: inside TLS, or in clear text with a foreign client.

    `node_id` and `address` are the other side's; a foreign client has no node id. `kind` is what it is known to be,
    `called` what it was called by, `near` whether it is in our ISP as far as whoever has the resource knows. `session`
    is the state of the protocol; whoever makes it say something calls `flush` afterwards. `patience` are the seconds it
    has for its handshakes from when there is a transport; `why` is told once it has ended.
    """

    _log = Logger()

    def __init__(
        self,
        owner: LinkOwner,
        clock: IReactorTime,
        *,
        outgoing: bool,
        secure: bool = True,
        kind: Kind = Kind.PEER,
        called: str = "",
    ) -> None:
        self.outgoing = outgoing
        self.secure = secure
        self.kind = kind
        self.called = called
        self.node_id = ""
        self.address: tuple[str, int] = ("", 0)
        self.session = Session()
        self.buffer = SendBuffer()
        self.uploader: Uploader | None = None
        self.taker: BlockTaker | None = None
        self.is_joined = self.closing = self.near = False
        self.downloaded = 0
        self.uploaded = 0
        self.why: Why | None = None
        self.clock = clock
        self.patience = HANDSHAKE_SECONDS
        self._owner = owner
        self._ready = False
        self._reason = ""
        self._lost = False
        self._hearing = False
        self._deadline: IDelayedCall | None = None
        self._abort: IDelayedCall | None = None
        self._holders: set[object] = set()
        self._silence = Silence(clock.seconds())
        self._waiting: Deferred[PeerLink] | None = None

    # For whoever downloads from or looks at the link.

    @property
    def who(self) -> str:
        """What tells the other side from others: its node id, or its address where it has none."""
        return self.node_id or (self.called if not self.secure else "") or host_port(*self.address)

    @property
    def label(self) -> str:
        """Kind and address, for logs."""
        return f"{self.kind} {host_port(*self.address)}"

    def when_joined(self) -> "Deferred[PeerLink]":
        """Fires when both handshakes are done; fails with the reason if they never are. To be asked for once."""
        self._waiting = Deferred(lambda _: self.close("the call was given up"))
        return self._waiting

    def attach(self, taker: BlockTaker) -> None:
        """Give blocks to `taker` from now on; whoever took them before hears that it is over."""
        before, self.taker = self.taker, taker
        if before is not None:
            before.ended("the link is used by another source")

    def detach(self, taker: BlockTaker) -> None:
        """Give nothing to `taker` any more."""
        if self.taker is taker:
            self.taker = None

    def request(self, block: Block) -> None:
        """Ask for a block, to be given to the taker. Raises LocalProtocolError when that is not allowed now."""
        self.session.request(block)

    def cancel(self, block: Block) -> None:
        """Take a request back: the taker will not hear of it any more."""
        self.session.cancel(block)

    def hold(self, holder: object) -> None:
        """Stop reading from the connection on behalf of `holder`; a little more may still come."""
        if not self._holders and not self.closing and self.transport is not None:
            self._producing().pauseProducing()
        self._holders.add(holder)

    def release(self, holder: object) -> None:
        """`holder` takes bytes again; reading goes on when nobody holds."""
        if holder not in self._holders:
            return
        self._holders.remove(holder)
        if not self._holders and not self.closing:
            self._silence.heard(self.clock.seconds())
            self._producing().resumeProducing()

    @property
    def held(self) -> bool:
        """Whether we ourselves do not read."""
        return bool(self._holders)

    def flush(self) -> None:
        """Send what the session has to say; while something is being read, once for all."""
        if self._hearing:
            return
        outgoing = self.session.take_outgoing()
        if not outgoing or self.closing or self.transport is None:
            return
        if self._silence.said(outgoing, self.clock.seconds()):
            self.close("the other side does not read what it asks for", Why.NOT_READING, abort=True)
            return
        if self.secure:
            # TLS joins buffers right away, so views will do as well as bytes.
            self.transport.writeSequence(cast(list[bytes], outgoing))
        else:
            self.transport.write(b"".join(outgoing))

    def tick(self) -> None:
        """Look at the clock: to be called every few seconds."""
        now = self.clock.seconds()
        if self.closing or not self.is_joined:
            return
        if end := self._silence.too_long(now, listening=not self._holders):
            reason, why = end
            self.close(reason, why, abort=why is Why.NOT_READING)
        elif self._silence.wants_keep_alive(now):
            self.session.keep_alive()
            self.flush()

    def close(
        self, reason: str, why: Why = Why.CLOSED, *, abort: bool = False, error: BaseException | None = None
    ) -> None:
        """End the link: what was written before is given two seconds to get out, unless it is to be cut at once."""
        if self.closing:
            return
        self._end(reason, why, error)
        if self.transport is None or self._lost:
            return
        if abort:
            self._transport().abortConnection()
            return
        IConsumer(self.transport).unregisterProducer()
        if self._holders:
            # The end of the connection is something to be read, too.
            self._producing().resumeProducing()
        self._abort = self.clock.callLater(CLOSE_SECONDS, self._transport().abortConnection)
        self._transport().loseConnection()

    # For the transport.

    def connectionMade(self) -> None:
        peer: IAddress = self._transport().getPeer()
        self.address = (str(getattr(peer, "host", "")), int(getattr(peer, "port", 0)))
        widen(self.transport)
        # What is said together is written together: none of it shall wait for an acknowledgement.
        self._transport().setTcpNoDelay(True)
        self._deadline = self.clock.callLater(self.patience, self._late)
        if self.closing:
            self._transport().abortConnection()
        elif not self.secure:
            self._begin()

    def handshakeCompleted(self) -> None:
        if negotiated(self.transport) not in ALPN:
            self.close(f"the other side does not speak {ALPN[0].decode()}", Why.WRONG_PROTOCOL, abort=True)
            return
        node_id = peer_node_id(self.transport)
        if node_id is None:
            self.close("the other side shows no certificate", Why.NO_CERTIFICATE, abort=True)
            return
        self.node_id = node_id
        self._begin()

    def dataReceived(self, data: bytes) -> None:
        if self.kept(data):
            return
        self._silence.heard(self.clock.seconds())
        if not self.closing:
            # Whatever is said in answer goes out as one write: each costs as much as a read.
            self._hearing = True
            self._guarded(lambda: self._hear(data))
            self._hearing = False
            if self.uploader is not None:
                self.uploader.pump()
            self.flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if not self.closing:
            self._end(reason.getErrorMessage(), self._why(reason.value), reason.value)
        for call in (self._deadline, self._abort):
            if call is not None and call.active():
                call.cancel()
        self._holders.clear()
        self._owner.lost(self, self._reason)

    def pauseProducing(self) -> None:
        self.buffer.filled(now := self.clock.seconds())
        self._silence.filled(now)
        if self.uploader is not None:
            self.uploader.pause()

    def resumeProducing(self) -> None:
        self.buffer.drained(self.clock.seconds())
        self._silence.drained()
        if self.uploader is not None:
            self.uploader.resume()

    def stopProducing(self) -> None:
        self._silence.drained()

    def _begin(self) -> None:
        self._ready = True
        IConsumer(self.transport).registerProducer(self, True)
        self._guarded(lambda: self._owner.ready(self))
        self.flush()

    def _late(self) -> None:
        self.close(f"no handshake within {HANDSHAKE_SECONDS:.0f} seconds", Why.LATE, abort=True)

    def _why(self, error: BaseException | None) -> Why:
        """What the end of the connection is counted as when we did not bring it about."""
        if isinstance(error, IdentityMismatch):
            return Why.WRONG_KEY
        return Why.LOST if self._ready else Why.NO_HANDSHAKE

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except LinkRefused as error:
            self.close(str(error), error.why, error=error)
        except RemoteProtocolError as error:
            self.close(str(error), Why.BROKEN_RULE, error=error)

    def _hear(self, data: bytes) -> None:
        for event in self.session.receive(data):
            match event:
                case Piece(piece, begin, block):
                    self.downloaded += len(block)
                    if self.taker is not None:
                        self.taker.block(piece, begin, block)
                case Reject(piece, begin, length):
                    if self.taker is not None:
                        self.taker.rejected(piece, begin, length)
                case Handshake():
                    self._owner.greeted(self, event)
                case Abilities() if not self.is_joined:
                    self._join()
                case _:
                    self._owner.heard(self, event)
                    if self.taker is not None and isinstance(
                        event,
                        Choke | Unchoke | Have | Bitfield | HaveAll | HaveNone | DontHave | Suggest | AllowedFast,
                    ):
                        self.taker.changed()
            if self.closing:
                return
        if self.taker is not None:
            self.taker.heard()

    def _join(self) -> None:
        self.is_joined = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._owner.joined(self)
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not self.closing:
            waiting.callback(self)

    def _end(self, reason: str, why: Why, error: BaseException | None = None) -> None:
        """Stop everything but the connection itself, and tell those who wait."""
        self.closing = True
        self.why = why
        self._reason = reason
        self._log.debug("link with {link.label} ends: {reason}", link=self, reason=reason)
        if self.uploader is not None:
            self.uploader.stop()
        taker, self.taker = self.taker, None
        if taker is not None:
            taker.ended(reason)
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.errback(Failure(error if isinstance(error, NetError | LinkRefused) else LinkLost(reason)))

    def _transport(self) -> ITCPTransport:
        assert self.transport is not None
        return ITCPTransport(self.transport)

    def _producing(self) -> IPushProducer:
        return IPushProducer(self.transport)
