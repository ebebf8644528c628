"""What goes from a cache when space is needed, or all is to end, and who may still read it?"""

from collections.abc import Callable
from typing import Any

from p2sp.manager.schema import Trouble
from p2sp.storage.interfaces import StorageError
from p2sp.supernode import departures as departures_room
from p2sp.supernode.interfaces import Served, Unavailable
from p2sp.supernode.keeper import Keeper
from tests.download.nodes import (
    DATA,
    HOST,
    OTHER_DATA,
    TREE,
    TREE_DATA,
    names,
)
from tests.supernode.keeping import BIG, FOREST, LOOPBACK, SMALL, KeeperCase, order


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
