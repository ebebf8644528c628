"""How does an HTTP listener keep every client within bounds of size and time?"""

import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource
from zope.interface import implementer

from p2sp.net.calls import ApiError
from p2sp.net.ratelimit import client_key
from p2sp.net.reading import read_in

MOST_CONNECTIONS: Final = 10_000
PER_ADDRESS: Final = 0.25
"""The share of all connections that one address may have."""

FIRST_HOLD: Final = 0.25
LONGEST_HOLD: Final = 16.0
"""Seconds for which who is refused is not listened to at most: doubled each time from the first."""

# How much of a refused body is read and dropped, so that the client gets to see the refusal.
DRAINED_BODY: Final = 1024 * 1024


class BodyLimits(Protocol):
    """Something that knows how large a body may be, asked before the first byte of it is read.

    Answers the bytes, and what to say of a body that is larger. `request` is good for its transport alone by then.
    """

    def body_limit(self, method: bytes, path: bytes, request: Any) -> tuple[int, ApiError]: ...


class BoundedRequest(server.Request):
    """A request whose body is refused before it is buffered, whether its length is told or not."""

    channel: Any
    content: Any
    _left = 0
    _dropped = 0
    _refused = False
    _refusal: ApiError
    begun = 0.0

    def gotLength(self, length: int | None) -> None:
        """Decide, with the headers read and the body not, whether the body may come."""
        site = self.channel.site
        self.begun = site.reactor.seconds()
        self.content = BytesIO()
        # The channel knows these before it tells the request; without them the largest limit applies.
        method = getattr(self.channel, "_command", b"")
        path = getattr(self.channel, "_path", b"").split(b"?", 1)[0]
        self._left, self._refusal = site.limits.body_limit(method, path, self)
        if length is not None and length > self._left:
            self._refuse()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, or drop it when the body was refused."""
        if self._refused:
            self._dropped += len(data)
            if self._dropped > DRAINED_BODY:
                self.channel.transport.abortConnection()
            return
        self._left -= len(data)
        if self._left < 0:
            self._refuse()
        else:
            self.content.write(data)

    def _refuse(self) -> None:
        self._refused = True
        self.channel.site.refused_bodies += 1
        self.content = BytesIO()
        # Else the channel would invite the body.
        self.requestHeaders.removeHeader(b"Expect")
        reply = self._refusal.reply()
        reason = http.RESPONSES.get(reply.status, b"Refused")
        # The request is not parsed to its end yet, so this cannot go through `write`.
        self.channel.transport.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (reply.status, reason, len(reply.body), reply.body)
        )

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Go on to the resource, unless the answer has been given."""
        if self._refused:
            self.channel.loseConnection()
            return
        super().requestReceived(command, path, version)


def next_hold(hold: float, wait: float) -> float:
    """How many seconds who was refused and told to wait for `wait` is not listened to; `hold` is how many last time.

    Who comes back when it was told to never feels it.
    """
    return min(max(FIRST_HOLD, 2.0 * hold), LONGEST_HOLD, wait)


@implementer(IHandshakeListener)
class BoundedChannel(http.HTTPChannel):
    """An HTTP connection with a deadline for receiving a whole request and for saying goodbye.

    Requests sent ahead are answered one in a turn of the event loop, that others come in between. Who goes on asking
    after refusals is listened to more and more seldom, and its requests fill its own buffers.
    """

    site: "BoundedSite"
    transport: Any
    busy = False
    _key = ""
    _shaking = False
    _hold = 0.0
    _wait = 0.0
    _resting: IDelayedCall | None = None
    _untaken: http.Request | None = None
    _receiving: IDelayedCall | None = None
    _leaving: IDelayedCall | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        if self.site.read_size is not None:
            read_in(self.transport, self.site.read_size)
        self._key = _key_of(self.transport.getPeer())
        self.site.channels.add(self)
        self.site.by_address[self._key] += 1
        if ISSLTransport.providedBy(self.transport):
            self._shaking = True
            self.site.shaking[self._key] += 1

    def handshakeCompleted(self) -> None:
        """TLS stands."""
        if self._shaking:
            self._shaking = False
            less(self.site.shaking, self._key)

    def dataReceived(self, data: bytes) -> None:
        # The idle timeout starts again with every byte; a client that drips must not live on that.
        if self._receiving is None and not self.busy:
            self._receiving = self.callLater(self.site.timeOut, self._too_slow)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        self._stop_receiving()
        self.busy = True
        super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        self.busy = False
        self._hold = next_hold(self._hold, self._wait)
        self._wait = 0.0
        # Until this request counts as done, what comes is kept up to a bound, then no more is read.
        if self.persistent and (self._hold or self._buffer or any(self._dataBuffer)):
            self._resting = self.callLater(self._hold, partial(self._rested, request))
        else:
            super().requestDone(request)

    def _rested(self, request: http.Request) -> None:
        self._resting = None
        if self._waitingForTransport:
            # Who does not take its answers gets no more of them, and not for ever the time to do so.
            self._untaken = request
            self.setTimeout(self.site.timeOut)
        else:
            self._go_on(request)

    def resumeProducing(self) -> None:
        """What was said has been sent."""
        super().resumeProducing()
        request, self._untaken = self._untaken, None
        if request is not None:
            self._go_on(request)

    def _go_on(self, request: http.Request) -> None:
        """Answer what was sent ahead, up to the next pause."""
        super().requestDone(request)
        # Twisted reads on whenever it begins with the next, however much of what was read before is there still.
        if self._resting is not None and sum(map(len, self._dataBuffer)) > self._optimisticEagerReadSize:
            self._networkProducer.pauseProducing()

    def turned_down(self, wait: float) -> None:
        """The answer at hand is a refusal that says to come back in so many seconds."""
        self._wait = wait

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        if self.site.winding_down:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        persistent: bool = super().checkPersistence(request, version)
        return persistent

    def loseConnection(self) -> None:
        super().loseConnection()
        # A TLS client that never answers the closing alert would hold the connection for ever.
        if self._leaving is None and self in self.site.channels:
            self._leaving = self.callLater(self.site.timeOut, self.abort)

    def abort(self) -> None:
        """Cut the connection."""
        self._stop_leaving()
        self.transport.abortConnection()

    def finish_up(self) -> None:
        """End the connection: now when idle, else with the answer under way."""
        if not self.busy:
            self.abort()
            return
        self.persistent = False
        for request in self.requests:
            if not request.startedWriting:
                request.responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_receiving()
        self._stop_leaving()
        if self._resting is not None:
            self._resting.cancel()
        if self._resting is not None or self._untaken is not None:
            # It was answered in full.
            del self.requests[0]
        super().connectionLost(reason)
        self.handshakeCompleted()
        self.site.forget(self, self._key)

    def _stop_receiving(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _stop_leaving(self) -> None:
        leaving, self._leaving = self._leaving, None
        if leaving is not None and leaving.active():
            leaving.cancel()

    def _too_slow(self) -> None:
        self._receiving = None
        self.site.logger.info("{peer} took too long to send a request", peer=self.getPeer())
        self.transport.abortConnection()


def less(counts: Counter[str], key: str) -> None:
    """One less of those with this key."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


def _key_of(addr: Any) -> str:
    return client_key(getattr(addr, "host", ""))


class BoundedSite(server.Site):
    """A web site with limits on bodies, time and connections, which can be drained.

    `timeout` in seconds bounds an idle connection and the receiving of one request. `read_size` in bytes is how much is
    read at a time, and about a quarter of what a connection can fill with requests sent ahead; None: as Twisted does.
    `admits` says of an address that calls whether it may, before that costs a handshake. While so many `handshakes` are
    under way, all of which may come in one turn, an address may have only one.
    """

    requestFactory = BoundedRequest
    # HTTP/1.1 alone: the generic channel would also offer what is not bounded here.
    protocol: Any = BoundedChannel
    # The role itself tells where it listens.
    noisy = False
    logger = Logger()
    access_log = bool(os.environ.get("P2SP_ACCESS_LOG"))

    def __init__(
        self,
        root: IResource,
        limits: BodyLimits,
        reactor: IReactorTime,
        *,
        timeout: float,
        most_connections: int = MOST_CONNECTIONS,
        read_size: int | None = None,
        admits: Callable[[str], bool] = lambda host: True,
        handshakes: int = MOST_CONNECTIONS,
    ) -> None:
        super().__init__(root, reactor=reactor, timeout=timeout, parsePOSTFormSubmission=False)
        self.limits = limits
        self.most_connections = most_connections
        self.read_size = read_size
        self.admits = admits
        self.handshakes = handshakes
        self.channels: set[BoundedChannel] = set()
        self.winding_down = False
        self.by_address: Counter[str] = Counter()
        self.shaking: Counter[str] = Counter()
        self.turned_away = 0
        self.refused_bodies = 0
        self._emptied: list[Deferred[None]] = []

    def acceptableProtocols(self) -> list[bytes]:
        # Who offers only the elder (`curl --http1.0`) would otherwise be refused by TLS.
        return [b"http/1.1", b"http/1.0"]

    def buildProtocol(self, addr: Any) -> Any:
        most, key = self.most_connections, _key_of(addr)
        if (
            len(self.channels) >= most
            or self.by_address[key] >= max(1.0, PER_ADDRESS * most)
            or (self.shaking[key] and self.shaking.total() >= self.handshakes)
            or not self.admits(getattr(addr, "host", ""))
        ):
            self.turned_away += 1
            # A line for each would be what a flood is after.
            if self.turned_away.bit_count() == 1:
                self.logger.warn(
                    "{addr} is turned away, the {nth} one: {n} connections",
                    addr=addr,
                    nth=self.turned_away,
                    n=len(self.channels),
                )
            return None
        return super().buildProtocol(addr)

    def forget(self, channel: BoundedChannel, key: str) -> None:
        """A connection is gone, of the address with this key."""
        self.channels.discard(channel)
        less(self.by_address, key)
        if not self.channels:
            waiting, self._emptied = self._emptied, []
            for each in waiting:
                each.callback(None)

    def wind_down(self) -> None:
        """Answer as before, but each connection once only: who asks again shall ask somebody else."""
        self.winding_down = True

    def drain(self, deadline: float) -> Deferred[None]:
        """End every connection, those at work within `deadline` seconds; fires when all are gone."""
        for channel in list(self.channels):
            channel.finish_up()
        if not self.channels:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._emptied.append(done)

        def cut() -> None:
            for channel in list(self.channels):
                channel.abort()

        timer = self.reactor.callLater(deadline, cut)

        def stop_timer(_: None) -> None:
            if timer.active():
                timer.cancel()

        return done.addCallback(stop_timer)

    def log(self, request: Any) -> None:
        """One line for each request, where it is wanted: writing it costs as much as a small answer."""
        if not self.access_log:
            return
        self.logger.debug(
            "{peer} {method} {path} -> {status} ({size} bytes, {seconds:.3f} s)",
            peer=request.getClientAddress(),
            method=request.method,
            path=request.path,
            status=request.code,
            size=request.sentLength,
            seconds=self.reactor.seconds() - getattr(request, "begun", 0.0),
        )
