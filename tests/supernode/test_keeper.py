"""Do orders become a cache: filled, kept, taken up again, and cleared when space is needed?"""

from ipaddress import ip_network
from typing import cast

from twisted.internet.defer import Deferred

from p2sp.download.node import Node
from p2sp.index.client import IndexClient
from p2sp.manager.schema import Order
from p2sp.net.addresses import Network
from p2sp.net.errors import Refused
from p2sp.resource.descriptor import Descriptor, Torrent, parse_torrent
from p2sp.resource.verification import described
from p2sp.storage.disk import open_store
from p2sp.supernode.keeper import Keeper
from tests.download.nodes import (
    DATA,
    DESCRIPTOR,
    HOST,
    OTHER,
    OTHER_DATA,
    TREE,
    TREE_DATA,
    Heard,
    NodeCase,
    names,
    reactor,
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

    async def torrent(self, resource: str) -> Torrent:
        """See IndexClient."""
        self.asked.append(resource)
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
    ) -> Keeper:
        node = node or self.node(allowed=allowed)
        node.index = cast(IndexClient, self.index)
        keeper = Keeper(node, self.cache_folder, capacity, fills)
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


class Filling(KeeperCase):
    """From an order to bytes."""

    async def test_what_is_ordered_is_fetched_and_served(self) -> None:
        keeper = self.keeper()
        self.assertIsNone(keeper.lookup(BIG))
        await keeper.follow([order(BIG)])
        served = keeper.lookup(BIG)
        assert served is not None
        await self.held(keeper, BIG)
        self.assertEqual((self.cache_folder / BIG / "data").read_bytes(), DATA)
        self.assertEqual((keeper.used, self.given()), (len(DATA), len(DATA)))
        await self.until(lambda: f"holding data, {len(DATA)} bytes" in self.heard)
        await keeper.follow([order(BIG)])
        self.assertEqual((self.index.asked, self.given()), ([BIG], len(DATA)))

    async def test_peers_are_asked_as_well_as_mirrors(self) -> None:
        self.publish(TREE)
        keeper = self.keeper()
        await keeper.follow([order(FOREST)])
        seed = await self.seeding(TREE, TREE_DATA)
        await seed.node.wire.dial(seed, HOST, keeper._node.port, keeper._node.identity.node_id)
        await self.held(keeper, FOREST)
        self.assertEqual(seed.report.uploaded, len(TREE_DATA))

    async def test_what_it_holds_goes_to_peers(self) -> None:
        keeper = self.keeper()
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        leech = self.leech()
        fetching = leech.download()
        await leech.node.wire.dial(leech, HOST, keeper._node.port, keeper._node.identity.node_id)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)
        self.assertEqual(keeper.uploaded, len(DATA))

    async def test_no_more_are_filled_at_once_than_may_be_the_most_valuable_first(self) -> None:
        self.publish(TREE)
        # With a tracker there is hope: a fill that finds nobody goes on looking.
        keeper = self.keeper(fills=1, node=self.node(allowed=LOOPBACK, trackers=["https://127.0.0.1:1"]))
        wanted = [order(FOREST, 9.0), order(BIG, 1.0)]
        await keeper.follow(wanted)
        await keeper.follow(wanted)
        self.assertEqual((len(keeper.held()), self.given()), (2, 0))
        seed = await self.seeding(TREE, TREE_DATA)
        await seed.node.wire.dial(seed, HOST, keeper._node.port, keeper._node.identity.node_id)
        await self.held(keeper, FOREST)
        await self.until(lambda: "holding" in self.heard)
        await keeper.follow(wanted)
        await self.held(keeper, FOREST, BIG)

    async def test_what_the_index_does_not_know_does_not_hinder_the_rest(self) -> None:
        keeper = self.keeper()
        await keeper.follow([order("ab" * 32, 5.0), order(SMALL)])
        await self.held(keeper, SMALL)
        self.assertTrue(f"{'ab' * 32} is ordered but not known: " in self.heard)
        await keeper.follow([order("ab" * 32, 5.0), order(SMALL)])
        self.assertEqual(self.index.asked.count("ab" * 32), 2)

    async def test_a_mirror_in_a_private_network_is_not_fetched_from(self) -> None:
        keeper = self.keeper(allowed=())
        await keeper.follow([order(SMALL)])
        await self.until(lambda: "cannot be filled" in self.heard)
        self.assertRegex(self.heard.lines[-1], r"^data cannot be filled: .*127\.0\.0\.1.*; tried again in 10 s$")
        self.assertEqual(self.given(), 0)
        # Neither orders nor readers make it try any sooner.
        await keeper.follow([order(SMALL)])
        keeper.wanted(SMALL, 0)
        self.assertEqual(sum(text.startswith("filling") for text in self.heard.lines), 1)


class Space(KeeperCase):
    """What stays and what goes."""

    async def test_what_nobody_wants_goes_only_for_what_somebody_wants(self) -> None:
        keeper = self.keeper(capacity=len(DATA) + 10)
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        await keeper.follow([])
        self.assertEqual([each.resource for each in keeper.held()], [BIG])
        await keeper.follow([order(SMALL)])
        await self.held(keeper, SMALL)
        self.assertEqual(names(self.cache_folder), {SMALL})
        self.assertIsNone(keeper.lookup(BIG))
        self.assertTrue(f"evicted data, {len(DATA)} bytes" in self.heard)

    async def test_what_is_being_read_stays(self) -> None:
        keeper = self.keeper(capacity=len(DATA) + 10)
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        release = keeper.reading(BIG)
        await keeper.follow([order(SMALL)])
        self.assertEqual([each.resource for each in keeper.held()], [BIG])
        self.assertTrue(f"{SMALL} does not fit into the cache" in self.heard)
        release()
        release()
        await keeper.follow([order(SMALL)])
        await self.held(keeper, SMALL)

    async def test_what_is_too_large_is_refused_and_the_rest_held(self) -> None:
        keeper = self.keeper(capacity=len(OTHER_DATA))
        await keeper.follow([order(BIG, 9.0), order(SMALL, 1.0)])
        await self.held(keeper, SMALL)
        self.assertTrue(f"{BIG} does not fit into the cache" in self.heard)
        self.assertEqual(keeper.used, len(OTHER_DATA))

    async def test_an_eviction_in_the_middle_of_filling(self) -> None:
        self.publish(TREE)
        keeper = self.keeper(capacity=len(DATA))
        await keeper.follow([order(FOREST)])
        self.assertTrue("filling" in self.heard)
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        self.assertEqual(names(self.cache_folder), {BIG})

    async def test_a_folder_that_cannot_be_made_is_named_and_hinders_nobody(self) -> None:
        keeper = self.keeper()
        self.cache_folder.mkdir()
        (self.cache_folder / BIG).write_bytes(b"in the way")
        await keeper.follow([order(BIG, 9.0), order(SMALL, 1.0)])
        await self.held(keeper, SMALL)
        self.assertTrue(f"{BIG} cannot be held: " in self.heard)

    async def test_what_was_served_is_counted(self) -> None:
        keeper = self.keeper()
        await keeper.follow([order(SMALL)])
        await self.held(keeper, SMALL)
        keeper.served(SMALL, 1000)
        keeper.served("ab" * 32, 5)
        self.assertEqual((keeper.uploaded, keeper.held()[0].served), (1000, 1000))
        self.assertLess(keeper.held()[0].idle_seconds, 10.0)


class Restart(KeeperCase):
    """What an earlier run left."""

    async def test_what_was_whole_is_served_at_once_and_never_fetched_again(self) -> None:
        first = self.keeper()
        await first.follow([order(BIG), order(SMALL)])
        await self.held(first, BIG, SMALL)
        await self.until(lambda: sum("holding" in each for each in self.heard.lines) == 2)
        before, digest = self.given(), first.lookup(BIG)
        assert digest is not None
        await first.close()
        again = self.keeper()
        await again.restore()
        served = again.lookup(BIG)
        assert served is not None
        self.assertTrue(served.store.complete)
        self.assertEqual((served.sha256, len(served.sha256 or b"")), (digest.sha256, 32))
        self.assertEqual(await served.store.read(0, 100), DATA[:100])
        await again.follow([order(BIG)])
        self.assertEqual((self.given(), again.used), (before, len(DATA) + len(OTHER_DATA)))

    async def test_what_was_half_filled_goes_on(self) -> None:
        folder = self.cache_folder / BIG
        folder.mkdir(parents=True)
        (folder / "descriptor.torrent").write_bytes(DESCRIPTOR.to_torrent(mirrors=self.index.known[BIG].mirrors))
        node = self.node(allowed=LOOPBACK)
        store = await open_store(folder / "data", described(DESCRIPTOR), node.pool, reactor)
        layout = DESCRIPTOR.layout
        there = layout.piece_start(5)
        for piece in range(5):
            await store.write(
                layout.piece_start(piece), [DATA[layout.piece_start(piece) :][: layout.piece_size(piece)]], "x"
            )
        await store.close()
        keeper = self.keeper(node=node)
        await keeper.restore()
        self.assertAlmostEqual(keeper.held()[0].have, there / len(DATA))
        self.assertEqual(self.given(), 0)
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        self.assertEqual((folder / "data").read_bytes(), DATA)
        # What is there is not fetched again; a fetch may be cut a little late.
        self.assertLess(self.given(), len(DATA))

    async def test_what_cannot_be_taken_up_is_named_and_left_alone(self) -> None:
        broken, other, foreign = self.cache_folder / BIG, self.cache_folder / SMALL, self.cache_folder / "lost+found"
        for folder in (broken, other, foreign):
            folder.mkdir(parents=True)
        (broken / "descriptor.torrent").write_bytes(b"junk")
        (other / "descriptor.torrent").write_bytes(DESCRIPTOR.to_torrent())
        keeper = self.keeper()
        await keeper.restore()
        self.assertEqual((keeper.held(), keeper.used), ([], 0))
        self.assertEqual(names(self.cache_folder), {BIG, SMALL, "lost+found"})
        told = sorted(self.heard.lines)
        self.assertEqual(len(told), 2)
        self.assertTrue(any(f"{broken} is not taken up: " in each for each in told))
        self.assertTrue(any(each.endswith(f"{other} is not taken up: it describes another resource") for each in told))

    async def test_a_cache_that_never_was(self) -> None:
        keeper = self.keeper()
        await keeper.restore()
        self.assertEqual(keeper.held(), [])
