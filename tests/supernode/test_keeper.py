"""Do orders become a cache: filled, kept, taken up again, and cleared when space is needed?"""

import os
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults

from p2sp.download.node import Node
from p2sp.index.client import IndexClient
from p2sp.manager.schema import Order, Trouble
from p2sp.net.addresses import Network
from p2sp.net.errors import Refused, Unreachable
from p2sp.resource.descriptor import Descriptor, Torrent, parse_torrent
from p2sp.resource.verification import described
from p2sp.storage.disk import open_store
from p2sp.storage.interfaces import StorageError
from p2sp.supernode import departures as departures_room
from p2sp.supernode import keeper as keeper_room
from p2sp.supernode.interfaces import Served, Unavailable
from p2sp.supernode.keeper import Keeper
from p2sp.supernode.via import name_of
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
        self.assertGreaterEqual(seed.report.uploaded, len(TREE_DATA))

    async def test_what_it_holds_goes_to_peers(self) -> None:
        keeper = self.keeper()
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        leech = self.leech()
        fetching = leech.download()
        await leech.node.wire.dial(leech, HOST, keeper._node.port, keeper._node.identity.node_id)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)
        # On a slow machine a block may be asked for twice.
        self.assertGreaterEqual(keeper.uploaded, len(DATA))

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

    async def test_what_nobody_has_is_told_while_it_is_looked_for(self) -> None:
        self.publish(TREE)
        keeper = self.keeper(node=self.node(allowed=LOOPBACK, trackers=["https://127.0.0.1:1"]))
        await keeper.follow([order(FOREST)])
        self.assertEqual(keeper.troubles(), [])
        keeper._shelves[FOREST].news_at -= 31.0
        (trouble,) = keeper.troubles()
        self.assertEqual(trouble.reason, "nobody gave a piece of it for 30 s; who has it is looked for")
        await keeper.follow([])
        self.assertEqual(keeper.troubles(), [])

    async def test_what_the_index_does_not_know_does_not_hinder_the_rest(self) -> None:
        keeper = self.keeper()
        await keeper.follow([order("ab" * 32, 5.0), order(SMALL)])
        await self.held(keeper, SMALL)
        self.assertTrue(f"{'ab' * 32} is ordered but not known: " in self.heard)
        await keeper.follow([order("ab" * 32, 5.0), order(SMALL)])
        self.assertEqual(self.index.asked.count("ab" * 32), 2)
        (trouble,) = keeper.troubles()
        self.assertEqual(trouble.resource, "ab" * 32)
        self.assertRegex(trouble.reason, "it is not known: .*404")
        await keeper.follow([order(SMALL)])
        self.assertEqual(keeper.troubles(), [])

    async def test_a_mirror_in_a_private_network_is_not_fetched_from(self) -> None:
        keeper = self.keeper(allowed=())
        await keeper.follow([order(SMALL)])
        await self.until(lambda: "cannot be filled" in self.heard)
        self.assertRegex(self.heard.lines[-1], r"^data cannot be filled: .*127\.0\.0\.1.*; tried again in 10 s$")
        self.assertEqual(self.given(), 0)
        (trouble,) = keeper.troubles()
        self.assertEqual(trouble.resource, SMALL)
        self.assertIn("127.0.0.1", trouble.reason)
        # Neither orders nor readers make it try any sooner.
        await keeper.follow([order(SMALL)])
        keeper.wanted(SMALL, 0)
        self.assertEqual(sum(text.startswith("filling") for text in self.heard.lines), 1)

    async def test_after_a_failure_it_is_fetched_from_who_has_it_now(self) -> None:
        good = self.index.known[SMALL]
        self.publish(OTHER, "http://127.0.0.1:1/data")
        keeper = self.keeper()
        await keeper.follow([order(SMALL)])
        await self.until(lambda: "cannot be filled" in self.heard)
        self.index.known[SMALL] = good
        keeper._shelves[SMALL].retry_at = 0.0
        await keeper.follow([order(SMALL)])
        await self.held(keeper, SMALL)
        # The fill ends a moment after its last piece is there.
        await self.until(lambda: not keeper.troubles())
        self.assertEqual(self.index.asked, [SMALL, SMALL])


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

    async def test_what_is_fetched_for_a_reader_stays(self) -> None:
        self.publish(TREE)
        keeper = self.keeper(capacity=len(DATA), node=self.node(allowed=LOOPBACK, trackers=["https://127.0.0.1:1"]))
        await keeper.follow([order(FOREST)])
        release = keeper.reading(FOREST)
        await keeper.follow([order(BIG)])
        self.assertEqual([each.resource for each in keeper.held()], [FOREST])
        self.assertTrue(f"{BIG} does not fit into the cache" in self.heard)
        release()
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)

    async def test_what_is_too_large_is_refused_and_the_rest_held(self) -> None:
        keeper = self.keeper(capacity=len(OTHER_DATA))
        await keeper.follow([order(BIG, 9.0), order(SMALL, 1.0)])
        await self.held(keeper, SMALL)
        self.assertTrue(f"{BIG} does not fit into the cache" in self.heard)
        self.assertEqual(keeper.used, len(OTHER_DATA))
        self.assertEqual(keeper.troubles(), [Trouble(BIG, "it does not fit into the cache")])

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


class Leaving(KeeperCase):
    """What is evicted while somebody reads it."""

    async def evicted(self, **options: Any) -> tuple[Keeper, Served, Callable[[], None]]:
        """A cache with room for one, which was to hold another one while somebody reads the first."""
        keeper = self.keeper(capacity=len(DATA) + 10, **options)
        await keeper.restore()
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        # The fill ends a moment after its last piece is there.
        await self.until(lambda: "holding" in self.heard)
        served, release = keeper.lookup(BIG), keeper.reading(BIG)
        assert served is not None
        await keeper.follow([order(SMALL)])
        return keeper, served, release

    async def test_who_reads_it_reads_on_and_nobody_new_does(self) -> None:
        keeper, served, release = await self.evicted()
        self.assertEqual((keeper.held(), keeper.lookup(BIG)), ([], None))
        self.assertEqual((keeper.used, keeper.leaving), (len(DATA), 1))
        self.assertEqual(names(self.cache_folder / BIG) & {"data", "descriptor.torrent"}, {"data"})
        self.assertEqual(await served.store.read(0, 100), DATA[:100])
        keeper.served(BIG, 100)
        keeper.arrange()
        # What waits for its space is not there before that is free.
        await keeper.follow([order(SMALL)])
        self.assertEqual((keeper.held(), keeper.troubles()), ([], []))
        release()
        release()
        await self.held(keeper, SMALL)
        self.assertEqual(names(self.cache_folder), {SMALL})
        self.assertEqual((keeper.uploaded, keeper.leaving), (100, 0))

    async def test_who_reads_for_too_long_is_cut(self) -> None:
        self.patch(departures_room, "PATIENCE", 0.0)
        keeper, served, release = await self.evicted()
        keeper.arrange()
        await self.held(keeper, SMALL)
        with self.assertRaises(StorageError):
            await served.store.read(0, 100)
        release()

    async def test_it_comes_back_when_it_is_wanted_again(self) -> None:
        keeper, served, release = await self.evicted()
        keeper.served(BIG, 100)
        before = self.given()
        await keeper.follow([order(BIG)])
        again = keeper.lookup(BIG)
        assert again is not None
        self.assertIs(again.store, served.store)
        release()
        keeper.arrange()
        self.assertEqual((keeper.leaving, self.given(), keeper.uploaded), (0, before, 100))
        leech = self.leech()
        fetching = leech.download()
        await leech.node.wire.dial(leech, HOST, keeper._node.port, keeper._node.identity.node_id)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)
        await keeper.close()
        # It is taken up by the next run.
        last = self.keeper()
        await last.restore()
        self.assertEqual([each.resource for each in last.held()], [BIG])

    async def sent_elsewhere(self, **options: Any) -> None:
        keeper, _, release = await self.evicted(**options)
        with self.assertRaises(Unavailable) as caught:
            await keeper.missed(BIG)
        elsewhere = caught.exception.elsewhere
        assert elsewhere is not None
        self.assertEqual(elsewhere.content.key, BIG)
        self.assertEqual(tuple(elsewhere.mirrors), self.index.known[BIG].mirrors)
        release()
        await self.held(keeper, SMALL)

    async def test_others_are_sent_to_who_has_it(self) -> None:
        await self.sent_elsewhere()

    async def test_others_are_sent_to_who_has_it_also_where_the_cache_reads_through(self) -> None:
        await self.sent_elsewhere(read_through=True)

    async def test_the_end_of_all_ends_it_too(self) -> None:
        keeper, _, release = await self.evicted()
        await keeper.close()
        release()
        self.assertNotIn(BIG, names(self.cache_folder))


class Stopping(KeeperCase):
    """What still happens between the word to stop and the end."""

    async def test_peers_are_let_go_and_readers_read_on(self) -> None:
        keeper = self.keeper(read_through=True)
        await keeper.restore()
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        await self.until(lambda: "holding" in self.heard)
        leech = self.leech()
        leech.start()
        await self.introduce(leech, keeper._shelves[BIG].transfer)
        served, release = keeper.lookup(BIG), keeper.reading(BIG)
        assert served is not None
        await keeper.leave()
        await self.until(lambda: not leech._links)
        self.assertEqual(await served.store.read(0, 100), DATA[:100])
        with self.assertRaisesRegex(Unavailable, "being closed"):
            await keeper.missed(SMALL)
        await keeper.follow([order(BIG), order(SMALL)])
        self.assertEqual([each.resource for each in keeper.held()], [BIG])
        release()
        await keeper.close()
        self.assertEqual(names(self.cache_folder), {BIG})

    async def test_what_a_reader_waits_for_still_comes(self) -> None:
        self.publish(TREE)
        keeper = self.keeper(read_through=True)
        await keeper.restore()
        served = await keeper.missed(FOREST)
        assert served is not None
        release = keeper.reading(FOREST)
        keeper.wanted(FOREST, 0)
        await keeper.leave()
        seed = await self.seeding(TREE, TREE_DATA)
        await self.introduce(seed, keeper._shelves[FOREST].transfer)
        await self.until(lambda: served.store.complete)
        release()


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

    async def test_an_eviction_that_was_cut_short_is_ended(self) -> None:
        folder = self.cache_folder / BIG
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(DATA)
        keeper = self.keeper()
        await keeper.restore()
        self.assertEqual((keeper.held(), names(self.cache_folder)), ([], set()))

    async def test_what_was_used_last_is_known_after_a_restart(self) -> None:
        first = self.keeper()
        await first.follow([order(BIG), order(SMALL)])
        await self.held(first, BIG, SMALL)
        await first.close()
        for resource, age in ((BIG, 5000), (SMALL, 10)):
            path = self.cache_folder / resource / "descriptor.torrent"
            when = path.stat().st_mtime - age
            os.utime(path, (when, when))
        # The longest unused goes for what is new, though it would have been enough to let the other one go.
        self.publish(TREE)
        again = self.keeper(capacity=len(DATA) + len(OTHER_DATA) + 10)
        await again.restore()
        await again.follow([order(FOREST)])
        self.assertEqual({each.resource for each in again.held()}, {SMALL, FOREST})

    async def test_a_descriptor_that_was_spoilt_is_made_anew_when_it_is_ordered(self) -> None:
        (self.cache_folder / SMALL).mkdir(parents=True)
        (self.cache_folder / SMALL / "descriptor.torrent").write_bytes(b"junk")
        keeper = self.keeper()
        await keeper.restore()
        await keeper.follow([order(SMALL)])
        await self.held(keeper, SMALL)


class ReadThrough(KeeperCase):
    """What readers ask for and nobody ordered."""

    async def ready(self, **options: Any) -> Keeper:
        keeper = self.keeper(read_through=True, **options)
        await keeper.restore()
        return keeper

    async def refused(self, keeper: Keeper, resource: str, why: str) -> None:
        with self.assertRaisesRegex(Unavailable, why):
            await keeper.missed(resource)

    async def test_it_is_fetched_for_the_first_who_asks(self) -> None:
        keeper = await self.ready()
        served = await keeper.missed(BIG)
        assert served is not None
        self.assertEqual(self.given(), 0)
        release = keeper.reading(BIG)
        keeper.wanted(BIG, 0)
        await self.held(keeper, BIG)
        self.assertEqual(await served.store.read(0, 100), DATA[:100])
        release()
        self.assertTrue("filling data: a reader asks for it" in self.heard)

    async def test_many_who_miss_the_same_cost_one_question_and_one_fetch(self) -> None:
        self.index.slow = Deferred()
        keeper = await self.ready()
        asking = [keeper.missed(BIG) for _ in range(20)]
        asking[0].addErrback(lambda _: None).cancel()  # the first loses patience, the others still want to know
        self.index.slow.callback(None)
        found = await gatherResults(asking[1:])
        self.assertEqual((len({id(each and each.store) for each in found}), self.index.asked), (1, [BIG]))
        for _ in range(20):
            keeper.wanted(BIG, 3)
        await self.held(keeper, BIG)
        self.assertEqual(self.given(), len(DATA))

    async def test_it_is_a_switch(self) -> None:
        keeper = self.keeper()
        await keeper.restore()
        self.assertIsNone(await keeper.missed(BIG))
        self.assertEqual(self.index.asked, [])

    async def test_what_the_index_does_not_know_is_not_asked_for_again_soon(self) -> None:
        keeper = await self.ready()
        for _ in range(3):
            self.assertIsNone(await keeper.missed("ab" * 32))
        self.assertEqual(self.index.asked, ["ab" * 32])

    async def test_while_the_index_is_away_readers_are_to_come_back(self) -> None:
        self.index.away = True
        keeper = await self.ready()
        await self.refused(keeper, BIG, "the index does not answer")
        self.index.away = False
        self.assertIsNotNone(await keeper.missed(BIG))

    async def test_before_the_cache_is_open_readers_are_to_come_back(self) -> None:
        await self.refused(self.keeper(), BIG, "being opened")

    async def test_it_takes_no_room_of_what_was_ordered(self) -> None:
        keeper = await self.ready(capacity=len(DATA) + 10)
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        await self.refused(keeper, SMALL, "no room")
        # What is not ordered any more goes for it.
        await keeper.follow([])
        release = keeper.reading(BIG)
        await self.refused(keeper, SMALL, "no room")
        self.assertIsNotNone(keeper.lookup(BIG))
        release()
        self.assertIsNotNone(await keeper.missed(SMALL))
        self.assertEqual([each.resource for each in keeper.held()], [SMALL])

    async def test_before_the_first_orders_nothing_goes_for_it(self) -> None:
        first = self.keeper()
        await first.follow([order(BIG)])
        await self.held(first, BIG)
        await first.close()
        keeper = await self.ready(capacity=len(DATA) + 10)
        await self.refused(keeper, SMALL, "no room")
        self.assertEqual([each.resource for each in keeper.held()], [BIG])

    async def test_no_more_is_fetched_for_readers_at_once_than_may_be(self) -> None:
        self.patch(keeper_room, "MAX_READ_THROUGH", 1)
        self.publish(TREE)
        keeper = await self.ready(node=self.node(allowed=LOOPBACK, trackers=["https://127.0.0.1:1"]))
        self.assertIsNotNone(await keeper.missed(FOREST))
        keeper.wanted(FOREST, 0)
        await self.refused(keeper, SMALL, "too much")

    async def test_a_fill_that_readers_have_left_ends_after_a_while(self) -> None:
        self.patch(keeper_room, "LINGER", 0.0)
        self.publish(TREE)
        keeper = await self.ready(node=self.node(allowed=LOOPBACK, trackers=["https://127.0.0.1:1"]))
        self.assertIsNotNone(await keeper.missed(FOREST))
        release = keeper.reading(FOREST)
        keeper.wanted(FOREST, 0)
        keeper.arrange()
        self.assertFalse("nobody wants it now" in self.heard)
        release()

        def ended() -> bool:
            keeper.arrange()
            return "nobody wants it now" in self.heard

        await self.until(ended)

    async def test_a_fetch_names_through_whom_its_readers_come(self) -> None:
        keeper = await self.ready()
        await keeper.missed(BIG)
        shelf = keeper._shelves[BIG]
        ours, theirs = name_of(keeper._node.identity.node_id), name_of("ab" * 32)
        assert shelf.connect.via is not None
        releases = [keeper.reading(BIG, [theirs]), keeper.reading(BIG, [theirs]), keeper.reading(BIG)]
        releases[0]()
        self.assertEqual(shelf.connect.via(), f"1.1 {theirs}, 1.1 {ours}")
        for release in releases:
            release()
        self.assertEqual((shelf.connect.via(), len(shelf.asked_by)), (f"1.1 {ours}", 0))

    async def test_it_does_not_fetch_from_itself(self) -> None:
        mirrors = self.index.known[SMALL].mirrors
        own = f"https://cache.example/r/{SMALL}/data"
        self.publish(OTHER, own, *mirrors)
        keeper = await self.ready(own_url="https://cache.example")
        await keeper.missed(SMALL)
        self.assertEqual(keeper._shelves[SMALL].torrent.mirrors, mirrors)


class Resting(KeeperCase):
    """A part of a resource that is not being filled."""

    async def test_it_gives_what_it_has_and_shows_no_interest(self) -> None:
        self.publish(DESCRIPTOR)
        keeper = self.keeper(node=self.node(allowed=LOOPBACK, trackers=["https://127.0.0.1:1"]))
        await keeper.follow([order(BIG)])
        seed = await self.seeding(node=self.node(max_upload=len(DATA) // 3))
        await self.introduce(seed, keeper._shelves[BIG].transfer)
        (link,) = seed._links.values()
        await self.until(lambda: link.session.remote_interested and keeper.held()[0].have > 0)
        self.patch(keeper_room, "LINGER", 0.0)
        await keeper.follow([])
        await self.until(lambda: not link.session.remote_interested)
        self.assertLess(keeper.held()[0].have, 1.0)
        have = keeper._shelves[BIG].store.pieces_verified
        await self.until(lambda: len(link.session.pieces) >= have)
        # Taken up again, over the same link.
        await keeper.follow([order(BIG)])
        await self.until(lambda: link.session.remote_interested)

    async def test_use_by_wire_is_use(self) -> None:
        keeper = self.keeper()
        await keeper.follow([order(SMALL)])
        await self.held(keeper, SMALL)
        shelf = keeper._shelves[SMALL]
        shelf.last_used -= 1000
        self.assertGreater(keeper.held()[0].idle_seconds, 900)
        leech = self.leech(OTHER)
        fetching = leech.download()
        await self.introduce(leech, shelf.transfer)
        await fetching
        keeper.arrange()
        self.assertLess(keeper.held()[0].idle_seconds, 100)
