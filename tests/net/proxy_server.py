"""What does an HTTP proxy do? A small one: absolute-form requests and tunnels, for tests, on loopback only."""

import sys
from base64 import b64encode
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure


class _Far(Protocol):
    """The server's side of a connection through the proxy."""

    def __init__(self, near: "_Near") -> None:
        self._near = near

    def dataReceived(self, data: bytes) -> None:
        self._near.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._near.far = None
        self._near.transport.loseConnection()


class _Near(Protocol):
    """The client's side: one request, then bytes both ways."""

    transport: Any
    factory: "HttpProxy"

    def __init__(self) -> None:
        self.far: Any = None
        self._head: bytes | None = b""

    def connectionMade(self) -> None:
        self.factory.open += 1

    def dataReceived(self, data: bytes) -> None:
        if self.far is not None:
            self.far.transport.write(data)
            return
        assert self._head is not None
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if end:
            self._head = b""
            self._begin(head.decode("latin-1").split("\r\n"), rest)

    def _begin(self, lines: list[str], rest: bytes) -> None:
        method, target, _ = lines[0].split(" ")
        self.factory.heard(f"{method} {target}")
        given = next((line[21:] for line in lines if line.lower().startswith("proxy-authorization: ")), None)
        if self.factory.wanted not in (None, given):
            self._answer("407 Proxy Authentication Required")
            return
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            greeting, send = b"HTTP/1.1 200 Connection established\r\n\r\n", rest
        else:
            netloc, slash, path = target.removeprefix("http://").partition("/")
            host, _, port = netloc.rpartition(":")
            kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
            head = [f"{method} {slash}{path} HTTP/1.1", *kept, "Connection: close", "", ""]
            greeting, send = b"", "\r\n".join(head).encode("latin-1") + rest
        endpoint = TCP4ClientEndpoint(self.factory.reactor, host.strip("[]"), int(port), timeout=10)

        def connected(far: Any) -> None:
            self.far = far
            if greeting:
                self.transport.write(greeting)
            far.transport.write(send)

        endpoint.connect(Factory.forProtocol(lambda: _Far(self))).addCallbacks(
            connected, lambda _: self._answer("502 Bad Gateway")
        )

    def _answer(self, status: str) -> None:
        self.transport.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.open -= 1
        if self.far is not None:
            self.far.transport.abortConnection()


class HttpProxy(Factory):
    """The proxy; `asked` is what it was asked, `user` (NAME:PASSWORD) whom it serves."""

    protocol: Any = _Near
    noisy = False

    def __init__(self, reactor: Any, user: str | None = None, *, loud: bool = False) -> None:
        self.reactor = reactor
        self.wanted = None if user is None else f"Basic {b64encode(user.encode()).decode()}"
        self.asked: list[str] = []
        self.open = 0
        self._loud = loud

    def heard(self, line: str) -> None:
        """A request came."""
        self.asked.append(line)
        if self._loud:
            print(line, flush=True)  # noqa: T201 - for the test that started this process


def main() -> None:
    """Run it until the process is ended: `python -m tests.net.proxy_server [NAME:PASSWORD]`."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    port = reactor.listenTCP(
        0, HttpProxy(reactor, sys.argv[1] if len(sys.argv) > 1 else None, loud=True), interface="127.0.0.1"
    )
    print(f"listening on 127.0.0.1:{port.getHost().port}", flush=True)  # noqa: T201
    reactor.run()


if __name__ == "__main__":
    main()
