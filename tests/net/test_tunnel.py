"""Does a tunnel carry bytes both ways, and does a proxy that does not lead anywhere end it at once?"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import TCPTimedOutError, getConnectError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.errors import ProxyRefused, Unreachable
from p2sp.net.proxy import parse_proxy
from p2sp.net.tunnel import MAX_ANSWER, ProxyEndpoint, TunnelEndpoint


class Inner(Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class TunnelTests(SynchronousTestCase):
    """A proxy played by hand."""

    def begin(self, proxy: str = "http://10.0.0.1:3128", host: str = "h.example") -> tuple["Deferred[IProtocol]", Any]:
        self.reactor = MemoryReactorClock()
        given = parse_proxy(proxy)
        endpoint = TunnelEndpoint(TCP4ClientEndpoint(self.reactor, given.host, given.port), given, host, 443)
        self.inner = Inner()
        connecting = endpoint.connect(Factory.forProtocol(lambda: self.inner))
        factory = self.reactor.tcpClients[0][2]
        knock: Any = factory.buildProtocol(None)
        self.transport = Transport()
        knock.makeConnection(self.transport)
        return connecting, knock

    def test_opens(self) -> None:
        connecting, knock = self.begin("http://me:pw@10.0.0.1:3128")
        self.assertEqual(
            self.transport.value(),
            b"CONNECT h.example:443 HTTP/1.1\r\nHost: h.example:443\r\nProxy-Authorization: Basic bWU6cHc=\r\n\r\n",
        )
        self.transport.clear()
        for byte in b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nhel":
            knock.dataReceived(bytes([byte]))
        knock.dataReceived(b"lo")
        self.assertIs(self.successResultOf(connecting), self.inner)
        self.assertEqual(self.inner.got, b"hello")
        assert self.inner.transport is not None
        self.inner.transport.write(b"hi")
        self.assertEqual(self.transport.value(), b"hi")
        knock.connectionLost(Failure(ConnectionError()))
        assert self.inner.lost is not None
        self.assertTrue(self.inner.lost.check(ConnectionError))

    def test_ipv6(self) -> None:
        self.begin(host="::1")
        self.assertTrue(self.transport.value().startswith(b"CONNECT [::1]:443 "))

    def test_refusals(self) -> None:
        for answer, words in (
            (b"HTTP/1.1 407 Who are you?\r\n\r\n", "407 Who are you?"),
            (b"HTTP/1.0 503\r\n\r\n", "503"),
            (b"SSH-2.0-x\r\n\r\n", "does not answer as an HTTP proxy"),
            (b"HTTP/1.1 200 OK\r\nX: " + b"y" * MAX_ANSWER, "has no end"),
        ):
            connecting, knock = self.begin()
            knock.dataReceived(answer)
            error = self.failureResultOf(connecting, ProxyRefused)
            self.assertIn("the proxy 10.0.0.1:3128 does not lead to h.example:443: ", str(error.value))
            self.assertIn(words, str(error.value))
            self.assertTrue(self.transport.aborted)
            knock.connectionLost(Failure(ConnectionError()))

    def test_lost_and_given_up(self) -> None:
        connecting, knock = self.begin()
        knock.connectionLost(Failure(ConnectionError()))
        self.failureResultOf(connecting, ConnectionError)
        connecting, knock = self.begin()
        connecting.cancel()
        self.assertTrue(self.transport.aborted)
        knock.connectionLost(Failure(ConnectionError()))
        self.failureResultOf(connecting)


class ProxyTests(SynchronousTestCase):
    """The connection to a proxy itself."""

    def failing(self, error: Exception) -> Failure:
        reactor = MemoryReactorClock()
        proxy = parse_proxy("http://me:secret@10.0.0.1:3128")
        connecting = ProxyEndpoint(TCP4ClientEndpoint(reactor, proxy.host, proxy.port), proxy).connect(Factory())
        reactor.connectors[0].stopConnecting()
        reactor.tcpClients[0][2].clientConnectionFailed(reactor.connectors[0], Failure(error))
        failure: Failure = self.failureResultOf(connecting)
        return failure

    def test_who_cannot_be_reached_is_the_proxy(self) -> None:
        failure = self.failing(getConnectError((111, "Connection refused")))
        failure.trap(Unreachable)
        self.assertEqual(str(failure.value), "the proxy 10.0.0.1:3128 cannot be reached: Connection refused")

    def test_what_was_too_late_stays_so(self) -> None:
        self.failing(getConnectError((110, "Connection timed out"))).trap(TCPTimedOutError)
