"""Is what readers ask for and nobody ordered taken in, once and within bounds?"""

from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from p2sp.supernode import keeper as keeper_room
from p2sp.supernode.interfaces import Unavailable
from p2sp.supernode.keeper import Keeper
from p2sp.supernode.via import name_of
from tests.download.nodes import (
    DATA,
    OTHER,
    TREE,
)
from tests.supernode.keeping import BIG, FOREST, LOOPBACK, SMALL, KeeperCase, order


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
