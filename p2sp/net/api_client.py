"""How does one role call another's JSON API without ever waiting or reading without end?"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from p2sp.net.addresses import parse_base_url
from p2sp.net.client_endpoints import ClientEndpoints
from p2sp.net.errors import BadAnswer, NetError, Refused, Unreachable, in_words

T = TypeVar("T")

MAX_ANSWER: Final = 4 * 1024 * 1024
MOST_CONNECTIONS: Final = 8
# Shorter than a server's idle timeout, so that a call does not meet a connection that is just being closed.
IDLE_CONNECTION: Final = 30.0
CLOSING: Final = 2.0


@implementer(IBodyProducer)
class _Body:
    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def stopProducing(self) -> None:
        """Nothing is under way: the body is written at once."""

    pauseProducing = stopProducing
    resumeProducing = stopProducing


class _Reader(Protocol):
    """Collects an answer's body up to a limit; cancelling or exceeding cuts the connection."""

    transport: Any

    def __init__(self, url: str, limit: int) -> None:
        self._url = url
        self._left = limit
        self._limit = limit
        self._chunks: list[bytes] = []
        self.done: Deferred[bytes] = Deferred(lambda _: self._cut())

    def _cut(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._chunks.append(data)
        elif not self.done.called:
            self.done.errback(BadAnswer(self._url, f"it is larger than {self._limit} bytes"))
            self._cut()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone):
            self.done.callback(b"".join(self._chunks))
        else:
            self.done.errback(Unreachable(self._url, "the answer broke off"))


class ApiClient:
    """Calls the JSON API at one base URL over a few kept connections.

    A call whose connection breaks before any answer is made once more: the calls of this network may be repeated.
    Every call ends within `timeout` seconds, headers and body together, and reads at most `max_answer` bytes.
    `bind_address` is the local address to call from. All failures are NetError: Unreachable, Refused or
    BadAnswer. `agent` replaces the network, for tests that answer from memory.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        base_url: str,
        *,
        policy: IPolicyForHTTPS,
        bind_address: str | None = None,
        timeout: float = 10.0,
        max_answer: int = MAX_ANSWER,
        agent: IAgent | None = None,
    ) -> None:
        self.base_url = parse_base_url(base_url)
        self._reactor = reactor
        self._timeout = timeout
        self._max_answer = max_answer
        self._endpoints = ClientEndpoints(reactor, policy, bind_address, timeout)
        # Twisted calls again for GET alone; see `_exchange`.
        pool: Any = HTTPConnectionPool(reactor, persistent=True)
        self._pool = pool
        self._pool.retryAutomatically = False
        self._pool.maxPersistentPerHost = MOST_CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE_CONNECTION
        self._agent = agent or Agent.usingEndpointFactory(reactor, self._endpoints, self._pool)
        self._calls: set[Deferred[Any]] = set()
        self._closed = False

    async def get(self, path: str, answer: type[T], params: Mapping[str, object] | None = None) -> T:
        """Get `path` (with a query of `params`, None left out) and read the JSON answer as `answer`.

        Raises Unreachable, Refused or BadAnswer.
        """
        return _decode(*await self._call("GET", path, params, None, self._max_answer), answer)

    async def post(self, path: str, body: msgspec.Struct, answer: type[T]) -> T:
        """Post `body` as JSON and read the answer as `answer` (`type(None)` when none is expected).

        Raises Unreachable, Refused or BadAnswer.
        """
        return await self.send("POST", path, body, answer)

    async def send(self, method: str, path: str, body: msgspec.Struct | bytes | None, answer: type[T]) -> T:
        """The same for any method; a body of bytes goes as it is.

        Raises Unreachable, Refused or BadAnswer.
        """
        return _decode(*await self._call(method, path, None, body, self._max_answer), answer)

    async def get_bytes(self, path: str, max_bytes: int, params: Mapping[str, object] | None = None) -> bytes:
        """Get `path` as it is, at most `max_bytes` of it.

        Raises Unreachable, Refused or BadAnswer (when it is larger).
        """
        return (await self._call("GET", path, params, None, max_bytes))[1]

    def close(self) -> Deferred[None]:
        """Give up all calls and cut all connections; fires within two seconds whatever the other side does."""
        self._closed = True
        for call in list(self._calls):
            call.cancel()
        self._forget_idle()
        closing = self._endpoints.abort_all()
        closing.addTimeout(CLOSING, self._reactor, onTimeoutCancel=lambda _result, _timeout: None)
        # An answer that was complete when it was cut has put its connection back meanwhile.
        return closing.addCallback(lambda _: self._forget_idle())

    def _forget_idle(self) -> None:
        self._pool.closeCachedConnections().addErrback(lambda _: None)

    async def _call(
        self,
        method: str,
        path: str,
        params: Mapping[str, object] | None,
        body: msgspec.Struct | bytes | None,
        limit: int,
    ) -> tuple[str, bytes]:
        url = self._url(path, params)
        if self._closed:
            raise Unreachable(url, "this client was closed")
        self._endpoints.expect(max(limit, self._max_answer))
        working = Deferred.fromCoroutine(self._exchange(method, url, body, limit))
        self._calls.add(working)
        timed_out = False

        def late() -> None:
            nonlocal timed_out
            timed_out = True
            working.cancel()

        timer = self._reactor.callLater(self._timeout, late)
        try:
            return url, await working
        except Exception as error:
            # A cancelled request comes back in several shapes, depending on how far it got.
            if timed_out:
                raise Unreachable(url, f"no answer within {self._timeout:g} s") from None
            if self._closed:
                raise Unreachable(url, "this client was closed") from None
            if isinstance(error, NetError):
                raise
            raise _explained(url, error) from error
        finally:
            self._calls.discard(working)
            if timer.active():
                timer.cancel()

    async def _exchange(self, method: str, url: str, body: msgspec.Struct | bytes | None, limit: int) -> bytes:
        headers = Headers({"Accept-Encoding": ["identity"], "User-Agent": ["p2sp"]})
        producer: IBodyProducer | None = None
        if body is not None:
            raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
            kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
            headers.setRawHeaders("Content-Type", [kind])
            producer = _Body(raw)
        response: IResponse
        try:
            response = await self._agent.request(method.encode(), url.encode("ascii"), headers, producer)
        except ResponseNeverReceived as error:
            if not all(each.check(ConnectionLost, ConnectionDone) for each in error.reasons):
                raise
            # Most likely the server closed the kept connection just now. One call more, over a new one, does
            # no harm: every call of ours may be repeated.
            self._forget_idle()
            response = await self._agent.request(method.encode(), url.encode("ascii"), headers, producer)
        reader = _Reader(url, limit if response.code < 300 else min(limit, self._max_answer))
        response.deliverBody(reader)
        data = await reader.done
        if not 200 <= response.code < 300:
            raise _refusal(url, response, data)
        return data

    def _url(self, path: str, params: Mapping[str, object] | None) -> str:
        given = {name: value for name, value in (params or {}).items() if value is not None}
        query = f"?{urlencode(given)}" if given else ""
        return f"{self.base_url}{quote(path, safe='/%:@!$&()*+,;=~-._')}{query}"


def _decode(url: str, data: bytes, answer: type[T]) -> T:
    if not data and answer is type(None):
        return None
    try:
        return msgspec.json.decode(data, type=answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(url, str(error)) from error


class _ErrorDetail(msgspec.Struct):
    code: str = ""
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetail


def _refusal(url: str, response: IResponse, data: bytes) -> NetError:
    try:
        detail = msgspec.json.decode(data, type=_ErrorBody).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        detail = _ErrorDetail()
    message = detail.message or response.phrase.decode("latin-1") or "no reason given"
    return Refused(url, response.code, detail.code, message)


def _explained(url: str, error: Exception) -> Exception:
    """The reason a person can use: the innermost one, without the layers Twisted wraps around it."""
    reasons = getattr(error, "reasons", None)
    if reasons:
        inner = reasons[0].value
        if isinstance(inner, NetError):
            return inner
        return _explained(url, inner) if isinstance(inner, Exception) else Unreachable(url, str(inner))
    if isinstance(error, CancelledError):
        return error
    if isinstance(error, ConnectingCancelledError):
        return CancelledError()
    if isinstance(error, DNSLookupError):
        return Unreachable(url, "its name cannot be resolved")
    return Unreachable(url, in_words(error))
