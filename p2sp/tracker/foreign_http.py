"""How are foreign clients answered over plain HTTP, at as little cost as an announce is worth?

A web framework costs several times what an announce does, and its clients open a connection for each. So this reads
just what BEP 3 needs of HTTP: the head of a GET without a body.
"""

import math
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.net.addresses import observed_address
from p2sp.net.errors import NetError
from p2sp.net.ratelimit import client_key
from p2sp.net.web import PER_ADDRESS, less, next_hold
from p2sp.tracker import bep3
from p2sp.tracker.bep3 import BadQuery
from p2sp.tracker.foreign import ForeignDesk
from p2sp.tracker.load import RETRY

LARGEST_HEAD: Final = 8 * 1024
PATIENCE: Final = 15.0
"""Seconds for a request to come, and between two."""

MOST_CONNECTIONS: Final = 10_000
_STATUS: Final = {
    200: b"200 OK",
    400: b"400 Bad Request",
    404: b"404 Not Found",
    405: b"405 Method Not Allowed",
    429: b"429 Too Many Requests",
    503: b"503 Service Unavailable",
}


def _answer(status: int, body: bytes, *, keep: bool, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n%s\r\n%s" % (
        _STATUS[status],
        len(body),
        b"keep-alive" if keep else b"close",
        extra,
        body,
    )


_OVERLOADED: Final = _answer(
    503,
    bep3.write_failure("this tracker has too much to do at present", max(1, RETRY // 60)),
    keep=False,
    extra=b"Retry-After: %d\r\n" % RETRY,
)


@implementer(IPushProducer)
class ForeignHttp(Protocol, TimeoutMixin):
    """One connection of a foreign client: one request after another."""

    factory: "ForeignHttpFactory"
    _working: Deferred[None] | None = None
    _resting: IDelayedCall | None = None
    _hold = 0.0
    _wait = 0.0
    _deaf = False
    _watched = False
    _full = False
    _closing = False

    def __init__(self, address: str) -> None:
        self.key = client_key(address)
        self._address = address
        self._buffer = b""

    def callLater(self, period: float, func: Any) -> Any:
        return self.factory.clock.callLater(period, func)

    def connectionMade(self) -> None:
        self.factory.connections.add(self)
        self.factory.by_address[self.key] += 1
        self.setTimeout(PATIENCE)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self._working is None and self._resting is None:
            self._go_on()
        if len(self._buffer) > LARGEST_HEAD and not self._deaf and not self._closing:
            # What is sent ahead may wait in the client's own buffers.
            self._deaf = True
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def _go_on(self) -> None:
        if not self._buffer or self._closing or self._full:
            return
        if self.factory.desk.sheds():
            self._say(_OVERLOADED, keep=False)
            return
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if len(head) > LARGEST_HEAD:
            self._malformed(400, b"", keep=False)
            return
        if not end:
            return
        self._buffer = rest
        if self._deaf and len(rest) <= LARGEST_HEAD:
            self._deaf = False
            self.transport.resumeProducing()  # type: ignore[union-attr]
        # Not with every byte: who drips must not live on that.
        self.resetTimeout()
        working = Deferred.fromCoroutine(self._serve(head))
        if not working.called:
            self._working = working
        working.addErrback(self._broke).addBoth(self._done)

    def _done(self, _: object) -> None:
        self._working = None
        self._hold = next_hold(self._hold, self._wait)
        self._wait = 0.0
        if not self._closing and (self._hold or self._buffer):
            # Others come first, and who does not take no for an answer is listened to seldom.
            self._resting = self.callLater(self._hold, self._rested)

    def _rested(self) -> None:
        self._resting = None
        self._go_on()

    def _broke(self, failure: Failure) -> None:
        if failure.check(NetError):
            self.factory.log.debug("an announce could not be answered: {error}", error=failure.value)
        else:
            self.factory.log.failure("an announce failed", failure)
        self._say(_OVERLOADED, keep=False)

    async def _serve(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            self._malformed(400, b"", keep=False)
            return
        keep = _keeps(words[2], fields)
        if words[0] != b"GET":
            # A body may follow, and is none of ours.
            self._malformed(405, b"", keep=False)
            return
        desk = self.factory.desk
        wait = desk.wait(self._address)
        if wait > 0.0:
            retry = b"Retry-After: %d\r\n" % math.ceil(wait)
            body = bep3.write_failure("too many requests from your address", max(1, math.ceil(wait / 60.0)))
            self._say(_answer(429, body, keep=keep, extra=retry), keep=keep)
            self._wait = wait
            return
        path, _, query = words[1].partition(b"?")
        work: Coroutine[Any, Any, bytes]
        if path == b"/announce":
            work = self._announce(query)
        elif path == b"/scrape":
            work = self._scrape(query)
        else:
            self._malformed(404, b"", keep=keep)
            return
        try:
            body = await work
        except BadQuery as error:
            # Clients show what comes with 200, and drop the body of anything else.
            self._malformed(200, bep3.write_failure(str(error)), keep=keep)
            return
        self._say(_answer(200, body, keep=keep), keep=keep)

    async def _announce(self, query: bytes) -> bytes:
        asked = bep3.read_announce(query)
        desk = self.factory.desk
        peers, numbers = await desk.announce(self._address, asked)
        return bep3.write_announce(asked, peers, numbers, interval=desk.next_time(), address=self._address)

    async def _scrape(self, query: bytes) -> bytes:
        return bep3.write_scrape(await self.factory.desk.scrape(bep3.read_scrape(query)))

    def _malformed(self, status: int, body: bytes, *, keep: bool) -> None:
        self.factory.desk.tally.malformed += 1
        self._say(_answer(status, body, keep=keep), keep=keep)

    def _say(self, answer: bytes, *, keep: bool) -> None:
        transport: Any = self.transport
        if self._closing or transport is None:
            return
        if keep and not self._watched:
            self._watched = True
            transport.registerProducer(self, True)
        transport.write(answer)
        if not keep:
            self._closing = True
            if self._watched:
                transport.unregisterProducer()
            transport.loseConnection()

    def pauseProducing(self) -> None:
        """What was said is not taken: no more of it, and who takes nothing until its time is over is cut off."""
        self._full = True

    def resumeProducing(self) -> None:
        """What was said has been sent."""
        self._full = False
        if self._working is None and self._resting is None:
            self._go_on()

    def stopProducing(self) -> None:
        """The connection is gone."""

    def leave(self) -> None:
        """Cut the connection, now."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    timeoutConnection = leave

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self.setTimeout(None)
        self.factory.forget(self)
        if self._working is not None:
            self._working.cancel()
        if self._resting is not None:
            self._resting.cancel()


def _keeps(version: bytes, fields: bytes) -> bool:
    """Whether the connection stays open for more."""
    keep = version != b"HTTP/1.0"
    at = fields.lower().find(b"connection:")
    if at < 0:
        return keep
    value = fields[at + 11 :].partition(b"\r\n")[0].strip().lower()
    return value != b"close" and (keep or value == b"keep-alive")


class ForeignHttpFactory(Factory):
    """Connections of foreign clients, so many and no more."""

    noisy = False
    log = Logger()

    def __init__(self, desk: ForeignDesk, clock: IReactorTime, most: int = MOST_CONNECTIONS) -> None:
        self.desk = desk
        self.clock = clock
        self.connections: set[ForeignHttp] = set()
        self.by_address: Counter[str] = Counter()
        self._most = most

    def buildProtocol(self, addr: IAddress | None) -> Any:
        made = ForeignHttp(observed_address(getattr(addr, "host", "")))
        if len(self.connections) >= self._most or self.by_address[made.key] >= max(1.0, PER_ADDRESS * self._most):
            self.desk.tally.ignored += 1
            return None
        made.factory = self
        return made

    def forget(self, connection: ForeignHttp) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        less(self.by_address, connection.key)

    def drain(self, deadline: float) -> Deferred[None]:
        """Cut all connections: an announce is answered at once, so that none is lost by it."""
        for each in list(self.connections):
            each.leave()
        return succeed(None)
