"""How do HTTP servers behave that break the rules, or only one of them? A scriptable origin on loopback.

The first part of a path names the scenario (`/honest/x.bin`); what follows is up to it. It runs inside a test
(`Origin.listen`) or as a process of its own (`python -m tests.hostile.origin`), which then also answers to `/_hits` and
`/_set?name=value`.
"""

import argparse
import json
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import attrs
from twisted.internet.interfaces import IConsumer, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

CHUNK: Final = 16 * 1024
LAST_MODIFIED: Final = "Mon, 01 Jan 2024 00:00:00 GMT"
DATE: Final = "Wed, 01 Jan 2025 00:00:00 GMT"


def noise(length: int, seed: int = 1) -> bytes:
    """Bytes that no other place of the file repeats."""
    return Random(seed).randbytes(length)


@attrs.define
class Hit:
    """One request: what was asked, what was sent of the body, and whether the client has left."""

    connection: int
    path: str
    range: str
    fields: dict[str, str]
    at: float = attrs.field(factory=time.monotonic)
    sent: int = 0
    over: bool = False
    lost: bool = False


class Talk(Protocol):
    """One connection; answers one request after another by the scenario its path names."""

    factory: "Origin"
    transport: Any

    def connectionMade(self) -> None:
        self.factory.connections += 1
        self.number = self.factory.connections
        self.factory.open.add(self)
        self.hits: list[Hit] = []
        self._head = b""
        self._timer: IDelayedCall | None = None
        # What the kernel holds back for a client that goes away would count as sent.
        handle = getattr(self.transport, "socket", None)
        if handle is not None and self.factory.rate is not None:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)

    def dataReceived(self, data: bytes) -> None:
        self._head += data
        while b"\r\n\r\n" in self._head:
            head, _, self._head = self._head.partition(b"\r\n\r\n")
            line, *fields = head.decode("latin-1").split("\r\n")
            named = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
            hit = Hit(self.number, line.split(" ")[1], named.get("range", ""), named)
            if not hit.path.startswith("/_"):
                self.hits.append(hit)
                self.factory.hits.append(hit)
            self.factory.answer(self, hit)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for hit in self.hits:
            hit.lost = True
        self.factory.changed()

    def head(self, status: str, *fields: str) -> None:
        """Send the head of an answer."""
        lines = [f"HTTP/1.1 {status}", f"Date: {DATE}", *fields, "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1"))

    def body(self, hit: Hit, parts: Iterator[bytes], then: Callable[[], None] | None = None) -> None:
        """Send a body as fast as the client takes it, or at the origin's rate; `then` at its end."""
        rate = self.factory.rate
        if rate is not None:
            self._drip(hit, parts, CHUNK / rate, then)
        else:
            self.transport.registerProducer(_Pull(self, hit, parts, then), False)

    def _drip(self, hit: Hit, parts: Iterator[bytes], pause: float, then: Callable[[], None] | None) -> None:
        data = next(parts, None)
        if data is None:
            self._end(hit, then)
            return
        self.send(hit, data)
        self._timer = self.factory.reactor.callLater(pause, self._drip, hit, parts, pause, then)

    def drip(self, hit: Hit, parts: Iterator[bytes], pause: float) -> None:
        """Send a body a part at a time."""
        self._drip(hit, parts, pause, None)

    def _end(self, hit: Hit, then: Callable[[], None] | None) -> None:
        hit.over = True
        self.factory.changed()
        if then is not None:
            then()

    def send(self, hit: Hit, data: bytes) -> None:
        """Send a part of a body and count it."""
        hit.sent += len(data)
        self.transport.write(data)
        self.factory.changed()

    def hang_up(self) -> None:
        """Close, when all is sent."""
        self.transport.loseConnection()


class _Pull:
    """Gives the next part when the transport can take it."""

    def __init__(self, talk: Talk, hit: Hit, parts: Iterator[bytes], then: Callable[[], None] | None) -> None:
        self._talk, self._hit, self._parts, self._then = talk, hit, parts, then

    def resumeProducing(self) -> None:
        data = next(self._parts, None)
        if data is not None:
            self._talk.send(self._hit, data)
            return
        consumer: IConsumer = self._talk.transport
        consumer.unregisterProducer()
        self._talk._end(self._hit, self._then)

    def stopProducing(self) -> None:
        self._parts = iter(())


def pieces(data: bytes) -> Iterator[bytes]:
    """A body in parts of one chunk."""
    return (data[at : at + CHUNK] for at in range(0, len(data), CHUNK))


def chunked(data: bytes) -> Iterator[bytes]:
    """A body in the chunked coding, with its end."""
    for part in pieces(data):
        yield b"%x\r\n%s\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


class Origin(Factory):
    """The server, its data, and what it saw. The attributes may be changed while it runs."""

    protocol: Any = Talk
    noisy = False

    def __init__(self, reactor: Any, data: bytes, *, rate: float | None = None) -> None:
        self.reactor = reactor
        self.data = data
        self.rate = rate
        self.etag = '"one"'
        self.last_modified = LAST_MODIFIED
        self.target = ""
        """Where `redirect` leads."""
        self.limit = 100_000
        """After how many bytes the scenarios that stop do so, and how many a short part has."""
        self.lengths: dict[str, int] = {}
        """How long the files of `by-length` are, by the last part of the path."""
        self.busy = 2
        """How many requests `flaky` turns away first."""
        self.refusal = "403 Forbidden"
        """What `signed` says of a URL whose time is over."""
        self.hits: list[Hit] = []
        self.connections = 0
        self.open: set[Talk] = set()
        self._watchers: list[Callable[[], None]] = []

    def listen(self, host: str = "127.0.0.1") -> IListeningPort:
        """Listen on a free port."""
        port: IListeningPort = self.reactor.listenTCP(0, self, interface=host)
        return port

    def watch(self, changed: Callable[[], None]) -> None:
        """Call back whenever something happened."""
        self._watchers.append(changed)

    def changed(self) -> None:
        """Something happened."""
        for changed in list(self._watchers):
            changed()

    @property
    def sent(self) -> int:
        """Bytes of bodies sent so far."""
        return sum(hit.sent for hit in self.hits)

    # -- what is answered ------------------------------------------------------------------------------------

    def answer(self, talk: Talk, hit: Hit) -> None:
        """Answer one request."""
        from tests.hostile.scenarios import SCENARIOS

        name = hit.path.split("/")[1]
        if name.startswith("_hits"):
            # What a process that started us wants to know; the query is how many it knows already.
            since = int(urlsplit(hit.path).query or 0)
            self.document(talk, json.dumps([attrs.asdict(each) for each in self.hits[since:]]).encode())
        elif name.startswith("_set"):
            for key, value in parse_qsl(urlsplit(hit.path).query, keep_blank_values=True):
                now = getattr(self, key)
                setattr(self, key, value if isinstance(now, str) else float(value) if value else None)
            self.document(talk, b"{}")
        else:
            SCENARIOS[name](self, talk, hit)

    def document(self, talk: Talk, data: bytes) -> None:
        """A small answer."""
        talk.head("200 OK", f"Content-Length: {len(data)}")
        talk.transport.write(data)

    @property
    def validators(self) -> tuple[str, ...]:
        """The fields that name the version."""
        etag = (f"ETag: {self.etag}",) if self.etag else ()
        return (*etag, f"Last-Modified: {self.last_modified}") if self.last_modified else etag

    def wanted(self, hit: Hit) -> tuple[int, int] | None:
        """First byte asked for and the one behind the last, None without a Range."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", hit.range)
        if match is None:
            return None
        stop = int(match.group(2)) + 1 if match.group(2) else len(self.data)
        return int(match.group(1)), min(stop, len(self.data))


def main(arguments: list[str]) -> None:
    """Run as a process until told to end."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--rate", type=float, help="bytes a second for each answer")
    given = parser.parse_args(arguments)
    origin = Origin(reactor, given.file.read_bytes(), rate=given.rate)
    port: Any = origin.listen()
    sys.stdout.write(f"listening on http://127.0.0.1:{port.getHost().port}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
