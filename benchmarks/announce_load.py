"""So many announces at once, from one process, for so long: what comes back, and when; for `announces.py`.

    python benchmarks/announce_load.py http PORT SECONDS CONNECTIONS SWARMS
    python benchmarks/announce_load.py tls PORT SECONDS CONNECTIONS SWARMS CA KEY...

`http` asks as BEP 3 clients do, a connection for each announce; `tls` as our nodes do, over connections that are kept,
each with a key of its own. Prints one line of JSON: announces, failures, seconds, latencies in milliseconds.
"""

import contextlib
import json
import random
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import quote

HOST = "127.0.0.1"


class Load:
    """Connections that each have one announce under way, and the time each took."""

    def __init__(self, seconds: float) -> None:
        self.until = time.perf_counter() + seconds
        self.took: list[float] = []
        self.failed = 0

    def done(self, began: float, good: bool) -> None:
        """One was answered."""
        self.took.append(time.perf_counter() - began)
        self.failed += not good

    def report(self, seconds: float) -> str:
        """The line for whoever started this."""
        took = sorted(self.took) or [0.0]
        at = {
            name: took[min(len(took) - 1, int(share * len(took)))] * 1000
            for name, share in (("p50", 0.5), ("p99", 0.99))
        }
        return json.dumps({"announces": len(self.took), "failed": self.failed, "seconds": seconds, **at})


def bep3(swarms: int) -> Iterator[bytes]:
    """Announces of ever new peers."""
    chance = random.Random(3)
    hashes = [quote(bytes.fromhex(f"{number:040x}"), safe="") for number in range(swarms)]
    while True:
        peer = f"-XX0001-{chance.randrange(10**11):012d}"
        yield (
            f"GET /announce?info_hash={chance.choice(hashes)}&peer_id={peer}&port={chance.randrange(1024, 65535)}"
            "&uploaded=0&downloaded=0&left=1000&compact=1&numwant=50 HTTP/1.1\r\nHost: localhost\r\n"
            "Connection: close\r\n\r\n"
        ).encode()


def http(load: Load, port: int, connections: int, swarms: int) -> None:
    """A connection for each announce; `connections` at a time."""
    poll = select.epoll()
    talks: dict[int, tuple[socket.socket, float, bytearray]] = {}
    requests = bep3(swarms)
    chance = random.Random(5)
    hosts = (f"{chance.randrange(1, 255)}.{chance.randrange(256)}.{chance.randrange(1, 255)}" for _ in count())

    def begin() -> None:
        began = time.perf_counter()
        # Clients have addresses of their own, as far as loopback has them.
        sock = socket.create_connection((HOST, port), source_address=(f"127.{next(hosts)}", 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.send(next(requests))
        poll.register(sock, select.EPOLLIN)
        talks[sock.fileno()] = (sock, began, bytearray())

    for _ in range(connections):
        begin()
    while talks:
        for number, _ in poll.poll(1.0):
            sock, began, answer = talks[number]
            with contextlib.suppress(ConnectionError):
                data = sock.recv(65536)
                answer += data
                if data and not complete(answer):
                    continue
            load.done(began, b"8:interval" in answer)
            poll.unregister(sock)
            del talks[number]
            sock.close()
            if time.perf_counter() < load.until:
                begin()


def complete(answer: bytearray) -> bool:
    """Whether an answer is there with all of its body."""
    head, end, body = bytes(answer).partition(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    return bool(end) and at >= 0 and len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0])


def native_request(chance: random.Random, swarms: int, session: str) -> bytes:
    """An announce of one of our nodes."""
    body = json.dumps(
        {
            "resource": f"{chance.randrange(swarms):040x}" + "0" * 24,
            "session": session,
            "event": "progress",
            "port": 6881,
            "length": 4_000_000_000,
            "left": chance.randrange(1, 4_000_000_000),
            "counters": {"server": 1, "supernode": 2, "peer_local": 3, "peer_remote": 4, "up": 5},
            "rate": 1_000_000,
        }
    )
    return (
        f"POST /v1/announce HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def tls(load: Load, port: int, connections: int, swarms: int, ca: str, keys: list[str]) -> None:
    """Announces over connections that are kept."""
    chance = random.Random(4)
    poll = select.epoll()
    talks: dict[int, tuple[ssl.SSLSocket, Callable[[], bytes]]] = {}
    began: dict[int, float] = {}
    answers: dict[int, bytearray] = {}

    for number in range(connections):
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(keys[number % len(keys)])
        sock = context.wrap_socket(socket.create_connection((HOST, port)), server_hostname=HOST)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(sock, select.EPOLLIN)
        session = f"{number:032x}"
        talks[sock.fileno()] = (sock, lambda name=session: native_request(chance, swarms, name))  # type: ignore[misc]
    for number, (sock, make) in talks.items():
        began[number], answers[number] = time.perf_counter(), bytearray()
        sock.send(make())
        sock.setblocking(False)
    while began:
        for number, _ in poll.poll(1.0):
            sock, make = talks[number]
            answer = answers[number]
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    data = sock.recv(65536)
                    if not data:
                        raise SystemExit(f"the tracker hung up: {bytes(answer)[:500]!r}")
                    answer += data
            if number in began and complete(answer):
                load.done(began.pop(number), answer.startswith(b"HTTP/1.1 200"))
                answer.clear()
                if time.perf_counter() < load.until:
                    began[number] = time.perf_counter()
                    sock.send(make())


def main() -> None:
    """Do what the arguments say."""
    kind, port, seconds, connections, swarms, *rest = sys.argv[1:]
    load = Load(float(seconds))
    started = time.perf_counter()
    if kind == "http":
        http(load, int(port), int(connections), int(swarms))
    else:
        tls(load, int(port), int(connections), int(swarms), rest[0], rest[1:])
    print(load.report(time.perf_counter() - started))


if __name__ == "__main__":
    main()
