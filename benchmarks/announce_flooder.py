"""More announces than a tracker can take, whatever it says to them; for `announce_flood.py`.

    python benchmarks/announce_flooder.py native|bep3 PORT RATE SECONDS CONNECTIONS CA KEY...

An open loop: RATE a second are due, in bundles over CONNECTIONS that are kept, from a few dozen addresses of loopback.
What a connection does not take any more, as its buffers are full, was offered and is not sent. Who is hung up on dials
again. Prints one line of JSON: what was offered, sent, came back by status, and how often it said when to come back.
"""

import contextlib
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

SWARMS = 100


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
        self.address = f"127.66.{number % ADDRESSES // 16}.{number % 16 + 1}"
        self.sock: socket.socket | None = None
        self.not_before = 0.0
        self.pending = b""
        self.tail = b""

    def dial(self) -> None:
        """Connect, waiting for it: whoever is kept waiting here floods less, and that is counted."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        sock.bind((self.address, 0))
        sock.settimeout(2.0)
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
    """Offer so many a second."""
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
        # Who falls behind, as this process may, catches up a little at a time, else it would not listen either.
        for _ in range(min(64, (due - offered) // BUNDLE)):
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


def main() -> None:
    """Do what the arguments say."""
    kind, port, rate, seconds, connections, ca, *keys = sys.argv[1:]
    flooders = [Flooder(kind, int(port), number, ca, keys[number % len(keys)]) for number in range(int(connections))]
    print(json.dumps(flood(flooders, float(rate), float(seconds))))


if __name__ == "__main__":
    main()
