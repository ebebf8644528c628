"""Which wrongs can a node do to one that speaks with it? Each is an actor on a real connection.

An actor is a `Protocol` that keeps the rules with a `Session` until its own wrong is due. `Byzantine` plays actors
against a download beside honest seeds and hears the reasons for which links end.
"""

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from p2sp.download.transfer import Transfer
from p2sp.net.identity import Identity, create_identity
from p2sp.net.trust import pinned_client_context, server_context
from p2sp.resource.descriptor import Descriptor
from p2sp.resource.merkle import leaf_hashes
from p2sp.schedule.spans import Kind
from p2sp.sources.interfaces import Candidate
from p2sp.wire.codec import encode
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
from p2sp.wire.extensions import Abilities, MetadataRequest
from p2sp.wire.link import ALPN
from p2sp.wire.messages import HashRequest, Message, Request
from p2sp.wire.metadata import Library
from p2sp.wire.session import Event, Session
from tests.download.nodes import HOST, Heard, NodeCase
from tests.wire.support import PIECE, make_resource, take

DESCRIPTOR, DATA = make_resource([64 * PIECE + 7], seed=11)


class Actor(Protocol):
    """A node that has everything and serves it, until a subclass does otherwise."""

    transport: Any

    def __init__(self, descriptor: Descriptor = DESCRIPTOR, data: bytes = DATA) -> None:
        self.descriptor = descriptor
        self.data = data
        self.library = Library(descriptor)
        self.session = Session()
        self.label = ""
        """What the other side calls it."""
        self.served = 0
        self.over: Deferred[str] = Deferred()
        self.ended = False

    # What subclasses change.

    def have(self) -> Iterable[int]:
        """The pieces it claims to have."""
        return range(self.descriptor.layout.piece_count)

    def joined(self) -> None:
        """Handshakes are done."""
        self.session.unchoke()

    def asked(self, request: Request) -> None:
        """A block is wanted."""
        self.session.answer(request, self.block(request))

    def asked_metadata(self, part: int) -> None:
        """A part of the info dict is wanted."""
        self.session.give_metadata(part, self.library.part(part))

    def asked_hashes(self, request: HashRequest) -> None:
        """Hashes are wanted."""
        layout = self.descriptor.layout
        pieces = self.library.pieces_for(request) or range(0)
        known = self.data[pieces.start * layout.piece_length : pieces.stop * layout.piece_length]
        self.session.give_hashes(request, self.library.hashes(request, leaf_hashes(known)))

    # What they use.

    def block(self, request: Request) -> bytes:
        """The true bytes of a block."""
        at = request.piece * self.descriptor.piece_length + request.begin
        self.served += request.length
        return self.data[at : at + request.length]

    def say(self, *messages: Message) -> None:
        """Send messages, whatever the rules are."""
        self.flush()
        self.send(b"".join(bytes(part) for message in messages for part in encode(message)))

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self.transport.write(data)

    def flush(self) -> None:
        """Send what the session has to say."""
        data = take(self.session)
        if data and not self.ended:
            self.send(data)

    # For the transport.

    def connectionMade(self) -> None:
        host = self.transport.getHost()
        self.label = f"peer {host.host}:{host.port}"
        layout = self.descriptor.layout
        size = len(self.descriptor.info)
        self.session.open(
            self.descriptor.handshake_hash, b"-XX0000-byzantinenod", layout=layout, have=self.have(), metadata_size=size
        )
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        try:
            for event in self.session.receive(data):
                self.heard(event)
        except (LocalProtocolError, RemoteProtocolError):
            self.transport.abortConnection()
            return
        self.flush()

    def heard(self, event: Event) -> None:
        """The other side said something."""
        match event:
            case Abilities():
                self.joined()
            case Request():
                self.asked(event)
            case MetadataRequest(part):
                self.asked_metadata(part)
            case HashRequest():
                self.asked_hashes(event)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = True
        self.over.callback(reason.getErrorMessage())


class Byzantine(NodeCase):
    """Downloads beside actors, and what is told of them."""

    def setUp(self) -> None:
        super().setUp()
        self.log = Heard(self, "p2sp")
        self.news: list[str] = []

    def wanting(self, descriptor: Descriptor = DESCRIPTOR) -> Transfer:
        """Somebody who lacks everything and takes links; `download` is still to be begun."""
        leech = self.leech(descriptor)
        leech.report.listener = self.news.append
        leech.start()
        return leech

    async def honest(self, descriptor: Descriptor = DESCRIPTOR, data: bytes = DATA, **options: Any) -> Transfer:
        """A seed without fault."""
        return await self.seeding(descriptor, data, node=self.node(**options))

    async def calls(self, leech: Transfer, actor: Actor, *, key: Identity | None = None) -> Actor:
        """An actor calls the node that downloads."""
        from twisted.internet import reactor

        endpoint = wrapClientTLS(
            pinned_client_context(key or create_identity(), leech.node.identity.node_id, alpn=ALPN),
            TCP4ClientEndpoint(reactor, HOST, leech.node.port),
        )
        await connectProtocol(endpoint, actor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.end(actor)))
        return actor

    def listens(
        self, make: Callable[[], Protocol], *, key: Identity | None = None, alpn: tuple[bytes, ...] = ALPN
    ) -> Candidate:
        """An actor waits to be called: how a tracker would name it. `alpn` () is a listener without TLS."""
        from twisted.internet import reactor as installed

        reactor: Any = installed
        inside: Any = Factory.forProtocol(make)
        identity = key or create_identity()
        if alpn:
            inside = TLSMemoryBIOFactory(server_context(identity, alpn=alpn), False, inside)
        factory = WrappingFactory(inside)
        factory.noisy = inside.noisy = False
        port = reactor.listenTCP(0, factory, interface=HOST)

        async def stop() -> None:
            await port.stopListening()
            for each in list(factory.protocols):
                ITCPTransport(each.transport).abortConnection()
            await self.until(lambda: not factory.protocols)

        self.addCleanup(lambda: Deferred.fromCoroutine(stop()))
        return Candidate(kind=Kind.PEER, node_id=identity.node_id, host=HOST, port=port.getHost().port, local=True)

    async def end(self, actor: Actor) -> None:
        """Cut an actor off, and wait until that has come about."""
        if not actor.ended:
            actor.transport.abortConnection()
            await self.until(lambda: actor.ended)

    async def is_right(self, leech: Transfer, data: bytes = DATA) -> None:
        """The download holds the true bytes."""
        self.assertTrue(await self.bytes_of(leech) == data, "the bytes are wrong")

    def wasted(self, leech: Transfer) -> float:
        """The part of the resource that was fetched more than once."""
        assert leech.content is not None
        return leech.report.received / leech.content.layout.length - 1

    async def told(self, *reasons: str) -> None:
        """The log gives these reasons for the end of links, or will."""
        for reason in reasons:
            await self.until(lambda reason=reason: reason in self.log)  # type: ignore[misc]


class Every:
    """Does something at an interval as long as an actor is connected."""

    def __init__(self, actor: Actor, seconds: float, work: Callable[[], None]) -> None:
        self._call = LoopingCall(work)
        self._call.start(seconds, now=False)
        actor.over.addCallback(self._stop)

    def _stop(self, result: str) -> str:
        if self._call.running:
            self._call.stop()
        return result
