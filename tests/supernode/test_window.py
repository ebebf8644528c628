"""Does a process that does not own the cache serve what is whole in it, and let the owner know what it reads?"""

from twisted.internet.defer import Deferred, gatherResults

from p2sp.storage.interfaces import StorageError
from p2sp.storage.pool import DiskPool
from p2sp.supernode import window as window_room
from p2sp.supernode.keeper import Keeper
from p2sp.supernode.window import Window, is_read_elsewhere
from tests.download.nodes import DATA, OTHER_DATA, names, reactor
from tests.supernode.keeping import BIG, SMALL, KeeperCase, order


class WindowTests(KeeperCase):
    """Owner and other in one process: locks count by descriptor, so they are as strange to each other as processes."""

    def window(self) -> Window:
        pool = DiskPool(reactor)
        pool.start()
        self.addCleanup(pool.stop)
        window = Window(reactor, pool, self.cache_folder)
        self.addCleanup(lambda: Deferred.fromCoroutine(window.close()))
        return window

    async def owner(self) -> Keeper:
        """A cache that has one resource and room for no other."""
        keeper = self.keeper(capacity=len(DATA) + 10)
        await keeper.follow([order(BIG)])
        await self.held(keeper, BIG)
        await self.until(lambda: (self.cache_folder / BIG / "sha256").exists())
        return keeper

    async def test_what_is_whole_is_served(self) -> None:
        keeper = await self.owner()
        window = self.window()
        self.assertIsNone(window.lookup(BIG))
        first, second = await gatherResults([window.missed(BIG), window.missed(BIG)])
        assert first is not None
        assert second is not None
        self.assertIs(first.store, second.store)
        self.assertEqual(await first.store.read(0, 100), DATA[:100])
        owned = keeper.lookup(BIG)
        assert owned is not None
        self.assertEqual((first.content.key, first.sha256), (owned.content.key, owned.sha256))

    async def test_what_is_not_whole_or_not_there_is_for_the_owner(self) -> None:
        window = self.window()
        self.assertIsNone(await window.missed(BIG))
        folder = self.cache_folder / SMALL
        folder.mkdir(parents=True)
        (folder / "data.part").write_bytes(OTHER_DATA)
        (folder / "descriptor.torrent").write_bytes(self.index.known[SMALL].descriptor.to_torrent())
        self.assertIsNone(await window.missed(SMALL))
        (folder / "data").write_bytes(OTHER_DATA)
        (folder / "descriptor.torrent").write_bytes(b"junk")
        self.assertIsNone(await window.missed(SMALL))

    async def test_who_reads_what_is_evicted_reads_on_and_nobody_new_does(self) -> None:
        keeper = await self.owner()
        window = self.window()
        served = await window.missed(BIG)
        assert served is not None
        folder = self.cache_folder / BIG
        releases = [window.reading(BIG), window.reading(BIG)]
        self.assertTrue(is_read_elsewhere(folder))
        await keeper.follow([order(SMALL)])
        self.assertEqual((keeper.held(), keeper.leaving), ([], 1))
        await window.tidy()
        self.assertIsNone(window.lookup(BIG))
        self.assertIsNone(await window.missed(BIG))
        for release in (releases[0], releases[0]):
            release()
        self.assertTrue(is_read_elsewhere(folder))
        keeper.arrange()
        self.assertEqual(await served.store.read(0, 100), DATA[:100])
        releases[1]()
        self.assertFalse(is_read_elsewhere(folder))
        keeper.arrange()
        await self.held(keeper, SMALL)
        self.assertEqual(names(self.cache_folder), {SMALL})
        # Content never changes: what is open is right as long as it is.
        self.assertEqual(await served.store.read(0, 100), DATA[:100])
        await window.tidy()
        with self.assertRaises(StorageError):
            await served.store.read(0, 100)

    async def test_no_more_is_open_than_may_be(self) -> None:
        self.patch(window_room, "MAX_VIEWS", 1)
        keeper = self.keeper()
        await keeper.follow([order(BIG), order(SMALL)])
        await self.held(keeper, BIG, SMALL)
        window = self.window()
        await window.missed(BIG)
        release = window.reading(BIG)
        await window.missed(SMALL)
        await window.tidy()
        self.assertIsNotNone(window.lookup(BIG))
        self.assertIsNone(window.lookup(SMALL))
        release()

    def test_an_account_is_told_once(self) -> None:
        window = self.window()
        window.served(BIG, 5)
        window.served(BIG, 6)
        account = window.take_account()
        self.assertEqual((account, window.take_account()), ({BIG: 11}, {}))
        window.served(BIG, 1)
        window.give_back(account)
        self.assertEqual(window.take_account(), {BIG: 12})
