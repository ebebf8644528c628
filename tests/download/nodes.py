"""Whole nodes in one process, with real TLS and real disks, for the tests of transfers and of what keeps them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from p2sp.download.node import Node
from p2sp.download.transfer import Transfer
from p2sp.net.identity import create_identity
from p2sp.resource.descriptor import Descriptor
from p2sp.resource.verification import described
from p2sp.storage.interfaces import StorageError
from p2sp.storage.memory import MemoryStore
from p2sp.supernode.interfaces import Served
from p2sp.supernode.stream import Pace
from p2sp.supernode.web import CacheResource
from tests.supernode.support import Cache
from tests.wire.support import PIECE, fill, make_resource

reactor: Any = installed_reactor

HOST = "127.0.0.1"
DESCRIPTOR, DATA = make_resource([9 * PIECE + 12345])
OTHER, OTHER_DATA = make_resource([3 * PIECE + 99], seed=2)
TREE, TREE_DATA = make_resource([2 * PIECE + 5, 0, PIECE], seed=3)


@implementer(ILogObserver)
class Heard:
    """What is logged in the name of some rooms, as text, while a test runs."""

    def __init__(self, case: TestCase, rooms: str) -> None:
        self.lines: list[str] = []
        self._rooms = rooms
        globalLogPublisher.addObserver(self)
        case.addCleanup(globalLogPublisher.removeObserver, self)

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith(self._rooms):
            self.lines.append(formatEvent(event))

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.lines)


class WrongStore(MemoryStore):
    """A store that gives out other bytes than it was given."""

    def read(self, position: int, length: int) -> "Deferred[bytes]":
        return super().read(position, length).addCallback(lambda data: bytes(byte ^ 1 for byte in data))


class DeadStore(MemoryStore):
    """A store whose disk reads nothing."""

    def read(self, position: int, length: int) -> "Deferred[bytes]":
        return fail(StorageError("the disk is gone"))


class NodeCase(TestCase):
    """Makes nodes and mirrors, and ends them in order."""

    timeout = 60

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def node(self, *, listening: bool = True, **options: Any) -> Node:
        """A node of its own key, on a port of its own."""
        node = Node(
            reactor,
            create_identity(),
            rng=Random(1),
            address=HOST,
            listen=(HOST, 0) if listening else None,
            **options,
        )
        node.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(node.stop()))
        return node

    def stopped(self, transfer: Transfer) -> Transfer:
        """The transfer, to be stopped before its node is."""
        self.addCleanup(lambda: Deferred.fromCoroutine(transfer.stop()))
        return transfer

    def seed(
        self,
        descriptor: Descriptor = DESCRIPTOR,
        data: bytes = DATA,
        *,
        node: Node | None = None,
        store: type[MemoryStore] = MemoryStore,
    ) -> Transfer:
        """A transfer that has everything and serves it."""
        node = node or self.node()
        content = described(descriptor)
        full = store(content, node.pool)
        transfer = self.stopped(Transfer(node, content=content, store=full))
        fill(full, data)
        return transfer

    async def seeding(self, *arguments: Any, **options: Any) -> Transfer:
        """The same, once it has begun."""
        transfer = self.seed(*arguments, **options)
        await self.until(lambda: transfer.store is not None and transfer.store.complete)
        transfer.start()
        return transfer

    def leech(self, descriptor: Descriptor = DESCRIPTOR, *, node: Node | None = None, **options: Any) -> Transfer:
        """A transfer that has nothing yet."""
        node = node or self.node()
        content = described(descriptor)
        return self.stopped(Transfer(node, content=content, store=MemoryStore(content, node.pool), **options))

    async def introduce(self, caller: Transfer, called: Transfer) -> None:
        """Have one node call another, as it would once a tracker has named it."""
        called_node = called.node
        await caller.node.wire.dial(caller, HOST, called_node.port, called_node.identity.node_id)

    def mirror(self, *resources: tuple[Descriptor, bytes], rate: Any = None) -> tuple[Cache, dict[str, str]]:
        """An ordinary web server with some files; its book of what it gave, and the URL of each by resource id."""
        node = self.node(listening=False)
        cache = Cache()
        urls = {}
        root = Resource()
        root.putChild(b"r", CacheResource(cache, reactor, pace=Pace(bucket=rate)))
        port = reactor.listenTCP(0, Site(root), interface=HOST)
        self.addCleanup(port.stopListening)
        for descriptor, data in resources:
            content = described(descriptor)
            store = MemoryStore(content, node.pool)
            fill(store, data)
            cache.held[content.key] = Served(content, store)
            urls[content.key] = f"http://{HOST}:{port.getHost().port}/r/{content.key}/{content.name}"
        return cache, urls

    async def until(self, true: Callable[[], object]) -> None:
        """Let the reactor turn until something has come about; the test's deadline bounds it."""
        while not true():
            await deferLater(reactor, 0.002)

    async def bytes_of(self, transfer: Transfer) -> bytes:
        """Everything in a transfer's store."""
        assert transfer.store is not None
        layout = transfer.store.content.layout
        parts = [
            await transfer.store.read(layout.file_start(file), length)
            for file, length in enumerate(layout.lengths)
            if length
        ]
        return b"".join(parts)


def names(folder: Path) -> set[str]:
    """What lies in a folder; nothing when there is none."""
    with suppress(FileNotFoundError):
        return {path.name for path in folder.iterdir()}
    return set()
