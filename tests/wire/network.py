"""Nodes with real TLS on loopback, for the tests of links and of what is fetched over them."""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from p2sp.net.identity import Identity, create_identity
from p2sp.resource.descriptor import Descriptor
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import ISpanSink
from p2sp.sources.peer import PeerSource
from p2sp.storage.interfaces import IPieceStore
from p2sp.wire.interfaces import IShared
from p2sp.wire.link import PeerLink
from p2sp.wire.listener import PeerNetwork

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
        self.found: Deferred[Descriptor] = Deferred()
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
        assert position not in self.got
        assert isinstance(data, bytes)
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


class NetworkTestCase(TestCase):
    """Starts nodes and closes them; what is left of them makes the test fail."""

    timeout = 20

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.networks: list[PeerNetwork] = []

    async def stop_all(self) -> None:
        for network in self.networks:
            await network.close()
            self.assertEqual(network.links, 0)

    def tearDown(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self.stop_all())

    def node(self, identity: Identity | None = None, *, listening: bool = True, **options: Any) -> PeerNetwork:
        """A node on a port of its own."""
        network = PeerNetwork(self.reactor, identity or create_identity(), **options)
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
            await deferLater(self.reactor, 0.002)

    async def source(self, link: PeerLink) -> PeerSource:
        """The source of a link, once it serves."""
        source = PeerSource(link)
        await self.until(lambda: source.slots or source.closed)
        return source


def whole(descriptor: Descriptor) -> Span:
    """A span over everything."""
    return Span(0, descriptor.layout.end)
