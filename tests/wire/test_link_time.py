"""Does a link keep its deadlines and bounds, and does upload keep its rate? Real sockets, virtual time."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import Clock

from p2sp.net.throttle import TokenBucket
from p2sp.resource.merkle import BLOCK
from p2sp.sources.interfaces import SourceError
from p2sp.sources.peer import PeerSource
from p2sp.wire.choker import LONGEST_TURN
from p2sp.wire.link import CLOSE_SECONDS, HANDSHAKE_SECONDS, PeerLink
from p2sp.wire.listener import TICK_SECONDS, PeerNetwork
from p2sp.wire.messages import Handshake, HaveNone, KeepAlive, Message, NotInterested, Request
from p2sp.wire.silence import KEEP_ALIVE_SECONDS, MAX_UNSENT, SILENCE_SECONDS
from p2sp.wire.upload import READS
from tests.wire.network import HOST, NetworkTestCase, Share, StoreSink, Stranger, whole
from tests.wire.support import PIECE, empty_store, full_store, make_resource

DESCRIPTOR, DATA = make_resource([16 * PIECE])
BIG, BIG_DATA = make_resource([24 * 1024 * 1024], 1024 * 1024)


class LinkTime(NetworkTestCase):
    """Deadlines and rates."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = self.time = Clock()

    async def stop_all(self) -> None:
        closing = [network.close() for network in self.networks]
        await self.turn(20)
        await self.pass_time(CLOSE_SECONDS + 1)
        await self.until(lambda: all(each.called for each in closing))
        self.assertEqual(self.time.getDelayedCalls(), [])

    def seed(self, descriptor: Any = DESCRIPTOR, data: bytes = DATA, **options: Any) -> tuple[PeerNetwork, Share]:
        network = self.node(**options)
        share = Share(descriptor.resource_id, descriptor, full_store(descriptor, data))
        network.share(share)
        return network, share

    async def leech(self, seed: PeerNetwork) -> tuple[Share, PeerLink]:
        network = self.node(listening=False)
        share = Share(DESCRIPTOR.resource_id, DESCRIPTOR, empty_store(DESCRIPTOR))
        network.share(share)
        call = self.dial(network, share, seed)
        await self.until(lambda: call.called)
        return share, await call

    async def joined(self, seed: PeerNetwork, seeding: Share) -> Stranger:
        stranger = await self.stranger(seed)
        stranger.behave(seeding.descriptor or DESCRIPTOR, [])
        await self.until(lambda: seeding.links)
        await self.turn(5)
        return stranger

    async def test_who_only_connects_is_cut(self) -> None:
        seed, _ = self.seed()
        mute = Stranger()
        await connectProtocol(TCP4ClientEndpoint(self.reactor, HOST, seed.port), mute)
        await self.until(lambda: seed.links)
        await self.pass_time(HANDSHAKE_SECONDS - 1)
        self.assertEqual(seed.links, 1)
        await self.pass_time(1)
        await mute.lost
        await self.until(lambda: not seed.links)

    async def test_who_says_no_handshake_is_cut(self) -> None:
        some: list[Message] = []
        for messages in (some, [Handshake(DESCRIPTOR.handshake_hash, b"s" * 20, b"\0\0\0\0\0\x10\0\x14"), HaveNone()]):
            seed, seeding = self.seed()
            stranger = await self.stranger(seed)
            stranger.say(*messages)
            await self.until(lambda seed=seed: seed.links)  # type: ignore[misc]
            await self.turn(5)
            await self.pass_time(HANDSHAKE_SECONDS)
            await stranger.lost
            self.assertEqual(seeding.reasons, [])

    async def test_keep_alive(self) -> None:
        seed, seeding = self.seed()
        stranger = await self.joined(seed, seeding)
        stranger.heard = b""
        await self.pass_time(KEEP_ALIVE_SECONDS - TICK_SECONDS)
        self.assertEqual(stranger.heard, b"")
        await self.pass_time(2 * TICK_SECONDS)
        self.assertEqual(stranger.heard, bytes(4))

    async def test_silence_ends_the_link(self) -> None:
        seed, seeding = self.seed()
        stranger = await self.joined(seed, seeding)
        await self.pass_time(SILENCE_SECONDS - TICK_SECONDS)
        self.assertEqual(seeding.reasons, [])
        await self.pass_time(2 * TICK_SECONDS)
        await self.until(lambda: seeding.reasons)
        self.assertEqual(seeding.reasons, ["silent for 150 seconds"])
        await stranger.lost

    async def test_keep_alives_are_enough(self) -> None:
        seed, seeding = self.seed()
        stranger = await self.joined(seed, seeding)
        for _ in range(3):
            await self.pass_time(SILENCE_SECONDS - 2 * TICK_SECONDS, step=TICK_SECONDS)
            stranger.say(KeepAlive())
            await self.turn(5)
        self.assertEqual(seeding.reasons, [])

    async def test_who_is_held_is_not_silent(self) -> None:
        seed, seeding = self.seed()
        await self.joined(seed, seeding)
        (link,) = seeding.links
        link.hold(self)
        self.assertTrue(link.held)
        await self.pass_time(2 * SILENCE_SECONDS, step=TICK_SECONDS)
        self.assertEqual(seeding.reasons, [])
        link.release(self)
        link.release(self)
        self.assertFalse(link.held)
        await self.pass_time(SILENCE_SECONDS + TICK_SECONDS, step=TICK_SECONDS)
        self.assertEqual(seeding.reasons, ["silent for 150 seconds"])

    async def test_a_held_link_is_not_read(self) -> None:
        seed, seeding = self.seed()
        stranger = await self.joined(seed, seeding)
        (link,) = seeding.links
        link.hold("one")
        link.hold("two")
        stranger.say(NotInterested())
        await self.turn(10)
        self.assertTrue(link.session.remote_interested)
        link.release("one")
        await self.turn(10)
        self.assertTrue(link.session.remote_interested)
        link.release("two")
        await self.until(lambda: not link.session.remote_interested)

    async def test_who_does_not_hear_the_end_is_cut(self) -> None:
        seed, seeding = self.seed()
        stranger = await self.joined(seed, seeding)
        assert stranger.transport is not None
        stranger.transport.pauseProducing()  # type: ignore[attr-defined]
        gone: list[object] = []
        seed.unshare(seeding).addCallback(gone.append)
        await self.turn(20)
        self.assertEqual(gone, [])
        await self.pass_time(CLOSE_SECONDS, step=0.5)
        await self.until(lambda: gone)
        stranger.transport.resumeProducing()  # type: ignore[attr-defined]
        await stranger.lost

    async def asking(self, seed: PeerNetwork, seeding: Share) -> Stranger:
        """A stranger who asks for all it may, and does not read."""
        stranger = await self.joined(seed, seeding)
        assert stranger.session is not None
        assert stranger.transport is not None
        await self.until(lambda: stranger.session is not None and not stranger.session.choked)
        stranger.session = None
        stranger.transport.pauseProducing()  # type: ignore[attr-defined]
        stranger.say(*(Request(number // 64, number % 64 * BLOCK, BLOCK) for number in range(500)))
        return stranger

    async def test_who_does_not_read_gets_no_more_than_fits(self) -> None:
        seed, seeding = self.seed(BIG, BIG_DATA)
        stranger = await self.asking(seed, seeding)
        await self.turn(100)
        given = seeding.given
        await self.turn(50)
        self.assertEqual(seeding.given, given)
        self.assertLess(given, 500 * BLOCK)
        # What is on its way: the sockets' own buffers and two runs.
        self.assertGreater(given, READS * BLOCK)
        await self.pass_time(SILENCE_SECONDS + TICK_SECONDS, step=TICK_SECONDS)
        await self.until(lambda: seeding.reasons)
        self.assertEqual(seeding.reasons, ["the other side has not read for 150 seconds"])
        stranger.transport.resumeProducing()  # type: ignore[union-attr]
        await stranger.lost

    async def test_who_reads_again_gets_the_rest(self) -> None:
        seed, seeding = self.seed(BIG, BIG_DATA)
        stranger = await self.asking(seed, seeding)
        await self.turn(100)
        stranger.heard = b""
        stranger.transport.resumeProducing()  # type: ignore[union-attr]
        await self.until(lambda: seeding.given == 500 * BLOCK)
        await self.until(lambda: len(stranger.heard) >= 500 * (BLOCK + 13))

    async def test_who_asks_for_rejections_without_end_and_does_not_read_is_cut(self) -> None:
        seed, seeding = self.seed(BIG, BIG_DATA, slots=0)
        stranger = await self.joined(seed, seeding)
        assert stranger.transport is not None
        stranger.session = None
        stranger.transport.pauseProducing()  # type: ignore[attr-defined]
        flood = [Request(number // 64, number % 64 * BLOCK, BLOCK) for number in range(1500)]
        for _ in range(2 * MAX_UNSENT // 17 // 1500 * 2):
            stranger.say(*flood)
            await self.turn(3)
            if seeding.reasons:
                break
        self.assertEqual(seeding.reasons, ["the other side does not read what it asks for"])
        stranger.transport.resumeProducing()  # type: ignore[attr-defined]
        await stranger.lost

    async def test_slots_change_hands(self) -> None:
        # So slow that neither quota nor resource ends a turn; who took nothing at all would keep nobody waiting.
        seed, _ = self.seed(slots=1, upload=TokenBucket(BLOCK, BLOCK))
        leeches = [await self.leech(seed) for _ in range(2)]
        links = [link for _, link in leeches]
        await self.until(lambda: sum(not link.session.choked for link in links) == 1)
        share, first = next((share, link) for share, link in leeches if not link.session.choked)
        fetch = PeerSource(first).fetch(whole(DESCRIPTOR), StoreSink(share.store))
        fetch.addErrback(lambda failure: failure.trap(SourceError))
        await self.pass_time(LONGEST_TURN + 2 * TICK_SECONDS, step=0.5)
        await self.until(lambda: first.session.choked)
        self.assertEqual(sum(not link.session.choked for link in links), 1)

    async def test_uploads_keep_below_their_rate_and_are_fair(self) -> None:
        rate, burst = 8 * BLOCK, 2 * BLOCK
        seed, seeding = self.seed(upload=TokenBucket(rate, burst))
        fetches: list[Deferred[None]] = []
        sinks = []
        for _ in range(2):
            share, link = await self.leech(seed)
            source = PeerSource(link)
            await self.until(lambda source=source: source.slots)  # type: ignore[misc]
            sinks.append(StoreSink(share.store))
            fetches.append(source.fetch(whole(DESCRIPTOR), sinks[-1]))
        await self.turn(20)
        begun = self.time.seconds()
        while not all(fetch.called for fetch in fetches):
            elapsed = self.time.seconds() - begun
            self.assertLessEqual(seeding.given, burst + BLOCK + rate * elapsed)
            self.assertGreaterEqual(seeding.given, min(rate * (elapsed - 0.5), 2 * len(DATA)))
            if len(given := [seeding.given_to[link] for link in seeding.links]) == 2:
                self.assertLessEqual(abs(given[0] - given[1]), 4 * BLOCK)
            await self.pass_time(0.25, step=0.125)
        self.assertGreaterEqual(self.time.seconds() - begun, 2 * len(DATA) / rate - 1)
        for fetch in fetches:
            await fetch
