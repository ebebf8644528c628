"""Is clear text spoken where the operator allows it, and nowhere else?"""

from hashlib import sha1

import attrs
from bencode2 import bdecode, bencode
from twisted.internet.defer import DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory

from p2sp.resource.descriptor import Descriptor, parse_info
from p2sp.resource.torrent_v1 import make_hybrid
from p2sp.wire.errors import LinkLost, LinkRefused, Why
from p2sp.wire.extensions import Abilities, encode_abilities
from p2sp.wire.link import PeerLink
from p2sp.wire.listener import PeerNetwork
from p2sp.wire.messages import RESERVED, Extended, Handshake, HaveAll
from tests.wire.network import HOST, NetworkTestCase, Share, StoreSink, Stranger, whole
from tests.wire.support import PIECE, contents, empty_store, full_store, make_resource

DESCRIPTOR, DATA = make_resource([7 * PIECE + 12345, 99, 3 * PIECE])


def private(descriptor: Descriptor) -> Descriptor:
    """The same files as a private resource (BEP 27)."""
    info = bdecode(descriptor.info)
    assert isinstance(info, dict)
    return attrs.evolve(parse_info(bencode({**info, b"private": 1})), layers=descriptor.layers)


PRIVATE = private(DESCRIPTOR)
HYBRID = make_hybrid(DESCRIPTOR, [sha1(str(piece).encode()).digest() for piece in range(12)])


class ClearText(NetworkTestCase):
    """Nodes that speak with each other as if the other one were foreign."""

    def seed(self, descriptor: Descriptor = DESCRIPTOR, *, clear_text: bool = True) -> tuple[PeerNetwork, Share]:
        network = self.node(clear_text=clear_text)
        share = Share(descriptor.resource_id, descriptor, full_store(descriptor, DATA))
        network.share(share)
        return network, share

    def leech(self, descriptor: Descriptor = DESCRIPTOR, *, clear_text: bool = True) -> tuple[PeerNetwork, Share]:
        network = self.node(clear_text=clear_text)
        share = Share(descriptor.resource_id, descriptor, empty_store(descriptor))
        network.share(share)
        return network, share

    async def foreigner(self, network: PeerNetwork) -> Stranger:
        """A client that knows nothing of TLS."""
        stranger: Stranger = await connectProtocol(TCP4ClientEndpoint(self.reactor, HOST, network.port), Stranger())
        return stranger

    async def fetch_all(self, share: Share) -> None:
        source = await self.source(share.links[0])
        await source.fetch(whole(DESCRIPTOR), StoreSink(share.store))
        self.assertEqual(contents(share.store), DATA)  # type: ignore[arg-type]

    async def test_a_resource_goes_over_in_clear_text(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech()
        link = await leech.dial(leeching, HOST, seed.port)
        self.assertEqual((link.secure, link.node_id, link.who), (False, "", f"{HOST}:{seed.port}"))
        await self.until(lambda: seeding.links)
        (other,) = seeding.links
        self.assertEqual((other.secure, other.node_id), (False, ""))
        self.assertEqual(other.who, f"{HOST}:{other.address[1]}")
        await self.fetch_all(leeching)
        self.assertEqual((link.downloaded, other.uploaded), (len(DATA), len(DATA)))

    async def test_one_port_takes_both(self) -> None:
        seed, seeding = self.seed()
        clear, leeching = self.leech()
        secure, leeching_too = self.leech()
        await clear.dial(leeching, HOST, seed.port)
        await secure.dial(leeching_too, HOST, seed.port, seed.node_id)
        await self.until(lambda: len(seeding.links) == 2)
        self.assertEqual(sorted(link.secure for link in seeding.links), [False, True])
        await self.fetch_all(leeching)
        await self.fetch_all(leeching_too)

    async def test_a_magnet_is_learnt(self) -> None:
        seed, _ = self.seed()
        leech = self.node(clear_text=True)
        share = Share(DESCRIPTOR.resource_id)
        leech.share(share)
        await leech.dial(share, HOST, seed.port)
        self.assertEqual(await share.found, DESCRIPTOR)

    async def test_not_unless_allowed_there(self) -> None:
        seed, seeding = self.seed(clear_text=False)
        leech, leeching = self.leech()
        await self.assertFailure(leech.dial(leeching, HOST, seed.port), LinkLost)
        await self.until(lambda: not seed.links)
        self.assertEqual(seed.endings, {Why.CLEAR_TEXT: 1})
        self.assertEqual(seeding.reasons, [])

    async def test_not_unless_allowed_here(self) -> None:
        seed, _ = self.seed()
        leech, leeching = self.leech(clear_text=False)
        failure = await self.assertFailure(leech.dial(leeching, HOST, seed.port), LinkRefused)
        self.assertEqual(failure.why, Why.CLEAR_TEXT)
        self.assertEqual(leech.links, 0)

    async def test_what_is_private_is_not_asked_for(self) -> None:
        seed, _ = self.seed(PRIVATE)
        leech, leeching = self.leech(PRIVATE)
        failure = await self.assertFailure(leech.dial(leeching, HOST, seed.port), LinkRefused)
        self.assertEqual(failure.why, Why.PRIVATE)
        await leech.dial(leeching, HOST, seed.port, seed.node_id)

    async def test_what_is_private_is_not_given(self) -> None:
        seed, seeding = self.seed(PRIVATE)
        foreigner = await self.foreigner(seed)
        foreigner.greet(PRIVATE.handshake_hash)
        await foreigner.lost
        self.assertEqual((foreigner.heard, seeding.links), (b"", []))
        await self.until(lambda: not seed.links)
        self.assertEqual(seed.endings, {Why.PRIVATE: 1})

    async def test_what_turns_out_to_be_private_ends(self) -> None:
        secret, _ = self.seed(PRIVATE)
        leech = self.node(clear_text=True)
        share = Share(PRIVATE.resource_id)
        leech.share(share)
        foreigner = await self.foreigner(leech)
        foreigner.greet(PRIVATE.handshake_hash)
        await self.until(lambda: share.links)
        await leech.dial(share, HOST, secret.port, secret.node_id)
        await foreigner.lost
        self.assertEqual(await share.found, PRIVATE)
        self.assertEqual([link.secure for link in share.links], [True])

    async def test_a_call_to_ourselves(self) -> None:
        seed, seeding = self.seed()
        # The end that is called notices it as soon as the end that calls.
        await self.assertFailure(seed.dial(seeding, HOST, seed.port), LinkRefused, LinkLost)
        await self.until(lambda: not seed.links)
        self.assertEqual(seed.endings[Why.OURSELVES], 1)

    async def test_the_same_client_twice(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech()
        await leech.dial(leeching, HOST, seed.port)
        with self.subTest("called twice"):
            await self.assertFailure(leech.dial(leeching, HOST, seed.port), LinkRefused)
        with self.subTest("calls us, too"):
            await self.assertFailure(seed.dial(seeding, HOST, leech.port), LinkRefused, LinkLost)
        await self.until(lambda: (seed.links, leech.links) == (1, 1))
        await self.fetch_all(leeching)

    async def test_clients_of_one_address_are_told_apart(self) -> None:
        seed, seeding = self.seed()
        for name in (b"one", b"other"):
            foreigner = await self.foreigner(seed)
            foreigner.say(
                Handshake(DESCRIPTOR.handshake_hash, name.ljust(20), RESERVED),
                Extended(0, encode_abilities(Abilities())),
                HaveAll(),
            )
        await self.until(lambda: len(seeding.links) == 2)
        self.assertEqual(len({link.who for link in seeding.links}), 2)

    async def test_a_broken_rule_ends_it(self) -> None:
        seed, _ = self.seed()
        foreigner = await self.foreigner(seed)
        foreigner.greet(DESCRIPTOR.handshake_hash)
        foreigner.say(HaveAll())
        await foreigner.lost
        await self.until(lambda: not seed.links)
        self.assertEqual(seed.endings, {Why.BROKEN_RULE: 1})

    async def test_several_at_once(self) -> None:
        seed, _ = self.seed()
        leeches = [self.leech() for _ in range(4)]
        links: list[tuple[bool, PeerLink]] = await DeferredList(
            [leech.dial(leeching, HOST, seed.port) for leech, leeching in leeches]
        )
        self.assertTrue(all(good for good, _ in links))
        for _, leeching in leeches:
            await self.fetch_all(leeching)

    async def test_a_hybrid_goes_by_both_its_names(self) -> None:
        seed, seeding = self.seed(HYBRID)
        for name in HYBRID.handshake_hashes:
            with self.subTest(name=name):
                foreigner = await self.foreigner(seed)
                foreigner.greet(name)
                await self.until(lambda each=foreigner: seeding.links and len(each.heard) >= 68)  # type: ignore[misc]
                # It is answered by the name it used.
                self.assertEqual(foreigner.heard[28:48], name)
                foreigner.transport.loseConnection()  # type: ignore[union-attr]
                await foreigner.lost
                await self.until(lambda: not seeding.links)
        await seed.unshare(seeding)
        foreigner = await self.foreigner(seed)
        foreigner.greet(HYBRID.handshake_hashes[1])
        await foreigner.lost

    async def test_a_client_that_knows_the_old_name_alone_is_called_by_it_next(self) -> None:
        leech, leeching = self.leech(HYBRID)
        names: list[bytes] = []
        factory = Factory.forProtocol(Stranger)
        port = self.reactor.listenTCP(0, factory, interface=HOST)
        self.addCleanup(port.stopListening)

        class OldOnly(Stranger):
            """Closes on a name it does not know."""

            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                if len(self.heard) >= 68 and self.heard[28:48] not in names:
                    names.append(self.heard[28:48])
                    if names[-1] == HYBRID.handshake_hashes[1]:
                        self.greet(names[-1])
                    else:
                        self.transport.loseConnection()  # type: ignore[union-attr]

        factory.protocol = OldOnly
        await self.assertFailure(leech.dial(leeching, HOST, port.getHost().port), LinkLost)
        link = await leech.dial(leeching, HOST, port.getHost().port)
        self.assertEqual(tuple(names), HYBRID.handshake_hashes)
        link.close("enough")
        await self.until(lambda: not leech.links)

    async def test_a_learnt_hybrid_is_found_by_its_old_name(self) -> None:
        seed, _ = self.seed(HYBRID)
        leech = self.node(clear_text=True)
        share = Share(HYBRID.resource_id)
        leech.share(share)
        await leech.dial(share, HOST, seed.port, seed.node_id)
        self.assertEqual(await share.found, HYBRID)
        foreigner = await self.foreigner(leech)
        foreigner.greet(HYBRID.handshake_hashes[1])
        await self.until(lambda: len(share.links) == 2)
