"""Nodes with real TLS on loopback, for the tests of links and of what is fetched over them."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IPushProducer, IReactorTCP, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from p2sp.net.identity import Identity, create_identity
from p2sp.net.trust import pinned_client_context
from p2sp.resource.descriptor import Descriptor
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import ISpanSink
from p2sp.sources.peer import PeerSource
from p2sp.storage.interfaces import IPieceStore
from p2sp.wire.codec import encode
from p2sp.wire.extensions import Abilities, encode_abilities
from p2sp.wire.interfaces import IShared
from p2sp.wire.link import ALPN, PeerLink
from p2sp.wire.listener import PeerNetwork
from p2sp.wire.messages import RESERVED, Extended, Handshake, HaveAll, Message
from p2sp.wire.pex import Neighbour
from p2sp.wire.session import Event, Session
from tests.wire.support import take

HOST = "127.0.0.1"


@implementer(IShared)
class Share:
    """One resource on one node, and what was heard about it."""

    def __init__(
        self, resource_id: bytes, descriptor: Descriptor | None = None, store: IPieceStore | None = None
    ) -> None:
        self.resource_id = resource_id
        self.descriptor = descriptor
        self.store = store
        self.links: list[PeerLink] = []
        self.reasons: list[str] = []
        self.given = 0
        self.given_to: Counter[PeerLink] = Counter()
        self.found: Deferred[Descriptor] = Deferred()
        self.neighbours: list[Neighbour] = []
        self.on_joined: Callable[[PeerLink], None] = lambda link: None
        verifyObject(IShared, self)

    def joined(self, link: PeerLink) -> None:
        self.links.append(link)
        self.on_joined(link)

    def left(self, link: PeerLink, reason: str) -> None:
        self.links.remove(link)
        self.reasons.append(reason)

    def uploaded(self, link: PeerLink, count: int) -> None:
        self.given += count
        self.given_to[link] += count

    def named(self, link: PeerLink, neighbours: Sequence[Neighbour]) -> None:
        self.neighbours += neighbours

    def descriptor_found(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.found.callback(descriptor)


@implementer(ISpanSink)
class StoreSink:
    """Puts what is delivered into a store, block by block, and keeps note of it."""

    def __init__(self, store: IPieceStore | None = None) -> None:
        self.store = store
        self.got: dict[int, bytes] = {}
        self.producer: IPushProducer | None = None
        self.on_block: Callable[[int], None] = lambda position: None

    def received(self, position: int, data: bytes) -> None:
        assert isinstance(data, bytes)
        for at in range(0, len(data), BLOCK):
            self._block(position + at, data[at : at + BLOCK])

    def _block(self, position: int, data: bytes) -> None:
        assert position not in self.got
        self.got[position] = data
        if self.store is not None:
            self.store.write(position, [data], "peer")
        self.on_block(position)

    def register_producer(self, producer: IPushProducer) -> None:
        assert self.producer is None
        self.producer = producer

    def unregister_producer(self) -> None:
        assert self.producer is not None
        self.producer = None


@implementer(IReactorTime, IReactorTCP)
class VirtualTime:
    """A reactor with real sockets whose time the test lets pass."""

    def __init__(self, reactor: Any, clock: Clock) -> None:
        self.connectTCP = reactor.connectTCP
        self.listenTCP = reactor.listenTCP
        self.callLater = clock.callLater
        self.seconds = clock.seconds
        self.getDelayedCalls = clock.getDelayedCalls


class Stranger(Protocol):
    """A node that says what the test wants it to say, and whose session tells what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.events: list[Event] = []
        self.session: Session | None = None
        self.lost: Deferred[str] = Deferred()

    def say(self, *messages: Message) -> None:
        """Send messages, whatever the rules are."""
        assert self.transport is not None
        self.transport.write(b"".join(bytes(part) for message in messages for part in encode(message)))

    def greet(self, info_hash: bytes) -> None:
        """Both handshakes, and the claim to have everything."""
        self.say(Handshake(info_hash, b"s" * 20, RESERVED), Extended(0, encode_abilities(Abilities())), HaveAll())

    def behave(self, descriptor: Descriptor, have: Iterable[int]) -> Session:
        """Begin a session that keeps the rules; `flush` sends what it says."""
        self.session = Session()
        self.session.open(
            descriptor.handshake_hash,
            b"s" * 20,
            layout=descriptor.layout,
            have=have,
            metadata_size=len(descriptor.info),
        )
        self.flush()
        return self.session

    def flush(self) -> None:
        """Send what the session has to say."""
        assert self.transport is not None
        assert self.session is not None
        self.transport.write(take(self.session))

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self.session is not None:
            self.events += self.session.receive(data)
            self.flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.getErrorMessage())


class NetworkTestCase(TestCase):
    """Starts nodes and closes them; what is left of them makes the test fail."""

    timeout = 20

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.clock: Clock | None = None
        self.networks: list[PeerNetwork] = []

        self.addCleanup(lambda: Deferred.fromCoroutine(self.stop_all()))

    async def stop_all(self) -> None:
        """Close every node, letting virtual time pass if there is any."""
        closing = [network.close() for network in self.networks]
        await self.until(lambda: all(each.called for each in closing))
        for network in self.networks:
            self.assertEqual(network.links, 0)

    def node(self, identity: Identity | None = None, *, listening: bool = True, **options: Any) -> PeerNetwork:
        """A node on a port of its own."""
        reactor = self.reactor if self.clock is None else VirtualTime(self.reactor, self.clock)
        network = PeerNetwork(reactor, identity or create_identity(), **options)
        if listening:
            network.listen(HOST, 0)
        self.networks.append(network)
        return network

    def dial(
        self, caller: PeerNetwork, share: Share, called: PeerNetwork, node_id: str = "", kind: Kind = Kind.PEER
    ) -> "Deferred[PeerLink]":
        """Call one node from another."""
        return caller.dial(share, HOST, called.port, node_id or called.node_id, kind=kind)

    async def until(self, true: Callable[[], object]) -> None:
        """Let the reactor turn until something has come about; the test's deadline bounds it."""
        while not true():
            await self.turn()

    async def turn(self, turns: int = 1) -> None:
        """Let the reactor turn a few times."""
        for _ in range(turns):
            if self.clock is not None:
                self.clock.advance(0)
            await deferLater(self.reactor, 0.001)

    async def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let virtual time pass, with turns of the reactor between the steps."""
        assert self.clock is not None
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await self.turn(2)

    async def stranger(self, network: PeerNetwork, bind: str = HOST) -> "Stranger":
        """A node that the test speaks for, connected but silent."""
        endpoint = wrapClientTLS(
            pinned_client_context(create_identity(), network.node_id, alpn=ALPN),
            TCP4ClientEndpoint(self.reactor, HOST, network.port, bindAddress=(bind, 0)),
        )
        stranger: Stranger = await connectProtocol(endpoint, Stranger())
        return stranger

    async def source(self, link: PeerLink) -> PeerSource:
        """The source of a link, once it serves."""
        source = PeerSource(link)
        await self.until(lambda: source.slots or source.closed)
        return source


def whole(descriptor: Descriptor) -> Span:
    """A span over everything."""
    return Span(0, descriptor.layout.end)
