"""How long does each stage of a request take at the most, and what is said when it takes longer?"""

from typing import Any, cast

from twisted.internet import ssl
from twisted.internet._resolver import HostResolution
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from zope.interface import implementer

from p2sp.net.authority import Authority
from p2sp.net.mirrors import mirror_policy
from p2sp.net.trust import Trust
from p2sp.sources.http_lane import Deadlines, Lane
from p2sp.sources.http_probe import probe
from p2sp.sources.interfaces import SourceStalled
from tests.hostile.origin import Origin
from tests.sources.http_case import HttpCase, reactor

RACE = 0.3
"""Seconds that an address has for itself before the next is tried beside it."""

HASTY = Deadlines(connect=10.0, handshake=0.2, first_byte=0.3)
AUTHORITY = Authority.create("test network")
POLICY = mirror_policy(Trust((AUTHORITY.certificate,)))


class _Transport(StringTransport):
    """As good as TCP to what asks for it, and says whether it was cut."""

    cut = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing waits here."""

    def abortConnection(self) -> None:
        self.cut = True


class StageTests(SynchronousTestCase):
    """In virtual time: a stage has its own seconds, however long the one before it took."""

    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.transport = _Transport()

    def _ask(self, url: str) -> "Deferred[Any]":
        self.lane = Lane(self.reactor, url, POLICY)
        self.addCleanup(self.lane.close)
        return Deferred.fromCoroutine(self.lane.request(url, Headers()))

    def _connect(self) -> None:
        [(_, _, factory, _, _)] = self.reactor.tcpClients
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def _fails(self, asked: "Deferred[Any]", words: str) -> None:
        self.assertIn(words, str(self.failureResultOf(asked, SourceStalled).value))

    def test_no_connection(self) -> None:
        asked = self._ask("http://127.0.0.1/x")
        self.reactor.advance(9.9)
        self.assertNoResult(asked)
        self.reactor.advance(0.2)
        self._fails(asked, "http://127.0.0.1/x: no connection within 10 s")

    def test_no_handshake_after_a_slow_connection(self) -> None:
        asked = self._ask("https://127.0.0.1/x")
        self.reactor.advance(9.9)
        self._connect()
        self.assertEqual(self.transport.value()[:1], b"\x16", "it says hello")
        self.reactor.advance(9.9)
        self.assertNoResult(asked)
        self.assertFalse(self.transport.cut)
        self.reactor.advance(0.2)
        self._fails(asked, "https://127.0.0.1/x: no TLS handshake within 10 s")
        self.assertTrue(self.transport.cut)

    def test_no_answer_after_a_slow_connection(self) -> None:
        asked = self._ask("http://127.0.0.1/x")
        self.reactor.advance(9.9)
        self._connect()
        self.reactor.advance(14.9)
        self.assertNoResult(asked)
        self.reactor.advance(0.2)
        self._fails(asked, "no answer within 15 s")

    def test_no_answer_on_a_connection_that_was_there(self) -> None:
        asked = self._ask("http://127.0.0.1/x")
        self._connect()
        self.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(asked).status, 200)
        self.lane.body_at(0, 0)
        self.reactor.advance(0)
        asked = Deferred.fromCoroutine(self.lane.request("http://127.0.0.1/x", Headers()))
        self.assertEqual(len(self.reactor.tcpClients), 1)
        self.reactor.advance(14.9)
        self.assertNoResult(asked)
        self.reactor.advance(0.2)
        self._fails(asked, "no answer within 15 s")


@implementer(IHostnameResolver)
class _Resolver:
    """Knows every name by these addresses, in this order."""

    def __init__(self, *addresses: IAddress) -> None:
        self._addresses = addresses

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution: Any = HostResolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for address in self._addresses:
            resolutionReceiver.addressResolved(address)
        resolutionReceiver.resolutionComplete()
        return cast(IHostResolution, resolution)


class RaceTests(SynchronousTestCase):
    """A name of several addresses: whoever does not answer at once holds nobody up (RFC 8305)."""

    def test_an_ipv6_address_that_swallows_everything(self) -> None:
        clock: Any = MemoryReactorClock()
        clock.installNameResolver(_Resolver(IPv6Address("TCP", "2001:db8::1", 80), IPv4Address("TCP", "192.0.2.1", 80)))
        lane = Lane(clock, "http://two.test/x", POLICY)
        self.addCleanup(lane.close)
        asked = Deferred.fromCoroutine(lane.request("http://two.test/x", Headers()))
        self.assertEqual([client[0] for client in clock.tcpClients], ["2001:db8::1"])
        clock.advance(RACE)
        self.assertEqual([client[0] for client in clock.tcpClients], ["2001:db8::1", "192.0.2.1"])
        transport = _Transport()
        protocol = clock.tcpClients[1][2].buildProtocol(None)
        protocol.makeConnection(transport)
        self.assertTrue(transport.value().startswith(b"GET /x HTTP/1.1"), "it is asked at once")
        self.assertTrue(clock.connectors[0].stoppedConnecting, "the other is let go")
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        clock.advance(0)
        self.assertEqual(self.successResultOf(asked).status, 200)
        self.assertLessEqual(clock.seconds(), 0.5)


class RealTests(HttpCase):
    """The same over a socket and real TLS, with deadlines that nobody waits for."""

    async def test_a_server_that_never_answers_the_hello(self) -> None:
        self.origin.answer = lambda talk, hit: None  # type: ignore[method-assign]
        work = probe(self.connect(deadlines=HASTY), self.url("mute", scheme="https"))
        await self.fails(work, SourceStalled, "no TLS handshake within 0.2 s")
        self.assertEqual(self.origin.connections, 1)

    async def test_an_answer_behind_a_handshake_that_was_done(self) -> None:
        own = AUTHORITY.issue("index", ["127.0.0.1"], "origin")
        pair = ssl.PrivateCertificate.loadPEM(own.certificate_pem + own.key_pem)
        secure = Origin(reactor, self.data)
        self.port = reactor.listenSSL(0, secure, pair.options(), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        trust = Trust((AUTHORITY.certificate,))
        url = self.url("mute", scheme="https")
        await self.fails(
            probe(self.connect(trust=trust, deadlines=HASTY), url), SourceStalled, "no answer within 0.3 s"
        )
        await self.until(lambda: not secure.open)
