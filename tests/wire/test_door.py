"""Who is sent away at the door, how soon, and what is it counted as?"""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.errors import IdentityMismatch
from p2sp.net.identity import create_identity
from p2sp.net.trust import pinned_client_context, server_context
from p2sp.wire.door import Door, Visitor
from p2sp.wire.errors import Why
from p2sp.wire.link import ALPN, CLOSE_SECONDS, HANDSHAKE_SECONDS
from p2sp.wire.listener import PeerNetwork
from p2sp.wire.register import Bounds, Register
from tests.wire.network import HOST, NetworkTestCase, Share, Stranger
from tests.wire.support import PIECE, full_store, make_resource

DESCRIPTOR, DATA = make_resource([2 * PIECE])


class AtTheDoor(NetworkTestCase):
    """Real sockets, virtual time."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = self.time = Clock()

    async def stop_all(self) -> None:
        closing = [network.close() for network in self.networks]
        await self.turn(20)
        await self.pass_time(CLOSE_SECONDS + 1)
        await self.until(lambda: all(each.called for each in closing))
        self.assertEqual(self.time.getDelayedCalls(), [])

    def seed(self, **options: Any) -> PeerNetwork:
        network = self.node(**options)
        network.share(Share(DESCRIPTOR.resource_id, DESCRIPTOR, full_store(DESCRIPTOR, DATA)))
        return network

    async def plain(self, network: PeerNetwork) -> Stranger:
        """A connection without TLS."""
        stranger: Stranger = await connectProtocol(TCP4ClientEndpoint(self.reactor, HOST, network.port), Stranger())
        await self.until(lambda: network.links)
        return stranger

    async def tls(self, network: PeerNetwork, context: Any) -> Stranger:
        endpoint = wrapClientTLS(context, TCP4ClientEndpoint(self.reactor, HOST, network.port))
        stranger: Stranger = await connectProtocol(endpoint, Stranger())
        return stranger

    async def sent_away(self, network: PeerNetwork, stranger: Stranger, why: Why) -> None:
        await stranger.lost
        await self.until(lambda: not network.links)
        self.assertEqual(stranger.heard, b"")
        self.assertEqual(network.endings, {why: 1})

    async def test_what_is_neither(self) -> None:
        for first in (b"GET / HTTP/1.1\r\n", b"\x00", b"\x15\x03\x01"):
            seed = self.seed(clear_text=True)
            stranger = await self.plain(seed)
            stranger.transport.write(first)  # type: ignore[union-attr]
            await self.sent_away(seed, stranger, Why.NO_HANDSHAKE)

    async def test_tls_that_breaks_off(self) -> None:
        seed = self.seed()
        stranger = await self.plain(seed)
        stranger.transport.write(b"\x16\x03\x01\x00\x05hello")  # type: ignore[union-attr]
        await stranger.lost
        await self.until(lambda: not seed.links)
        self.assertEqual(seed.endings, {Why.NO_HANDSHAKE: 1})

    async def test_another_application_protocol(self) -> None:
        for names in ([b"h2"], []):
            seed = self.seed()
            stranger = await self.tls(seed, pinned_client_context(create_identity(), seed.node_id, alpn=names))
            stranger.greet(DESCRIPTOR.handshake_hash)
            await self.sent_away(seed, stranger, Why.WRONG_PROTOCOL)

    async def test_we_call_somebody_of_another_application_protocol(self) -> None:
        other = self.node(listening=False)
        identity = create_identity()
        factory = TLSMemoryBIOFactory(
            server_context(identity, alpn=[b"h2"]), False, Factory.forProtocol(Stranger), self.time
        )
        port = self.reactor.listenTCP(0, factory, interface=HOST)
        self.addCleanup(port.stopListening)
        share = Share(DESCRIPTOR.resource_id, DESCRIPTOR, full_store(DESCRIPTOR, DATA))
        other.share(share)
        call = other.dial(share, HOST, port.getHost().port, identity.node_id)
        await self.until(lambda: not other.links)
        await self.assertFailure(call, Exception)
        self.assertEqual(other.endings, {Why.WRONG_PROTOCOL: 1})

    async def test_no_certificate(self) -> None:
        seed = self.seed()
        stranger = await self.tls(seed, CertificateOptions(acceptableProtocols=list(ALPN)))
        stranger.greet(DESCRIPTOR.handshake_hash)
        await self.sent_away(seed, stranger, Why.NO_CERTIFICATE)

    async def test_another_key_than_expected(self) -> None:
        seed, leech = self.seed(), self.seed()
        share = self.only_share(leech)
        call = leech.dial(share, HOST, seed.port, "ab" * 32)
        await self.until(lambda: not seed.links and not leech.links)
        await self.assertFailure(call, IdentityMismatch)
        self.assertEqual(leech.endings, {Why.WRONG_KEY: 1})

    def only_share(self, network: PeerNetwork) -> Share:
        (swarm,) = network._swarms.values()
        assert isinstance(swarm.shared, Share)
        return swarm.shared

    async def test_who_says_nothing_and_who_stops_in_the_middle(self) -> None:
        handshake = b"\x13BitTorrent protocol"
        for clear_text, said in ((False, b""), (True, b""), (True, handshake), (False, b"\x16\x03\x01\x02\x00")):
            seed = self.seed(clear_text=clear_text)
            stranger = await self.plain(seed)
            await self.pass_time(HANDSHAKE_SECONDS / 2)
            stranger.transport.write(said)  # type: ignore[union-attr]
            await self.turn(5)
            await self.pass_time(HANDSHAKE_SECONDS / 2 - 1)
            self.assertEqual(seed.links, 1)
            # Since TCP is up: who begins late has no more time.
            await self.pass_time(1)
            await self.sent_away(seed, stranger, Why.LATE)

    async def test_when_the_node_goes_visitors_go(self) -> None:
        seed = self.seed()
        stranger = await self.plain(seed)
        closing = seed.close()
        await stranger.lost
        await self.until(lambda: closing.called)

    async def test_who_leaves_without_a_word(self) -> None:
        seed = self.seed()
        stranger = await self.plain(seed)
        stranger.transport.loseConnection()  # type: ignore[union-attr]
        await self.sent_away(seed, stranger, Why.LOST)

    async def test_a_node_that_came_back_replaces_what_is_left_of_it(self) -> None:
        seed = self.seed()
        share = self.only_share(seed)
        identity = create_identity()
        first = self.node(identity, listening=False)
        ours = Share(DESCRIPTOR.resource_id, DESCRIPTOR)
        first.share(ours)
        await self.joins(first.dial(ours, HOST, seed.port, seed.node_id))
        await self.until(lambda: share.links)
        (before,) = share.links
        # The same key again: it would not call if it still had a link.
        second = self.node(identity, listening=False)
        again = Share(DESCRIPTOR.resource_id, DESCRIPTOR)
        second.share(again)
        await self.joins(second.dial(again, HOST, seed.port, seed.node_id))
        await self.until(lambda: share.links and share.links != [before] and before not in share.links)
        self.assertEqual(len(share.links), 1)

    async def joins(self, call: Any) -> None:
        await self.until(lambda: call.called)
        await call


class Counting(SynchronousTestCase):
    """Bounds, without sockets."""

    def admit(self, register: Register, host: str) -> bool:
        return register.admits(Visitor(self.door, host))

    def setUp(self) -> None:
        class Household:
            clear_text = False

            def __init__(self) -> None:
                self.register = Register(Bounds(links=100, half_open=6, per_address=2))

            def admits(self, visitor: Visitor) -> bool:
                return self.register.admits(visitor)

            def take(self, *, secure: bool) -> Any:
                raise AssertionError("nobody becomes a link")

            def gone(self, visitor: Visitor, why: Why | None) -> None:
                self.register.left(visitor, why)

        self.household = Household()
        self.door = Door(self.household, server_context(create_identity()), Clock())

    def come(self, *addresses: Any) -> list[bool]:
        return [self.door.buildProtocol(address) is not None for address in addresses]

    def test_an_address_has_two(self) -> None:
        one, other = IPv4Address("TCP", "192.0.2.1", 1), IPv4Address("TCP", "192.0.2.2", 1)
        self.assertEqual(self.come(one, one, one, other, other, other), [True, True, False, True, True, False])
        self.assertEqual(self.household.register.endings, {Why.TOO_MANY: 2})

    def test_so_has_a_64_of_ipv6(self) -> None:
        here = [IPv6Address("TCP", f"2001:db8::{number:x}", 1) for number in range(1, 4)]
        there = IPv6Address("TCP", "2001:db8:0:1::1", 1)
        self.assertEqual(self.come(*here, there), [True, True, False, True])

    def test_an_ipv4_address_is_one_in_both_forms(self) -> None:
        plain, mapped = IPv4Address("TCP", "192.0.2.1", 1), IPv6Address("TCP", "::ffff:192.0.2.1", 1)
        self.assertEqual(self.come(plain, mapped, plain), [True, True, False])

    def test_half_open_ones_are_bounded(self) -> None:
        self.assertEqual(
            self.come(*(IPv4Address("TCP", f"192.0.2.{number}", 1) for number in range(7))), [True] * 6 + [False]
        )
