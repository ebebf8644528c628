"""How does a process of a super node pass on what only the one that owns the cache can answer?"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.supernode.interfaces import Unavailable

ASKED: Final = (b"range", b"if-range", b"if-match", b"if-none-match", b"via")
"""The fields of a request that matter to a cache."""


@implementer(IPushProducer)
class _Pipe(Protocol):
    """One answer of the owner, byte by byte; the client's connection sets the pace."""

    transport: Any

    def __init__(self, head: bytes, write: Callable[[bytes], None]) -> None:
        self._head = head
        self._write = write
        self.ended: Deferred[None] = Deferred(lambda _: self.transport.abortConnection())

    def connectionMade(self) -> None:
        self.transport.write(self._head)

    def dataReceived(self, data: bytes) -> None:
        self._write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        self.transport.abortConnection()


class Relay:
    """Has the owner of the cache answer a request, over its Unix socket."""

    def __init__(self, reactor: Any, socket: Path) -> None:
        self._endpoint = UNIXClientEndpoint(reactor, str(socket))

    async def answer(self, request: Any) -> None:
        """Give the owner's answer to this request, and end its connection. Raises Unavailable before the first byte.

        What comes is a whole answer of HTTP: it goes to the connection as it is.
        """
        lines = [b"%s %s HTTP/1.1" % (request.method, request.uri), b"Host: cache", b"Connection: close"]
        for name in ASKED:
            lines += [b"%s: %s" % (name, value) for value in request.requestHeaders.getRawHeaders(name, ())]
        channel = request.channel
        pipe = _Pipe(b"\r\n".join([*lines, b"", b""]), channel.write)
        try:
            await connectProtocol(self._endpoint, pipe)
        except ConnectError as error:
            raise Unavailable("the cache is being opened", 1) from error
        channel.registerProducer(pipe, True)
        await pipe.ended
        channel.unregisterProducer()
        channel.loseConnection()

    async def tell(self, path: str, body: bytes) -> bool:
        """Tell the owner something; whether it took it."""
        answer: list[bytes] = []
        head = f"POST {path} HTTP/1.1\r\nHost: cache\r\nConnection: close\r\nContent-Type: application/json\r\n"
        pipe = _Pipe(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, answer.append)
        try:
            await connectProtocol(self._endpoint, pipe)
        except ConnectError:
            return False
        await pipe.ended
        return b"".join(answer).startswith(b"HTTP/1.1 2")
