"""More announces than a tracker can take, whatever it says to them; for `announce_flood.py`.

    python benchmarks/announce_flooder.py native|bep3|hello PORT RATE SECONDS CONNECTIONS CA KEY...

An open loop: RATE a second are due, from a few dozen addresses of loopback. `native` and `bep3` send announces in
bundles over CONNECTIONS that are kept; what a connection does not take any more, as its buffers are full, was offered
and is not sent; who is hung up on dials again. `hello` dials for each, begins a TLS handshake, and leaves when the
server has done its part; at most CONNECTIONS at a time. Prints one line of JSON: what was offered, sent, came back by
status, and how often it said when to come back.
"""

import contextlib
import errno
import json
import random
import select
import socket
import ssl
import sys
import time
from collections import Counter

from announce_load import HOST, native_request

BUNDLE = 16
"""Announces that go out together."""

ADDRESSES = 64
BUFFER = 64 * 1024
DIAL_AGAIN = 0.05
"""Seconds before a connection that was lost is made anew."""

PATIENCE = 2.0
"""Seconds that a handshake may take."""

SWARMS = 100
CATCH_UP = 64
"""Bundles that are offered between two looks at what came back: who falls behind still listens."""


def address(number: int) -> str:
    """Where the flooder with this number is."""
    return f"127.66.{number % ADDRESSES // 16}.{number % 16 + 1}"


class Flooder:
    """One connection of somebody who does not listen."""

    def __init__(self, kind: str, port: int, number: int, ca: str, key: str) -> None:
        self.kind = kind
        self.port = port
        self.number = number
        self.context: ssl.SSLContext | None = None
        if kind == "native":
            self.context = ssl.create_default_context(cafile=ca)
            self.context.load_cert_chain(key)
        self.chance = random.Random(number)
        self.sock: socket.socket | None = None
        self.not_before = 0.0
        self.pending = b""
        self.tail = b""

    def dial(self) -> None:
        """Connect, waiting for it: whoever is kept waiting here floods less, and that is counted."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.bind((address(self.number), 0))
        sock.settimeout(PATIENCE)
        try:
            sock.connect((HOST, self.port))
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_hostname=HOST)
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        self.sock, self.pending, self.tail = sock, b"", b""

    def bundle(self) -> bytes:
        """The next few announces."""
        if self.kind == "native":
            return b"".join(native_request(self.chance, SWARMS, f"{self.number:032x}") for _ in range(BUNDLE))
        swarm = "%00" * 19 + f"%{self.chance.randrange(SWARMS):02x}"
        return b"".join(
            (
                f"GET /announce?info_hash={swarm}&peer_id=-XX0001-{self.chance.randrange(10**11):012d}"
                f"&port={self.chance.randrange(1024, 65535)}&uploaded=0&downloaded=0&left=1000&numwant=50 HTTP/1.1\r\n"
                "Host: localhost\r\n\r\n"
            ).encode()
            for _ in range(BUNDLE)
        )

    def offer(self) -> bool:
        """Send a bundle, if the last one is out; whether it was taken, in part at least."""
        assert self.sock is not None
        fresh = not self.pending
        data = self.pending or self.bundle()
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            # OpenSSL wants the very same bytes the next time.
            self.pending = data
            return False
        self.pending = data[sent:]
        return fresh or not self.pending


def count(flooder: Flooder, data: bytes, heard: Counter[str]) -> None:
    """Count answers in what came."""
    text = flooder.tail + data
    for line in (b"HTTP/1.1 200", b"HTTP/1.1 429", b"HTTP/1.1 503", b"Retry-After"):
        heard[line.decode().removeprefix("HTTP/1.1 ")] += text.count(line) - flooder.tail.count(line)
    flooder.tail = text[-11:]


def flood(flooders: list[Flooder], rate: float, seconds: float) -> dict[str, float]:
    """Offer so many a second over connections that are kept."""
    poll = select.epoll()
    at: dict[int, Flooder] = {}
    heard: Counter[str] = Counter()
    offered = sent = 0

    def lose(flooder: Flooder) -> None:
        assert flooder.sock is not None
        at.pop(flooder.sock.fileno(), None)
        with contextlib.suppress(OSError):
            poll.unregister(flooder.sock)
        flooder.sock.close()
        flooder.sock = None
        flooder.not_before = time.perf_counter() + DIAL_AGAIN
        heard["hung up"] += 1

    def dial(flooder: Flooder) -> bool:
        if time.perf_counter() < flooder.not_before:
            return False
        try:
            flooder.dial()
        except OSError:
            flooder.not_before = time.perf_counter() + DIAL_AGAIN
            heard["not connected"] += 1
            return False
        assert flooder.sock is not None
        poll.register(flooder.sock, select.EPOLLIN)
        at[flooder.sock.fileno()] = flooder
        return True

    for flooder in flooders:
        dial(flooder)
    began = time.perf_counter()
    turn = 0
    while (now := time.perf_counter()) < began + seconds:
        due = int((now - began) * rate)
        for _ in range(min(CATCH_UP, (due - offered) // BUNDLE)):
            flooder = flooders[turn % len(flooders)]
            turn += 1
            offered += BUNDLE
            try:
                if (flooder.sock is not None or dial(flooder)) and flooder.offer():
                    sent += BUNDLE
            except OSError:
                lose(flooder)
        for number, _ in poll.poll(0.002):
            flooder = at[number]
            assert flooder.sock is not None
            try:
                data = flooder.sock.recv(BUFFER)
            except (BlockingIOError, ssl.SSLWantReadError):
                continue
            except OSError:
                data = b""
            if data:
                count(flooder, data, heard)
            else:
                lose(flooder)
    return {"seconds": time.perf_counter() - began, "offered": offered, "sent": sent, **heard}


def client_hello(ca: str) -> bytes:
    """How a handshake begins; the same for all, which makes it cheap for us and not for the server."""
    outgoing = ssl.MemoryBIO()
    begun = ssl.create_default_context(cafile=ca).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        begun.do_handshake()
    return outgoing.read()


def greet(port: int, rate: float, seconds: float, most: int, ca: str) -> dict[str, float]:
    """Begin so many handshakes a second, and end none."""
    hello = client_hello(ca)
    poll = select.epoll()
    talks: dict[int, tuple[socket.socket, float]] = {}
    heard: Counter[str] = Counter()
    offered = sent = 0
    began = time.perf_counter()

    def end(number: int, how: str) -> None:
        heard[how] += 1
        sock, _ = talks.pop(number)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.close()

    while (now := time.perf_counter()) < began + seconds:
        for number in [number for number, (_, since) in talks.items() if now - since > PATIENCE]:
            end(number, "not connected")
        for _ in range(min(CATCH_UP, int((now - began) * rate) - offered)):
            offered += 1
            if len(talks) >= most:
                continue
            sock = socket.socket()
            sock.bind((address(offered), 0))
            sock.setblocking(False)
            if sock.connect_ex((HOST, port)) not in (0, errno.EINPROGRESS):
                heard["not connected"] += 1
                sock.close()
                continue
            poll.register(sock, select.EPOLLOUT | select.EPOLLIN)
            talks[sock.fileno()] = (sock, now)
        for number, event in poll.poll(0.002):
            sock = talks[number][0]
            try:
                if event & select.EPOLLIN:
                    # The server's part of the handshake, or its goodbye.
                    end(number, "200" if sock.recv(BUFFER) else "hung up")
                elif event & select.EPOLLOUT and not event & select.EPOLLHUP:
                    sock.send(hello)
                    sent += 1
                    poll.modify(sock, select.EPOLLIN)
                else:
                    end(number, "hung up")
            except OSError:
                end(number, "hung up")
    return {"seconds": time.perf_counter() - began, "offered": offered, "sent": sent, **heard}


def main() -> None:
    """Do what the arguments say."""
    kind, port, rate, seconds, connections, ca, *keys = sys.argv[1:]
    if kind == "hello":
        print(json.dumps(greet(int(port), float(rate), float(seconds), int(connections), ca)))
        return
    flooders = [Flooder(kind, int(port), number, ca, keys[number % len(keys)]) for number in range(int(connections))]
    print(json.dumps(flood(flooders, float(rate), float(seconds))))


if __name__ == "__main__":
    main()
