"""Through which connections does an HTTP client call, and how are they surely ended?"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final, cast

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IHandshakeListener,
    IHostnameResolver,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ProxyAgent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from p2sp.net.addresses import GuardedResolver, Network, check_fetch_target
from p2sp.net.errors import BadAnswer
from p2sp.net.proxy import Proxy, ProxySettings
from p2sp.net.reading import Gathering, TLSEndpoint, narrow, unread, widen
from p2sp.net.tunnel import ProxyEndpoint, TunnelEndpoint

# What the headers of an answer may take; Twisted's client would read them without end.
HEADERS: Final = 256 * 1024


class Stage(Enum):
    """What a request waits for; each may take a time of its own."""

    CONNECTION = "connection"
    HANDSHAKE = "TLS handshake"
    ANSWER = "answer"


@implementer(IHandshakeListener)
class _Connection(ProtocolWrapper, Gathering):
    """A connection that ends at once.

    A client that closes has its answer or wants none; over TLS a polite goodbye would wait for the server's,
    and take in everything the server still sends.
    """

    transport: Any
    factory: Any
    _received = 0
    _overrun = False
    _lost = False

    def makeConnection(self, transport: Any) -> None:
        self.factory.owner.opened.add(self)
        widen(transport)
        if self.factory.owner.window is not None:
            narrow(transport, self.factory.owner.window)
        secure = isinstance(transport, TLSMemoryBIOProtocol)
        self.factory.owner.reached(Stage.HANDSHAKE if secure else Stage.ANSWER)
        super().makeConnection(transport)

    def handshakeCompleted(self) -> None:
        self.factory.owner.reached(Stage.ANSWER)

    def write(self, data: bytes) -> None:
        # A client writes when it asks: what comes from now on answers that.
        self._received = 0
        super().write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self._received = 0
        super().writeSequence(data)

    def dataReceived(self, data: bytes) -> None:
        if self.kept(data):
            return
        self._received += len(data)
        if self._received > self.factory.owner.most_bytes:
            self._overrun = True
            self.loseConnection()
        else:
            super().dataReceived(data)

    def loseConnection(self) -> None:
        self.disconnecting = True
        # A pool may let go of a connection that the server has ended long since.
        if not self._lost:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._overrun:
            url = f"the server at {self.getPeer().host}"
            reason = Failure(
                BadAnswer(url, f"it is larger than {self.factory.owner.most_bytes} bytes with its headers")
            )
        super().connectionLost(reason)
        self.factory.owner.lost(self)


class _Connections(WrappingFactory):
    protocol: Any = _Connection
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, owner: "ClientEndpoints") -> None:
        super().__init__(wrapped)
        # Twisted's own client would write two lines into the log for each connection.
        cast(Any, wrapped).noisy = False
        self.owner = owner


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _Endpoint:
    inner: IStreamClientEndpoint
    owner: "ClientEndpoints"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.owner.reached(Stage.CONNECTION)
        connecting: Deferred[Any] = self.inner.connect(_Connections(protocolFactory, self.owner))
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IReactorPluggableNameResolver)
class _GuardedReactor:
    """The reactor, with names resolved to nothing but addresses that may be dialled."""

    def __init__(self, reactor: Any, allowed: Sequence[Network]) -> None:
        self._reactor = reactor
        self.nameResolver = GuardedResolver(reactor.nameResolver, allowed)

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Not for this one: the guard stays."""
        return self.nameResolver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


@implementer(IAgentEndpointFactory)
class ClientEndpoints:
    """Makes an Agent's endpoints: TLS by `policy`, from `bind_address` if given, every connection abortable.

    With `allowed` only public addresses and those networks are dialled, whatever a name resolves to or a redirect
    says; None is for a client whose own user named the target. `proxy` says which servers are reached through another
    host: https by a tunnel, http through `RoutedAgent`. `window`: bytes that may wait unread; None for as many as the
    kernel likes.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        policy: IPolicyForHTTPS,
        bind_address: str | None,
        timeout: float,
        allowed: Sequence[Network] | None = None,
        proxy: ProxySettings | None = None,
        window: int | None = None,
    ) -> None:
        self.window = window
        self._allowed = allowed
        self._proxy = proxy
        self._names: Any = reactor if allowed is None else _GuardedReactor(reactor, allowed)
        self.opened: set[_Connection] = set()
        self.reached: Callable[[Stage], None] = lambda stage: None
        """Told of each stage that a request gets to; over a connection that is there already of none."""
        self.most_bytes = HEADERS
        self._reactor = reactor
        self._policy = policy
        self._bind = None if bind_address is None else (bind_address, 0)
        self._timeout = timeout
        self._waiting: list[Deferred[None]] = []

    def expect(self, size: int) -> None:
        """Let an answer's body be as large as `size` from now on; its framing may be as large again."""
        self.most_bytes = max(self.most_bytes, 2 * size + HEADERS)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint for a URL's host and port. Raises ForbiddenTarget for an address that must not be dialled."""
        host = uri.host.decode("ascii").strip("[]")
        proxy = self.proxy_for(uri)
        if proxy is None:
            endpoint = self._to(host, uri.port)
        else:
            endpoint = TunnelEndpoint(self._named(proxy), proxy, host, uri.port)
        if uri.scheme == b"https":
            endpoint = TLSEndpoint(self._policy.creatorForNetloc(uri.host, uri.port), endpoint, self._reactor)
        return _Endpoint(endpoint, self)

    def proxy_for(self, uri: URI) -> Proxy | None:
        """The proxy that leads to a URL's server; None for the direct way."""
        if self._proxy is None:
            return None
        return self._proxy.proxy_for(uri.scheme.decode("ascii"), uri.host.decode("ascii"), uri.port)

    def endpoint_of(self, proxy: Proxy) -> IStreamClientEndpoint:
        """The endpoint of a proxy itself. Raises ForbiddenTarget."""
        return _Endpoint(self._named(proxy), self)

    def _named(self, proxy: Proxy) -> IStreamClientEndpoint:
        return ProxyEndpoint(self._to(proxy.host, proxy.port), proxy)

    def _to(self, host: str, port: int) -> IStreamClientEndpoint:
        kind: Any = HostnameEndpoint
        if self._allowed is not None and (isIPAddress(host) or isIPv6Address(host)):
            check_fetch_target(host, self._allowed)
        # An address needs no resolver, which would take a thread.
        if isIPAddress(host):
            kind = TCP4ClientEndpoint
        elif isIPv6Address(host):
            kind = TCP6ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(self._names, host, port, timeout=self._timeout, bindAddress=self._bind)
        return endpoint

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self.opened.discard(connection)
        if not self.opened:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    @property
    def unread(self) -> int:
        """Bytes that have come over all connections and that nobody has read yet."""
        return sum(unread(connection.transport) for connection in self.opened)

    def abort_all(self) -> Deferred[None]:
        """Cut every connection; fires when all are gone."""
        for connection in list(self.opened):
            connection.loseConnection()
        if not self.opened:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        return done


@implementer(IAgent)
class RoutedAgent:
    """An Agent for every way there is: direct, by a tunnel, and for http through a proxy that asks in our place."""

    def __init__(self, reactor: Any, endpoints: ClientEndpoints, pool: HTTPConnectionPool) -> None:
        self._reactor = reactor
        self._endpoints = endpoints
        self._pool = pool
        self._direct = Agent.usingEndpointFactory(reactor, endpoints, pool=pool)
        self._proxied: dict[Proxy, ProxyAgent] = {}

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        parsed = URI.fromBytes(uri)
        proxy = self._endpoints.proxy_for(parsed) if parsed.scheme == b"http" else None
        asked: Deferred[IResponse]
        if proxy is None:
            asked = self._direct.request(method, uri, headers, bodyProducer)
            return asked
        if proxy not in self._proxied:
            self._proxied[proxy] = ProxyAgent(self._endpoints.endpoint_of(proxy), self._reactor, self._pool)
        headers = Headers() if headers is None else headers.copy()
        if proxy.authorization is not None:
            headers.setRawHeaders(b"Proxy-Authorization", [proxy.authorization])
        asked = self._proxied[proxy].request(method, uri.partition(b"#")[0], headers, bodyProducer)
        return asked
