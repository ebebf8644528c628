"""How do the bytes of one HTTP connection reach a fetch, and how is the connection let go at once?

A lane is one connection to one server, with one request at a time. treq speaks HTTP; below it stands an agent that
asks for identity encoding, keeps hold of the connection so that it can be aborted (a response's own transport can
only say goodbye politely and then waits for a server that goes on sending), and refuses encoded bodies.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

import attrs
from treq.client import HTTPClient
from treq.response import _Response
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.task import deferLater
from twisted.web.client import HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IPolicyForHTTPS
from zope.interface import implementer

from p2sp.net.addresses import Network
from p2sp.net.client_endpoints import HEADERS, ClientEndpoints, RoutedAgent, Stage
from p2sp.net.proxy import ProxySettings
from p2sp.sources.http_agent import Answer, PlainAgent, Url, as_source_error, closes
from p2sp.sources.http_body import Body
from p2sp.sources.http_credentials import Credentials
from p2sp.sources.interfaces import ISpanSink, SourceGone, SourceStalled

CONNECT_TIMEOUT = 10.0
HANDSHAKE_TIMEOUT = 10.0
FIRST_BYTE_TIMEOUT = 15.0
SILENCE_TIMEOUT = 10.0


@attrs.define
class Deadlines:
    """Seconds to wait: for a connection, its TLS handshake, an answer's first byte, between two deliveries of a body.

    Each begins when what comes before it is done.
    """

    connect: float = CONNECT_TIMEOUT
    first_byte: float = FIRST_BYTE_TIMEOUT
    silence: float = SILENCE_TIMEOUT
    handshake: float = HANDSHAKE_TIMEOUT

    def of(self, stage: Stage) -> float:
        """Seconds that a stage of a request may take."""
        return {Stage.CONNECTION: self.connect, Stage.HANDSHAKE: self.handshake}.get(stage, self.first_byte)


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
        credentials: Credentials | None = None,
        proxy: ProxySettings | None = None,
        window: int | None = None,
        via: Callable[[], str] | None = None,
    ) -> None:
        self.label = label
        self._reactor = reactor
        self._deadlines = deadlines or Deadlines()
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 1
        self._pool.retryAutomatically = False
        self._pool.cachedConnectionTimeout = 60
        self._endpoints = ClientEndpoints(
            reactor, policy, bind_address, self._deadlines.connect, allowed, proxy, window
        )
        self._agent = RoutedAgent(reactor, self._endpoints, self._pool)
        self._credentials = credentials
        self._via = via
        self._body: Body | None = None
        self._response: _Response | None = None
        self._asking: Deferred[Any] | None = None
        self._closed = False
        self._closing = False
        self._silence: IDelayedCall | None = None
        self._paused = False
        self.counted: Callable[[int], None] = lambda count: None
        """Told of the bytes that a fetch gets."""

        self.wasted: Callable[[int], None] = lambda count: None
        """Told of the bytes that were read and that no fetch gets."""

    @property
    def position(self) -> int | None:
        """The next byte of the body that is held open, if there is one."""
        return None if self._body is None or self._body.through else self._body.position

    async def request(self, url: str, headers: Headers) -> Answer:
        """Send a GET and read the answer's head; its body waits for `body_at`. Raises SourceError."""
        self.abort_body()
        if self._closing:
            # The pool takes its connection for one that stays.
            self._closing = False
            self.abort()
        self._endpoints.most_bytes = HEADERS
        client = HTTPClient(cast(IAgent, PlainAgent(cast(IAgent, self._agent), self._credentials, self._via)))
        stage, late = Stage.ANSWER, False

        def too_late() -> None:
            nonlocal late
            late = True
            d.cancel()

        def reached(next_stage: Stage) -> None:
            nonlocal stage
            if timer.active():
                stage = next_stage
                timer.reset(self._deadlines.of(stage))

        timer = self._reactor.callLater(self._deadlines.of(stage), too_late)
        self._endpoints.reached = reached
        try:
            d = client.request("GET", Url.from_text(url), headers=headers, unbuffered=True, reactor=self._reactor)
            self._asking = d
            response = await d
            # We are in the middle of the answer's first bytes: a turn later its connection is what it will be.
            turn: Deferred[None] = deferLater(self._reactor, 0)
            self._asking = turn
            await turn
        except Exception as error:
            self.abort()
            if late:
                raise SourceStalled(f"{self.label}: no {stage.value} within {self._deadlines.of(stage):g} s") from None
            if self._closed:
                raise SourceGone(f"{self.label}: closed") from None
            raise as_source_error(self.label, error) from error
        finally:
            self._asking = None
            if timer.active():
                timer.cancel()
        self._response = response
        self._closing = closes(response)
        # The head was bounded; a body is as long as it is, and its reader knows where to stop.
        self._endpoints.most_bytes = sys.maxsize
        length = response.length if isinstance(response.length, int) else None
        final = response.request.absoluteURI
        return Answer(response.code, response.headers, (final or url.encode()).decode("ascii", "replace"), length)

    def body_at(self, position: int, end: int | None = None) -> None:
        """Open the body of the last answer.

        Its first byte stands at `position` of the resource, its last before `end`, where the head tells.
        """
        assert self._response is not None
        response, self._response = self._response, None
        fits = end is not None and response.length in (end - position, UNKNOWN_LENGTH)
        self._body = Body(self, position, end, prompt=fits)
        self._paused = False
        response.deliverBody(self._body)
        self.pauseProducing()

    def serve(self, skip_to: int, stop: int, sink: ISpanSink) -> "Deferred[int]":
        """Deliver the held body from `skip_to` to `stop`; bytes before that are thrown away.

        Fires with the position reached, which is less than `stop` when the answer was for less. Fails with SourceError.
        """
        assert self._body is not None
        # The sink may pause us while it registers, and again with the first bytes, which are here already.
        self._paused = False
        sink.register_producer(self)
        done = self._body.serve(skip_to, stop, sink)
        if self._body is not None and self._body.done is not None and not self._paused:
            self.resumeProducing()
        return done

    async def serve_all(self, sink: ISpanSink, most: int = sys.maxsize) -> int:
        """Deliver the held body to its end, wherever that is, but no more than `most` bytes; how many there were.

        Raises SourceError when it is cut off.

        Without a length only the chunked coding tells the end from a broken connection (RFC 9112, 6.3); a body that
        ends with the connection is taken as whole, as every client does.
        """
        assert self._body is not None
        self._body.open_ended = True
        return await self.serve(self._body.position, most, sink)

    def cut(self, stop: int) -> None:
        """End the running fetch at `stop`."""
        if self._body is not None and self._body.done is not None:
            self._body.cut(stop)

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
        self._write_off()
        self._body = None

    def abort(self) -> None:
        """Cut the connection now."""
        self._quiet()
        self._write_off()
        self._response = None
        # The pool would remember a connection that is gone for as long as one that is idle.
        self._pool.closeCachedConnections()
        self._endpoints.abort_all()

    def _write_off(self) -> None:
        """Nobody gets what has come of the held body and was not delivered."""
        body = self._body
        if body is not None and not body.written_off:
            body.written_off = True
            self.wasted(sum(map(len, body.early)) + (self._endpoints.unread if body.ended is None else 0))
            body.early.clear()

    def close(self) -> None:
        """Cut the connection and forget it."""
        self._closed = True
        self._write_off()
        body, self._body = self._body, None
        self.abort()
        if self._asking is not None:
            self._asking.cancel()
        if body is not None:
            body.fail(SourceGone(f"{self.label}: closed"))
