"""Do orders become a cache: filled, kept, and taken up again?"""

import os

from p2sp.resource.verification import described
from p2sp.storage.disk import open_store
from p2sp.supernode import keeper as keeper_room
from tests.download.nodes import (
    DATA,
    DESCRIPTOR,
    HOST,
    OTHER,
    OTHER_DATA,
    TREE,
    TREE_DATA,
    names,
    reactor,
)
from tests.supernode.keeping import BIG, FOREST, LOOPBACK, SMALL, KeeperCase, order


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
