"""Does one transfer fetch and serve over real TLS, whoever it has to do with and whoever calls whom?"""

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from p2sp.download.announcing import Account
from p2sp.download.errors import DownloadError
from p2sp.download.report import ExitCode
from p2sp.download.transfer import Transfer
from p2sp.resource.verification import described
from p2sp.storage.memory import MemoryStore
from p2sp.tracker.schema import Event
from p2sp.wire.errors import LinkLost
from tests.download.nodes import (
    DATA,
    DESCRIPTOR,
    TREE,
    TREE_DATA,
    DeadStore,
    NodeCase,
    WrongStore,
    reactor,
)
from tests.wire.support import PIECE


class Transfers(NodeCase):
    """Two and more nodes in one process."""

    async def test_what_was_fetched_is_served_to_the_next(self) -> None:
        first, second, third = await self.seeding(), self.leech(), self.leech()
        fetching = second.download()
        await self.introduce(second, first)
        await fetching
        self.assertEqual(await self.bytes_of(second), DATA)
        self.assertEqual(second.report.by_kind(), {"server": 0, "supernode": 0, "peer": len(DATA)})
        self.assertEqual(first.report.uploaded, len(DATA))
        await first.stop()
        fetching = third.download()
        await self.introduce(third, second)
        await fetching
        self.assertEqual(await self.bytes_of(third), DATA)
        self.assertEqual(second.report.uploaded, len(DATA))

    async def test_a_node_that_nobody_can_call_serves_over_the_links_it_makes(self) -> None:
        """Behind a NAT: the seed calls the leech."""
        seed, leech = await self.seeding(node=self.node(listening=False)), self.leech()
        fetching = leech.download()
        await self.introduce(seed, leech)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)

    async def test_pieces_are_passed_on_while_they_come(self) -> None:
        """The middle one is not complete yet when the last one begins, who knows nobody else."""
        seed = await self.seeding(node=self.node(max_upload=PIECE * 12))
        middle, last = self.leech(), self.leech()
        both = [middle.download(), last.download()]
        await self.introduce(middle, seed)
        await self.introduce(last, middle)
        await self.until(lambda: last.report.received)
        assert middle.store is not None
        self.assertFalse(middle.store.complete)
        for each in both:
            await each
        self.assertEqual(await self.bytes_of(last), DATA)

    async def test_a_tree_of_files(self) -> None:
        seed, leech = await self.seeding(TREE, TREE_DATA), self.leech(TREE)
        fetching = leech.download()
        await self.introduce(leech, seed)
        await fetching
        self.assertEqual(await self.bytes_of(leech), TREE_DATA)

    async def test_mirrors_and_peers_together(self) -> None:
        cache, urls = self.mirror((DESCRIPTOR, DATA))
        seed, leech = await self.seeding(node=self.node(max_upload=PIECE)), self.leech()
        await self.until(lambda: all(held.store.complete for held in cache.held.values()))
        leech.start()
        await self.introduce(leech, seed)
        await leech.download([*urls.values()])
        self.assertEqual(await self.bytes_of(leech), DATA)
        kinds = leech.report.by_kind()
        self.assertGreater(kinds["server"], 0)
        self.assertEqual(kinds["server"] + kinds["peer"], len(DATA))

    # -- the descriptor --------------------------------------------------------------------------------------

    async def test_an_id_is_enough(self) -> None:
        seed, node = await self.seeding(TREE, TREE_DATA), self.node()

        leech = self.stopped(Transfer(node, resource_id=TREE.resource_id))
        finding = leech.find_descriptor(20.0)
        await self.introduce(leech, seed)
        descriptor = await finding
        self.assertEqual(descriptor, TREE)
        content = described(descriptor)
        leech.use(content, MemoryStore(content, node.pool))
        await leech.download()
        self.assertEqual(await self.bytes_of(leech), TREE_DATA)

    async def test_an_id_that_nobody_describes_is_an_error_in_time(self) -> None:

        leech = self.stopped(Transfer(self.node(), resource_id=TREE.resource_id, trackers=[]))
        with self.assertRaises(DownloadError) as caught:
            await leech.find_descriptor(0.05)
        self.assertEqual(caught.exception.code, ExitCode.NOT_FOUND)
        self.assertEqual(
            str(caught.exception),
            f"nobody described resource {TREE.resource_id.hex()} within 0.05 s; no tracker answers",
        )

    # -- who does no good ------------------------------------------------------------------------------------

    async def test_who_sends_wrong_bytes_is_banned_and_stays_so(self) -> None:
        liar, honest = await self.seeding(store=WrongStore), await self.seeding()
        # As long as there is a tracker to name others, having no source is not the end.
        leech = self.leech(trackers=["https://127.0.0.1:9"])
        told: list[str] = []
        leech.report.listener = lambda news: told.append(news) if "bad data" in news else None
        fetching = leech.download()
        await self.introduce(leech, liar)
        await self.until(lambda: told)
        self.assertRegex(
            told[0], rf"^peer 127\.0\.0\.1:{liar.node.port}: sent bad data for piece \d+; not asked again$"
        )
        await self.until(lambda: not leech.links and not liar.links)
        # It may come back as often as it likes.
        link = liar.node.wire.dial(liar, "127.0.0.1", leech.node.port, leech.node.identity.node_id)
        try:
            await link
        except LinkLost:
            self.assertEqual(leech.links, 0)
        await self.until(lambda: not leech.links)
        await self.introduce(leech, honest)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)
        self.assertEqual(len(told), 1)

    async def test_who_gives_nothing_is_left_behind(self) -> None:
        dead, honest, leech = await self.seeding(store=DeadStore), await self.seeding(), self.leech()
        fetching = leech.download()
        await self.introduce(leech, dead)
        await self.introduce(leech, honest)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)
        self.assertEqual(leech.report.over_the_wire()["peer_remote"], len(DATA))

    # -- ends ------------------------------------------------------------------------------------------------

    async def test_nobody_to_ask_is_an_error_and_not_the_end(self) -> None:
        """The same transfer downloads when it is asked again and there is somebody."""
        seed, leech = await self.seeding(), self.leech(trackers=[])
        with self.assertRaises(DownloadError) as caught:
            await leech.download()
        self.assertEqual(caught.exception.code, ExitCode.NOT_FOUND)
        fetching = leech.download()
        await self.introduce(leech, seed)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)

    async def test_a_download_is_cancelled_and_taken_up(self) -> None:
        seed, leech = await self.seeding(node=self.node(max_upload=PIECE * 12)), self.leech()
        assert leech.store is not None
        fetching = leech.download()
        await self.introduce(leech, seed)
        await self.until(lambda: leech.store is not None and leech.store.bytes_verified)
        fetching.cancel()
        with self.assertRaises(CancelledError):
            await fetching
        there = leech.store.bytes_verified
        await deferLater(reactor, 0.2)
        self.assertLess(leech.store.bytes_verified, len(DATA))
        await leech.download()
        self.assertEqual(await self.bytes_of(leech), DATA)
        self.assertGreaterEqual(there, PIECE)

    async def test_who_leaves_is_gone_for_the_other_side_too(self) -> None:
        seed, leech = await self.seeding(), self.leech()
        leech.start()
        await self.introduce(leech, seed)
        await self.until(lambda: seed.links == leech.links == 1)
        await leech.stop()
        await self.until(lambda: not seed.links)

    # -- what trackers hear ----------------------------------------------------------------------------------

    async def test_the_account_that_is_announced(self) -> None:
        seed, leech = await self.seeding(), self.leech()
        account = Account(leech)
        before = account(Event.STARTED, home=True)
        self.assertEqual((before.length, before.left, before.wanted > 0), (len(DATA), len(DATA), True))
        fetching = leech.download()
        await self.introduce(leech, seed)
        await fetching
        after = account(Event.COMPLETED, home=False)
        self.assertEqual((after.left, after.wanted, after.home), (0, 0, False))
        self.assertEqual((after.session, after.resource), (before.session, DESCRIPTOR.resource_id.hex()))
        self.assertEqual((after.counters.peer_remote, after.counters.server), (len(DATA), 0))
        self.assertEqual(after.port, leech.node.port)
        self.assertEqual(Account(seed)(Event.PROGRESS, home=True).counters.up, len(DATA))

    async def test_a_transfer_without_a_descriptor_lacks_something(self) -> None:

        leech = self.stopped(Transfer(self.node(), resource_id=TREE.resource_id))
        announced = Account(leech)(Event.STARTED, home=True)
        self.assertEqual((announced.length, announced.left), (0, 1))
