"""What do the tests of a super node's cache share: an index, a mirror, and a keeper?"""

from ipaddress import ip_network
from typing import Any, cast

from twisted.internet.defer import Deferred

from p2sp.download.node import Node
from p2sp.index.client import IndexClient
from p2sp.manager.schema import Order
from p2sp.net.addresses import Network
from p2sp.net.errors import Refused, Unreachable
from p2sp.resource.descriptor import Descriptor, Torrent, parse_torrent
from p2sp.supernode.keeper import Keeper
from tests.download.nodes import (
    DATA,
    DESCRIPTOR,
    OTHER,
    OTHER_DATA,
    TREE,
    Heard,
    NodeCase,
)
from tests.supernode.support import Cache

LOOPBACK = (ip_network("127.0.0.0/8"),)
BIG, SMALL, FOREST = (each.resource_id.hex() for each in (DESCRIPTOR, OTHER, TREE))
PLENTY = 100 * len(DATA)


class Index:
    """An index that knows what it is given."""

    def __init__(self) -> None:
        self.known: dict[str, Torrent] = {}
        self.asked: list[str] = []
        self.away = False
        self.slow: Deferred[None] | None = None

    async def torrent(self, resource: str) -> Torrent:
        """See IndexClient."""
        self.asked.append(resource)
        if self.away:
            raise Unreachable("https://index.example/v1", "nobody is there")
        if self.slow is not None:
            await self.slow
        if resource not in self.known:
            raise Refused("https://index.example/v1", 404, "unknown", "no such resource is known here")
        return self.known[resource]


def order(resource: str, value: float = 1.0) -> Order:
    """One resource ordered."""
    return Order(resource, "hot: 3 clients", value)


class KeeperCase(NodeCase):
    """A cache with an index that knows three resources, all at one mirror."""

    def setUp(self) -> None:
        super().setUp()
        self.cache_folder = self.folder / "cache"
        self.index = Index()
        self.origin, urls = self.mirror((DESCRIPTOR, DATA), (OTHER, OTHER_DATA))
        self.publish(DESCRIPTOR, urls[BIG])
        self.publish(OTHER, urls[SMALL])
        self.heard = Heard(self, "p2sp.supernode")

    def publish(self, descriptor: Descriptor, *mirrors: str) -> None:
        torrent = parse_torrent(descriptor.to_torrent(mirrors=mirrors))
        self.index.known[descriptor.resource_id.hex()] = torrent

    def keeper(
        self,
        capacity: int = PLENTY,
        fills: int = 4,
        *,
        allowed: tuple[Network, ...] = LOOPBACK,
        node: Node | None = None,
        **options: Any,
    ) -> Keeper:
        node = node or self.node(allowed=allowed)
        node.index = cast(IndexClient, self.index)
        keeper = Keeper(node, self.cache_folder, capacity, fills, **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(keeper.close()))
        return keeper

    async def held(self, keeper: Keeper, *resources: str) -> None:
        """Wait until these, and they alone, are whole and known by their digest."""
        await self.until(
            lambda: (
                {each.resource for each in keeper.held() if each.have == 1.0} == set(resources)
                and all((served := keeper.lookup(each)) is not None and served.store.complete for each in resources)
                and all((self.cache_folder / each / "data").exists() for each in resources)
            )
        )

    def given(self, cache: Cache | None = None) -> int:
        """Bytes that the mirror gave away."""
        return (cache or self.origin).counted.total()
