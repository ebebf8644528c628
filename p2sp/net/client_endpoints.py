"""Through which connections does an HTTP client call, and how are they surely ended?"""

from typing import Any

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.iweb import IAgentEndpointFactory, IPolicyForHTTPS
from zope.interface import implementer


class _Connection(ProtocolWrapper):
    """A connection that ends at once.

    A client that closes has its answer or wants none; over TLS a polite goodbye would wait for the server's,
    and take in everything the server still sends.
    """

    transport: Any
    factory: Any

    def makeConnection(self, transport: Any) -> None:
        self.factory.opened.add(self)
        super().makeConnection(transport)

    def loseConnection(self) -> None:
        self.disconnecting = True
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.factory.lost(self)


class _Connections(WrappingFactory):
    protocol: Any = _Connection
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, owner: "ClientEndpoints") -> None:
        super().__init__(wrapped)
        self.opened = owner.opened
        self.lost = owner.lost


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _Endpoint:
    inner: IStreamClientEndpoint
    owner: "ClientEndpoints"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting: Deferred[Any] = self.inner.connect(_Connections(protocolFactory, self.owner))
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class ClientEndpoints:
    """Makes an Agent's endpoints: TLS by `policy`, from `bind_address` if given, every connection abortable."""

    def __init__(
        self, reactor: IReactorTime, policy: IPolicyForHTTPS, bind_address: str | None, timeout: float
    ) -> None:
        self.opened: set[_Connection] = set()
        self._reactor = reactor
        self._policy = policy
        self._bind = None if bind_address is None else (bind_address, 0)
        self._timeout = timeout
        self._waiting: list[Deferred[None]] = []

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint for a URL's host and port."""
        host = uri.host.decode("ascii").strip("[]")
        kind: Any = HostnameEndpoint
        # An address needs no resolver, which would take a thread.
        if isIPAddress(host):
            kind = TCP4ClientEndpoint
        elif isIPv6Address(host):
            kind = TCP6ClientEndpoint
        endpoint = kind(self._reactor, host, uri.port, timeout=self._timeout, bindAddress=self._bind)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _Endpoint(endpoint, self)

    def lost(self, connection: _Connection) -> None:
        """A connection is gone."""
        self.opened.discard(connection)
        if not self.opened:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def abort_all(self) -> Deferred[None]:
        """Cut every connection; fires when all are gone."""
        for connection in list(self.opened):
            connection.loseConnection()
        if not self.opened:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        return done
