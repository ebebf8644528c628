"""How do the bytes of one HTTP connection reach a fetch, and how is the connection let go at once?

A lane is one connection to one server, with one request at a time. treq speaks HTTP; below it stands an agent that
asks for identity encoding, keeps hold of the connection so that it can be aborted (a response's own transport can
only say goodbye politely and then waits for a server that goes on sending), and refuses encoded bodies.
"""

import sys
from collections.abc import Sequence
from typing import Any, cast

import attrs
from treq.client import HTTPClient
from treq.response import _Response
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from p2sp.net.addresses import Network
from p2sp.net.client_endpoints import HEADERS, ClientEndpoints
from p2sp.sources.interfaces import ISpanSink, SourceError, SourceGone, SourceStalled

CONNECT_TIMEOUT = 10.0
FIRST_BYTE_TIMEOUT = 15.0
SILENCE_TIMEOUT = 10.0
USER_AGENT = b"p2sp/0.1"


@attrs.define
class Deadlines:
    """Seconds to wait: for a connection, for the first byte of an answer, between two deliveries of a body."""

    connect: float = CONNECT_TIMEOUT
    first_byte: float = FIRST_BYTE_TIMEOUT
    silence: float = SILENCE_TIMEOUT


@implementer(IAgent)
@attrs.define
class _PlainAgent:
    """Innermost agent: whatever is above asked for, bodies come as they are stored."""

    agent: Agent
    secure: bool = False

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        if self.secure and not uri.startswith(b"https:"):
            raise SourceGone(f"redirect from https to {uri.decode('ascii', 'replace')} refused")
        self.secure = uri.startswith(b"https:")
        headers = headers.copy() if headers is not None else Headers()
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        if not headers.hasHeader(b"User-Agent"):
            headers.setRawHeaders(b"User-Agent", [USER_AGENT])
        d: Deferred[IResponse] = self.agent.request(method, uri, headers, bodyProducer)
        return d.addCallback(self._refuse_encoded)

    def _refuse_encoded(self, response: IResponse) -> IResponse:
        coding = b", ".join(response.headers.getRawHeaders(b"content-encoding", [])).strip().lower()
        if coding not in (b"", b"identity") and response.code in (200, 206):
            raise SourceGone(f"server encodes the body ({coding.decode('ascii', 'replace')}) though asked not to")
        return response


@attrs.frozen
class Answer:
    """Status and header fields of a response, before its body."""

    status: int
    headers: Headers
    url: str
    length: int | None

    def field(self, name: str) -> str | None:
        """A header field's values joined as one, or None."""
        values = self.headers.getRawHeaders(name)
        return ", ".join(values) if values else None


class _Body(Protocol):
    """The body of one response, delivered to one fetch after another as long as they continue each other."""

    def __init__(self, lane: "Lane", position: int) -> None:
        self.lane = lane
        self.position = position
        self.sink: ISpanSink | None = None
        self.skip_to = position
        self.stop = position
        self.done: Deferred[None] | None = None
        self.open_ended = False
        self.early: list[bytes] = []
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.lane.heard()
        if self.sink is None:
            self.early.append(data)
            return
        if self.position < self.skip_to:
            skipped = min(len(data), self.skip_to - self.position)
            self.position += skipped
            data = data[skipped:]
            if not data:
                return
        room = self.stop - self.position
        if len(data) > room:
            self.early.append(data[room:])
            data = data[:room]
        if data:
            at = self.position
            self.position += len(data)
            self.sink.received(at, data)
        self._settle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason
        if self.sink is not None:
            self._settle()

    def serve(self, skip_to: int, stop: int, sink: ISpanSink) -> "Deferred[None]":
        """Give the sink the bytes from `skip_to` to `stop`."""
        self.skip_to, self.stop, self.sink = skip_to, stop, sink
        done: Deferred[None] = Deferred(self._cancelled)
        self.done = done
        early, self.early = self.early, []
        for data in early:
            if self.sink is None:
                self.early.append(data)
            else:
                self.dataReceived(data)
        if self.done is not None:
            self._settle()
        return done

    def _settle(self) -> None:
        if self.done is None:
            return
        if self.position >= self.stop and self.position >= self.skip_to:
            self._fire(None)
        elif self.ended is not None and not self.early:
            whole = self.ended.check(ResponseDone, PotentialDataLoss)
            if whole and self.open_ended:
                self._fire(None)
                return
            if whole or self.ended.check(ConnectionDone):
                why = f"answer ended at byte {self.position}, {self.stop - self.position} short"
            else:
                why = f"connection lost at byte {self.position}: {reason_of(self.ended)}"
            self._fire(Failure(SourceError(f"{self.lane.label}: {why}")))

    def _fire(self, result: Failure | None) -> None:
        done, self.done, self.sink = self.done, None, None
        assert done is not None
        self.lane.body_idle()
        if result is None:
            done.callback(None)
        else:
            done.errback(result)

    def _cancelled(self, _: "Deferred[None]") -> None:
        self.done = self.sink = None
        self.lane.abort()

    def fail(self, error: SourceError) -> None:
        """End the running fetch with an error."""
        if self.done is not None:
            self._fire(Failure(error))


@implementer(IPushProducer)
class Lane:
    """One connection to one server. `position` is where the held body stands, None without one."""

    def __init__(
        self,
        reactor: Any,
        label: str,
        policy: IPolicyForHTTPS,
        *,
        bind_address: str | None = None,
        deadlines: Deadlines | None = None,
        allowed: Sequence[Network] | None = None,
    ) -> None:
        self.label = label
        self._reactor = reactor
        self._deadlines = deadlines or Deadlines()
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 1
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = 60
        self._endpoints = ClientEndpoints(reactor, policy, bind_address, self._deadlines.connect, allowed)
        self._agent = Agent.usingEndpointFactory(reactor, self._endpoints, pool=self._pool)
        self._body: _Body | None = None
        self._response: _Response | None = None
        self._silence: IDelayedCall | None = None
        self._paused = False

    @property
    def position(self) -> int | None:
        """The next byte of the body that is held open, if there is one."""
        return None if self._body is None or self._body.ended is not None else self._body.position

    async def request(self, url: str, headers: Headers) -> Answer:
        """Send a GET and read the answer's head; its body waits for `body_at`. Raises SourceError."""
        self.abort_body()
        self._endpoints.most_bytes = HEADERS
        client = HTTPClient(cast(IAgent, _PlainAgent(self._agent)))
        d = client.request("GET", url, headers=headers, unbuffered=True, reactor=self._reactor)
        late = False

        def too_late() -> None:
            nonlocal late
            late = True
            d.cancel()

        timer = self._reactor.callLater(self._deadlines.connect + self._deadlines.first_byte, too_late)
        try:
            response = await d
        except CancelledError:
            self.abort()
            if late:
                raise SourceStalled(f"{self.label}: no answer within {self._deadlines.first_byte:g} s") from None
            raise
        except SourceError:
            self.abort()
            raise
        except Exception as error:
            self.abort()
            raise SourceError(f"{self.label}: {reason_of(Failure(error))}") from error
        finally:
            if timer.active():
                timer.cancel()
        self._response = response
        # The head was bounded; a body is as long as it is, and its reader knows where to stop.
        self._endpoints.most_bytes = sys.maxsize
        length = response.length if isinstance(response.length, int) else None
        final = response.request.absoluteURI
        return Answer(response.code, response.headers, (final or url.encode()).decode("ascii", "replace"), length)

    def body_at(self, position: int) -> None:
        """Open the body of the last answer; its first byte stands at `position` of the resource."""
        assert self._response is not None
        self._body = _Body(self, position)
        self._paused = False
        response, self._response = self._response, None
        response.deliverBody(self._body)
        self.pauseProducing()

    def serve(self, skip_to: int, stop: int, sink: ISpanSink) -> "Deferred[None]":
        """Deliver the held body from `skip_to` to `stop`; bytes before that are thrown away."""
        assert self._body is not None
        sink.register_producer(self)
        done = self._body.serve(skip_to, stop, sink)
        if self._body is not None and self._body.done is not None:
            self.resumeProducing()
        return done

    async def serve_all(self, sink: ISpanSink) -> int:
        """Deliver the held body to its end, wherever that is; its length. Raises SourceError when it is cut off.

        Without a length only the chunked coding tells the end from a broken connection (RFC 9112, 6.3); a body that
        ends with the connection is taken as whole, as every client does.
        """
        assert self._body is not None
        body = self._body
        body.open_ended = True
        await self.serve(body.position, sys.maxsize, sink)
        return body.position

    def cut(self, stop: int) -> None:
        """End the running fetch at `stop`."""
        if self._body is not None and self._body.done is not None:
            self._body.stop = max(stop, self._body.skip_to)
            self._body._settle()

    # -- flow ------------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The disk is behind, or nobody wants the body now."""
        self._paused = True
        self._quiet()
        if self._body is not None and self._body.ended is None and self._body.transport is not None:
            self._body.transport.pauseProducing()  # type: ignore[attr-defined]

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        self.heard()
        if self._body is not None and self._body.ended is None and self._body.transport is not None:
            self._body.transport.resumeProducing()  # type: ignore[attr-defined]

    def stopProducing(self) -> None:
        """Nobody will want any more of it."""
        self.abort()

    def heard(self) -> None:
        """A byte came, or is expected from now: the silence timer starts anew."""
        if self._paused or self._body is None or self._body.done is None:
            return
        if self._silence is not None and self._silence.active():
            self._silence.reset(self._deadlines.silence)
        else:
            self._silence = self._reactor.callLater(self._deadlines.silence, self._silent)

    def _quiet(self) -> None:
        if self._silence is not None and self._silence.active():
            self._silence.cancel()
        self._silence = None

    def _silent(self) -> None:
        self._silence = None
        body = self._body
        self.abort()
        if body is not None:
            body.fail(SourceStalled(f"{self.label}: silent for {self._deadlines.silence:g} s at byte {body.position}"))

    def body_idle(self) -> None:
        """The running fetch has its bytes: hold what follows until the next one wants it."""
        self._quiet()
        if self._body is not None and self._body.ended is None:
            self.pauseProducing()

    # -- end -------------------------------------------------------------------------------------------------

    def abort_body(self) -> None:
        """Make the connection ready for another request; one with an unread body is not worth keeping."""
        if self._response is not None or (self._body is not None and self._body.ended is None):
            self.abort()
        self._body = None

    def abort(self) -> None:
        """Cut the connection now."""
        self._quiet()
        self._response = None
        self._endpoints.abort_all()

    def close(self) -> None:
        """Cut the connection and forget it."""
        body, self._body = self._body, None
        self.abort()
        if body is not None:
            body.fail(SourceGone(f"{self.label}: closed"))


def reason_of(failure: Failure) -> str:
    """The innermost reason of a failed request, in a few words."""
    error = failure.value
    if isinstance(error, ResponseFailed) and error.reasons:
        return reason_of(error.reasons[-1] if len(error.reasons) == 1 else error.reasons[0])
    reasons = getattr(error, "reasons", None)
    if isinstance(reasons, list) and reasons:
        return reason_of(reasons[0])
    text = str(error) or type(error).__name__
    return text.rstrip(".").strip()
