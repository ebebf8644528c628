"""How does a proxy pass our bytes on to a server that only we talk to?"""

import re
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
    TCPTimedOutError,
    TimeoutError,  # noqa: A004 - so it is called there
)
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.net.errors import ProxyRefused, Unreachable, in_words
from p2sp.net.proxy import Proxy

MAX_ANSWER: Final = 16 * 1024
"""Bytes of the largest answer to CONNECT; its end is looked for, its fields are not."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]{0,200}))?\r?\n")
_END: Final = re.compile(rb"\r?\n\r?\n")


@implementer(IStreamClientEndpoint)
@attrs.frozen
class ProxyEndpoint:
    """A proxy's own endpoint, which names it when it cannot be reached: whoever called it was looking for a server."""

    inner: IStreamClientEndpoint
    proxy: Proxy

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting: Deferred[IProtocol] = self.inner.connect(protocolFactory)
        return connecting.addErrback(self._explain)

    def _explain(self, failure: Failure) -> Failure:
        error = failure.value
        late = isinstance(error, TimeoutError | TCPTimedOutError | ConnectingCancelledError)
        if isinstance(error, ConnectError | DNSLookupError) and not late:
            return Failure(Unreachable(str(self.proxy), in_words(error)))
        return failure


class _Knock(Protocol):
    """Asks for the tunnel, and steps out of the way of the protocol that goes through it."""

    def __init__(self, proxy: Proxy, host: str, port: int, wanted: IProtocolFactory, done: "Deferred[IProtocol]"):
        self._proxy = proxy
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._wanted = wanted
        self._done: Deferred[IProtocol] | None = done
        self._head = b""
        self._inner: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self._done is None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
            return
        fields = [f"CONNECT {self._authority} HTTP/1.1", f"Host: {self._authority}"]
        if self._proxy.authorization is not None:
            fields.append(f"Proxy-Authorization: {self._proxy.authorization.decode('ascii')}")
        self.transport.write("\r\n".join([*fields, "", ""]).encode("ascii"))

    def dataReceived(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._head += data
        end = _END.search(self._head)
        if end is None:
            if len(self._head) > MAX_ANSWER:
                self._refuse("its answer to CONNECT has no end")
            return
        status = _STATUS.match(self._head)
        if status is None:
            self._refuse("it does not answer as an HTTP proxy does")
        elif not status[1].startswith(b"2"):
            words = (status[2] or b"").decode("latin-1").strip()
            self._refuse(f"{status[1].decode()} {words}".strip(), int(status[1]))
        else:
            self._pass_on(self._head[end.end() :])

    def _pass_on(self, early: bytes) -> None:
        assert self.transport is not None
        done, self._done = self._done, None
        assert done is not None
        inner: Any = self._wanted.buildProtocol(self.transport.getPeer())
        if inner is None:
            self.transport.abortConnection()  # type: ignore[attr-defined]
            done.errback(Failure(ProxyRefused(str(self._proxy), self._authority, "nobody wants the tunnel")))
            return
        self._inner = inner
        inner.makeConnection(self.transport)
        done.callback(inner)
        if early:
            inner.dataReceived(early)

    def _refuse(self, reason: str, status: int = 0) -> None:
        assert self.transport is not None
        done, self._done = self._done, None
        self._head = b""
        self.transport.abortConnection()  # type: ignore[attr-defined]
        if done is not None:
            done.errback(Failure(ProxyRefused(str(self._proxy), self._authority, reason, status)))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            inner, self._inner = self._inner, None
            inner.connectionLost(reason)
            return
        done, self._done = self._done, None
        if done is not None:
            done.errback(reason)

    def give_up(self) -> None:
        """Nobody waits for the tunnel any more."""
        self._done = None
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


@implementer(IStreamClientEndpoint)
@attrs.frozen
class TunnelEndpoint:
    """An endpoint to `host:port` behind a proxy, by CONNECT (RFC 9110, 9.3.6); `inner` leads to the proxy.

    Connecting fails with ProxyRefused when the proxy says no, and can be cancelled. Whoever connects has the deadline.
    """

    inner: IStreamClientEndpoint
    proxy: Proxy
    host: str
    port: int

    def connect(self, protocolFactory: IProtocolFactory) -> "Deferred[IProtocol]":
        dialling: Deferred[Any] | None = None

        def cancelled(_: Deferred[IProtocol]) -> None:
            if dialling is not None:
                dialling.cancel()
            knock.give_up()

        def failed(failure: Failure) -> None:
            if not done.called:
                done.errback(failure)

        done: Deferred[IProtocol] = Deferred(cancelled)
        knock = _Knock(self.proxy, self.host, self.port, protocolFactory, done)
        protocolFactory.doStart()
        dialling = self.inner.connect(Factory.forProtocol(lambda: knock))
        dialling.addErrback(failed)
        return done
