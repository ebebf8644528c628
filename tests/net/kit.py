"""What do the tests of the network layer share: a network's keys, real listeners, and rude clients?"""

from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from p2sp.net.api_client import ApiClient
from p2sp.net.authority import Authority
from p2sp.net.identity import Identity, create_identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.listen import listen_tcp, listen_tls
from p2sp.net.trust import Trust, client_policy, server_context

reactor: Any = installed_reactor

AUTHORITY = Authority.create("test network")
TRUST = Trust((AUTHORITY.certificate,))
SERVER = AUTHORITY.issue("index", ["127.0.0.1", "localhost"], "index of the test network")
TRACKER = AUTHORITY.issue("tracker", ["127.0.0.1"], "tracker of the test network")
STRANGER = create_identity()


class Talk(Protocol):
    """A raw connection: says what it is told, keeps what it hears, knows when it ends."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[object] = Deferred()
        self._wanted = b""
        self._waiting: Deferred[bytes] | None = None

    def say(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def until(self, wanted: bytes) -> Deferred[bytes]:
        """Fires with all that was heard once `wanted` is a part of it."""
        self._wanted, self._waiting = wanted, Deferred()
        waiting = self._waiting
        self._look()
        return waiting

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(reason.value)

    def _look(self) -> None:
        if self._waiting is not None and self._wanted in self.heard:
            waiting, self._waiting = self._waiting, None
            waiting.callback(self.heard)


class Rude(Protocol):
    """A server that answers every connection's first bytes with a given text and then behaves as told."""

    factory: Any
    answer = b""
    then_close = False
    repeat = b""

    def connectionMade(self) -> None:
        self.factory.talks.append(self)

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(self.answer)
        if not self.factory.asked.called:
            self.factory.asked.callback(self)
        if self.then_close:
            transport.loseConnection()
        if self.repeat:
            transport.registerProducer(self, True)
            self.resumeProducing()

    paused = False

    def resumeProducing(self) -> None:
        self.paused = False
        transport: Any = self.transport
        while not self.paused and transport.connected and self.sent < 64 * 1024 * 1024:
            self.sent += len(self.repeat)
            transport.write(self.repeat)

    sent = 0

    def pauseProducing(self) -> None:
        self.paused = True

    def stopProducing(self) -> None:
        self.paused = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.factory.lost.called:
            self.factory.lost.callback(self)


class RudeFactory(Factory):
    """Makes `Rude` connections; `asked` fires when the first one is written to, `lost` when it is gone."""

    noisy = False

    def __init__(self, **manners: object) -> None:
        self.manners = manners
        self.talks: list[Rude] = []
        self.asked: Deferred[Rude] = Deferred()
        self.lost: Deferred[Rude] = Deferred()

    def buildProtocol(self, addr: object) -> Rude:
        protocol = Rude()
        protocol.factory = self
        for name, value in self.manners.items():
            setattr(protocol, name, value)
        return protocol


class LoopbackCase(TestCase):
    """Tests over real sockets on the loopback interface; everything opened is closed afterwards."""

    timeout = 20

    def serve(self, api: Api, *, tls: bool = True, timeout: float = 60.0, identity: Identity = SERVER) -> str:
        """Listen for `api`; the answer is its base URL."""
        site = make_site(api, timeout=timeout)
        if tls:
            port = listen_tls(reactor, "127.0.0.1:0", site, server_context(identity))
        else:
            port = listen_tcp(reactor, "127.0.0.1:0", site)
        self.addCleanup(site.drain, 2.0)
        self.addCleanup(port.stopListening)
        self.site = site
        self.port: int = port.getHost().port  # type: ignore[attr-defined]
        return f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def serve_raw(self, factory: Any, *, tls: bool = True, identity: Identity = SERVER) -> str:
        """Listen for a bare factory; the answer is the base URL."""
        if tls:
            port = listen_tls(reactor, "127.0.0.1:0", factory, server_context(identity))
        else:
            port = listen_tcp(reactor, "127.0.0.1:0", factory)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port  # type: ignore[attr-defined]
        return f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def client(self, url: str, identity: Identity | None = None, trust: Trust = TRUST, **options: Any) -> ApiClient:
        client = ApiClient(reactor, url, policy=client_policy(identity, trust), **options)
        self.addCleanup(client.close)
        return client

    async def talk(self) -> Talk:
        """A raw clear-text connection to what was served last."""
        talk = Talk()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), talk)

        def hang_up() -> Deferred[object]:
            if not talk.ended.called:
                talk.transport.abortConnection()  # type: ignore[union-attr]
            return talk.ended

        self.addCleanup(hang_up)
        return talk
