"""Do nodes find, trust, feed and leave each other over real TLS?"""

from typing import Any

from twisted.internet.defer import DeferredList, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.task import deferLater

from p2sp.net.errors import CannotListen, IdentityMismatch
from p2sp.schedule.spans import Kind
from p2sp.wire.errors import LinkLost, LinkRefused
from p2sp.wire.link import PeerLink
from p2sp.wire.listener import PeerNetwork
from p2sp.wire.messages import Piece, Unchoke
from p2sp.wire.register import Bounds
from tests.wire.network import HOST, NetworkTestCase, Share, StoreSink, Stranger, whole
from tests.wire.support import PIECE, contents, empty_store, fill, full_store, make_resource

DESCRIPTOR, DATA = make_resource([7 * PIECE + 12345, 0, 99, 3 * PIECE])


class Networks(NetworkTestCase):
    """The life of links."""

    def seed(self, **options: Any) -> tuple[PeerNetwork, Share]:
        network = self.node(**options)
        share = Share(DESCRIPTOR.resource_id, DESCRIPTOR, full_store(DESCRIPTOR, DATA))
        network.share(share)
        return network, share

    def leech(self, **options: Any) -> tuple[PeerNetwork, Share]:
        network = self.node(**options)
        share = Share(DESCRIPTOR.resource_id, DESCRIPTOR, empty_store(DESCRIPTOR))
        network.share(share)
        return network, share

    async def fetch_all(self, share: Share) -> None:
        source = await self.source(share.links[0])
        await source.fetch(whole(DESCRIPTOR), StoreSink(share.store))
        assert share.store is not None
        self.assertTrue(share.store.complete)
        self.assertEqual(contents(share.store), DATA)  # type: ignore[arg-type]

    async def test_the_dialler_downloads(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech(listening=False)
        link = await self.dial(leech, leeching, seed, kind=Kind.SUPERNODE)
        self.assertEqual((link.node_id, link.address), (seed.node_id, (HOST, seed.port)))
        self.assertEqual((link.kind, link.label), (Kind.SUPERNODE, f"supernode {HOST}:{seed.port}"))
        await self.fetch_all(leeching)
        self.assertEqual(seeding.given, len(DATA))
        self.assertEqual(link.downloaded, len(DATA))
        self.assertEqual(seeding.links[0].node_id, leech.node_id)
        self.assertEqual(seeding.links[0].kind, Kind.PEER)

    async def test_the_listener_downloads(self) -> None:
        seed, seeding = self.seed(listening=False)
        leech, leeching = self.leech()
        await self.dial(seed, seeding, leech)
        await self.until(lambda: leeching.links)
        await self.fetch_all(leeching)
        self.assertEqual(seeding.given, len(DATA))

    async def test_what_is_verified_is_announced_and_passed_on(self) -> None:
        """A chain: the middle gives on what it gets while it gets it."""
        seed, _ = self.seed()
        middle, relaying = self.leech()
        end, ending = self.leech(listening=False)
        await self.dial(middle, relaying, seed)
        first = await self.dial(end, ending, middle)
        self.assertEqual(len(first.session.pieces), 0)
        await self.fetch_all(relaying)
        await self.until(lambda: first.session.pieces.full)
        await self.fetch_all(ending)

    async def test_both_ways_at_once(self) -> None:
        half, other_half = [0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]
        networks, shares = [], []
        for pieces in (half, other_half):
            network, share = self.leech()
            assert share.store is not None
            fill(share.store, DATA, pieces)  # type: ignore[arg-type]
            networks.append(network)
            shares.append(share)
        await self.dial(networks[0], shares[0], networks[1])
        await self.until(lambda: shares[1].links)

        async def get(share: Share, pieces: list[int]) -> None:
            source = await self.source(share.links[0])
            layout = DESCRIPTOR.layout
            for piece in pieces:
                if piece < layout.piece_count:
                    span = whole(DESCRIPTOR).__class__(layout.piece_start(piece), layout.piece_end(piece))
                    await source.fetch(span, StoreSink(share.store))

        await DeferredList(
            [ensureDeferred(get(shares[0], other_half)), ensureDeferred(get(shares[1], half))], fireOnOneErrback=True
        )
        for share in shares:
            assert share.store is not None
            self.assertTrue(share.store.complete)

    async def test_a_magnet_becomes_a_descriptor_and_then_the_resource(self) -> None:
        seed, _ = self.seed()
        leech = self.node(listening=False)
        share = Share(DESCRIPTOR.resource_id)
        leech.share(share)
        link = await self.dial(leech, share, seed)
        found = await share.found
        self.assertEqual(found, DESCRIPTOR)
        share.store = empty_store(found)
        leech.stored(share)
        await self.fetch_all(share)
        self.assertTrue(link.session.ours.full)

    async def test_who_learnt_a_descriptor_teaches_it(self) -> None:
        seed, _ = self.seed()
        middle, end = self.node(), self.node(listening=False)
        knowing, asking = Share(DESCRIPTOR.resource_id), Share(DESCRIPTOR.resource_id)
        middle.share(knowing)
        end.share(asking)
        await self.dial(end, asking, middle)
        await self.dial(middle, knowing, seed)
        self.assertEqual(await knowing.found, DESCRIPTOR)
        self.assertEqual(await asking.found, DESCRIPTOR)

    async def test_somebody_else_answers(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech(listening=False)
        failure = await self.assertFailure(self.dial(leech, leeching, seed, node_id="ab" * 32), IdentityMismatch)
        self.assertIn(seed.node_id, str(failure))
        await self.until(lambda: not seed.links)
        self.assertEqual((leech.links, seeding.links, leeching.links), (0, [], []))

    async def test_nobody_answers(self) -> None:
        leech, _ = self.leech()
        port = leech.port
        await leech.close()
        other, share = self.leech(listening=False)
        failure = await self.assertFailure(other.dial(share, HOST, port, "ab" * 32), LinkLost)
        self.assertIn(f"{HOST}:{port} cannot be reached", str(failure))

    async def test_calls_that_are_not_made(self) -> None:
        seed, _ = self.seed()
        leech, leeching = self.leech()
        with self.subTest("to ourselves"):
            await self.assertFailure(self.dial(leech, leeching, leech), LinkRefused)
        with self.subTest("for a resource we do not share"):
            await self.assertFailure(self.dial(leech, Share(b"x" * 32), seed), LinkRefused)
        await self.dial(leech, leeching, seed)
        with self.subTest("to whom we have a link with"):
            await self.assertFailure(self.dial(leech, leeching, seed), LinkRefused)

    async def test_a_call_while_one_is_under_way(self) -> None:
        seed, _ = self.seed()
        leech, leeching = self.leech()
        first = self.dial(leech, leeching, seed)
        await self.assertFailure(self.dial(leech, leeching, seed), LinkRefused)
        await first

    async def test_a_call_given_up(self) -> None:
        seed, _ = self.seed()
        leech, leeching = self.leech(listening=False)
        call = self.dial(leech, leeching, seed)
        call.cancel()
        await self.assertFailure(call, Exception)
        await self.until(lambda: not leech.links and not seed.links)
        later = self.dial(leech, leeching, seed)
        await self.until(lambda: seed.links)
        later.cancel()
        await self.assertFailure(later, Exception)
        await self.until(lambda: not leech.links and not seed.links)

    async def test_a_resource_not_shared_there(self) -> None:
        seed, _ = self.seed()
        leech = self.node(listening=False)
        other, _ = make_resource([PIECE], seed=9)
        share = Share(other.resource_id, other, empty_store(other))
        leech.share(share)
        await self.assertFailure(self.dial(leech, share, seed), LinkLost)
        await self.until(lambda: not seed.links)

    async def test_an_unknown_resource_is_closed_without_a_word(self) -> None:
        seed, _ = self.seed()
        stranger = await self.stranger(seed)
        stranger.greet(b"?" * 20)
        await stranger.lost
        self.assertEqual(stranger.heard, b"")

    async def test_who_shows_no_certificate_is_closed(self) -> None:
        from twisted.internet.ssl import CertificateOptions

        seed, _ = self.seed()
        endpoint = wrapClientTLS(CertificateOptions(), TCP4ClientEndpoint(self.reactor, HOST, seed.port))
        stranger: Stranger = await connectProtocol(endpoint, Stranger())
        stranger.greet(DESCRIPTOR.handshake_hash)
        await stranger.lost
        self.assertEqual(stranger.heard, b"")

    async def test_crossing_calls_leave_the_link_of_the_smaller_id(self) -> None:
        for _ in range(6):
            one, sharing = self.leech()
            other, sharing_too = self.seed()
            calls = [self.dial(one, sharing, other), self.dial(other, sharing_too, one)]
            await DeferredList(calls, consumeErrors=True)
            for network, share in ((one, sharing), (other, sharing_too)):
                await self.until(lambda here=(network, share): here[0].links == len(here[1].links) == 1)  # type: ignore[misc]
            self.assertEqual(sharing.links[0].outgoing, one.node_id < other.node_id)
            self.assertEqual(sharing_too.links[0].outgoing, other.node_id < one.node_id)
            await self.fetch_all(sharing)

    async def test_a_broken_rule_ends_the_link_and_is_named(self) -> None:
        seed, seeding = self.seed()
        stranger = await self.stranger(seed)
        stranger.greet(DESCRIPTOR.handshake_hash)
        await self.until(lambda: seeding.links)
        stranger.say(Unchoke(), Piece(0, 0, b"never asked for"))
        await stranger.lost
        await self.until(lambda: seeding.reasons)
        self.assertEqual(seeding.reasons, ["Piece with 15 bytes at 0 of piece 0, which was not requested"])

    async def test_half_open_connections_are_bounded(self) -> None:
        seed, _ = self.seed(bounds=Bounds(half_open=3))
        strangers = [await self.stranger(seed) for _ in range(3)]
        refused = Stranger()
        await connectProtocol(TCP4ClientEndpoint(self.reactor, HOST, seed.port), refused)
        await refused.lost
        self.assertEqual(seed.links, 3)
        strangers[0].greet(DESCRIPTOR.handshake_hash)
        await self.until(lambda: seed.links == 3 and strangers[0].heard)
        await self.until(lambda: len(seed.links_of(self.only_share(seed))) == 1)
        again = await self.stranger(seed)
        await self.until(lambda: seed.links == 4)
        self.assertFalse(again.lost.called)

    def only_share(self, network: PeerNetwork) -> Share:
        (swarm,) = network._swarms.values()
        assert isinstance(swarm.shared, Share)
        return swarm.shared

    async def test_connections_of_one_address_are_bounded(self) -> None:
        seed, _ = self.seed(bounds=Bounds(per_address=2))
        for _ in range(2):
            await self.stranger(seed)
        refused = Stranger()
        await connectProtocol(TCP4ClientEndpoint(self.reactor, HOST, seed.port), refused)
        await refused.lost
        elsewhere = Stranger()
        await connectProtocol(
            TCP4ClientEndpoint(self.reactor, HOST, seed.port, bindAddress=("127.0.0.2", 0)), elsewhere
        )
        await self.until(lambda: seed.links == 3)

    async def test_links_are_bounded(self) -> None:
        seed, seeding = self.seed(bounds=Bounds(links=1))
        leech, leeching = self.leech()
        await self.dial(leech, leeching, seed)
        await self.until(lambda: seeding.links)
        third, wanting = self.leech()
        await self.assertFailure(self.dial(third, wanting, seed), LinkLost)
        await self.assertFailure(self.dial(seed, seeding, third), LinkRefused)

    async def test_calls_from_a_chosen_address(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech(listening=False)
        await leech.dial(leeching, HOST, seed.port, seed.node_id, bind_address="127.0.0.3")
        await self.until(lambda: seeding.links)
        self.assertEqual(seeding.links[0].address[0], "127.0.0.3")

    async def test_leaving_a_resource(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech()
        await self.dial(leech, leeching, seed)
        await self.until(lambda: seeding.links)
        await seed.unshare(seeding)
        self.assertEqual((seeding.links, seed.links), ([], 0))
        self.assertEqual(seeding.reasons, ["the resource is no longer shared here"])
        await self.until(lambda: leeching.reasons)
        await self.assertFailure(self.dial(leech, leeching, seed), LinkLost)
        seed.share(seeding)
        await self.dial(leech, leeching, seed)

    async def test_shared_twice(self) -> None:
        seed, _ = self.seed()
        with self.assertRaisesRegex(ValueError, "shared already"):
            seed.share(Share(DESCRIPTOR.resource_id))
        with self.assertRaisesRegex(ValueError, "not shared here"):
            seed.stored(Share(b"x" * 32))

    async def test_a_port_in_use(self) -> None:
        seed, _ = self.seed()
        other = self.node(listening=False)
        self.assertEqual(other.port, 0)
        with self.assertRaisesRegex(CannotListen, str(seed.port)):
            other.listen(HOST, seed.port)

    async def test_two_resources_between_the_same_nodes(self) -> None:
        second, data = make_resource([3 * PIECE], seed=5)
        seed, _ = self.seed()
        leech, leeching = self.leech()
        seed.share(Share(second.resource_id, second, full_store(second, data)))
        wanting = Share(second.resource_id, second, empty_store(second))
        leech.share(wanting)
        await self.dial(leech, leeching, seed)
        link = await self.dial(leech, wanting, seed)
        source = await self.source(link)
        await source.fetch(whole(second), StoreSink(wanting.store))
        await self.fetch_all(leeching)
        self.assertEqual(contents(wanting.store), data)  # type: ignore[arg-type]

    async def test_forgotten_pieces_are_withdrawn(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech()
        link = await self.dial(leech, leeching, seed)
        await self.until(lambda: link.session.pieces.full)
        assert seeding.store is not None
        seeding.store.forget(3)
        await self.until(lambda: 3 not in link.session.pieces)
        self.assertEqual(len(link.session.pieces), DESCRIPTOR.layout.piece_count - 1)

    async def test_slots_go_round_and_free_ones_are_given_at_once(self) -> None:
        seed, _ = self.seed(slots=1)
        links: list[PeerLink] = []
        leeches = [self.leech() for _ in range(2)]
        for leech, leeching in leeches:
            links.append(await self.dial(leech, leeching, seed))
        await self.until(lambda: sum(not link.session.choked for link in links) == 1)
        await deferLater(self.reactor, 0.05)
        self.assertEqual(sum(not link.session.choked for link in links), 1)
        served = next(link for link in links if not link.session.choked)
        waiting = next(link for link in links if link is not served)
        served.close("enough")
        await self.until(lambda: not waiting.session.choked)

    async def test_closing_lets_what_is_written_get_out(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech(listening=False)
        await self.dial(leech, leeching, seed)
        source = await self.source(leeching.links[0])
        sink = StoreSink(leeching.store)
        fetching = source.fetch(whole(DESCRIPTOR), sink)
        await self.until(lambda: seeding.given)
        given = seeding.given
        await seed.close()
        self.assertEqual(seed.links, 0)
        await self.assertFailure(fetching, Exception)
        self.assertGreaterEqual(sum(map(len, sink.got.values())), given)
        with self.assertRaises(LinkRefused):
            await seed.dial(seeding, HOST, 1, "ab" * 32)
