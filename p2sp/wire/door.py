"""What comes in at our port: TLS, clear text, or nothing we take?"""

from typing import Any, Final, Protocol

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, ServerFactory, connectionDone
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure

from p2sp.net.reading import GatheringTLSFactory
from p2sp.wire.errors import Why
from p2sp.wire.link import HANDSHAKE_SECONDS, PeerLink

TLS_RECORD: Final = 0x16
"""The first byte of a TLS handshake (RFC 8446, section 5.1)."""

BITTORRENT: Final = 0x13
"""The first byte of a BitTorrent handshake (BEP 3)."""


class Household(Protocol):
    """Who lives behind the door: the peer network."""

    clear_text: bool

    def admits(self, visitor: "Visitor") -> bool:
        """Whether one more connection is taken; if so it counts from now on."""

    def take(self, *, secure: bool) -> PeerLink:
        """A link for a connection that has come in, counted from now on."""

    def gone(self, visitor: "Visitor", why: Why | None) -> None:
        """A visitor has become a link (no reason), or was sent away."""


class Door(ServerFactory):
    """Takes connections within the network's bounds and closes the others at once."""

    noisy = False

    def __init__(self, household: Household, context: IOpenSSLServerConnectionCreator, clock: IReactorTime) -> None:
        self.household = household
        self.clock = clock
        self._secure = GatheringTLSFactory(context, False, _Incoming(household), clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        visitor = Visitor(self, str(getattr(addr, "host", "")))
        return visitor if self.household.admits(visitor) else None

    def secure(self) -> tuple[IProtocol, PeerLink]:
        """A link, and the TLS around it."""
        around: Any = self._secure.buildProtocol(None)
        return around, around.wrappedProtocol


class _Incoming(Factory):
    noisy = False

    def __init__(self, household: Household) -> None:
        self._household = household

    def buildProtocol(self, addr: IAddress | None) -> PeerLink:
        return self._household.take(secure=True)


class Visitor(TwistedProtocol):
    """A connection whose first byte tells what it is; from then on it passes everything on to the link inside."""

    def __init__(self, door: Door, host: str) -> None:
        self.host = host
        self._door = door
        self._household = door.household
        self._since = door.clock.seconds()
        self._inside: IProtocol | None = None
        self._deadline: IDelayedCall | None = None
        self._why = Why.LOST

    def connectionMade(self) -> None:
        self._deadline = self._door.clock.callLater(HANDSHAKE_SECONDS, self.send_away, Why.LATE)

    def dataReceived(self, data: bytes) -> None:
        if self._inside is None:
            self._look(data[0])
        if self._inside is not None:
            self._inside.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        if self._inside is not None:
            self._inside.connectionLost(reason)
        else:
            self._household.gone(self, self._why)

    def send_away(self, why: Why) -> None:
        """Close a connection that has not become a link."""
        self._why = why
        ITCPTransport(self.transport).abortConnection()

    def _look(self, first: int) -> None:
        secure = first == TLS_RECORD
        if not secure and first != BITTORRENT:
            self.send_away(Why.NO_HANDSHAKE)
            return
        if not secure and not self._household.clear_text:
            self.send_away(Why.CLEAR_TEXT)
            return
        self._stop_waiting()
        self._household.gone(self, None)
        link: PeerLink
        if secure:
            self._inside, link = self._door.secure()
        else:
            self._inside = link = self._household.take(secure=False)
        link.patience = max(HANDSHAKE_SECONDS - (self._door.clock.seconds() - self._since), 0.0)
        assert self.transport is not None
        self._inside.makeConnection(self.transport)

    def _stop_waiting(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
