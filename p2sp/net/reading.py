"""How are bytes read from a connection in portions worth their handling?

Every delivery climbs the same stairs of protocols, parsers and books, whatever its size; what a read costs is mostly
that climb. Twisted reads at most 64 KiB from a socket at a time, and TLS hands up each record (16 KiB) for itself.
"""

import socket
from array import array
from fcntl import ioctl
from termios import FIONREAD
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from zope.interface import implementer

READ: Final = 256 * 1024
"""Bytes read from a socket at most at a time; larger is slower again (the kernel's window runs dry between reads)."""


def widen(transport: Any) -> None:
    """Let the socket below a transport, TLS or not, be read (and its writes be queued) in portions of `READ`."""
    read_in(transport, READ)


def read_in(transport: Any, size: int) -> None:
    """Let the socket below a transport, TLS or not, be read (and its writes be queued) in portions of `size` bytes."""
    below = _socket_below(transport)
    if below is not None:
        below.bufferSize = size


def narrow(transport: Any, window: int) -> None:
    """Let the kernel hold no more than `window` bytes that nobody has read yet.

    Who reads slowly on purpose else has megabytes there, all for nothing if the connection is then cut.
    """
    below = _socket_below(transport)
    if below is not None:
        # The kernel takes twice as much, for its own books.
        below.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window // 2)


def unread(transport: Any) -> int:
    """Bytes that the kernel holds for a transport, TLS or not: they have come, and nobody has read them."""
    below = _socket_below(transport)
    if below is None:
        return 0
    count = array("i", [0])
    try:
        ioctl(below.getHandle(), FIONREAD, count)
    except (OSError, ValueError):  # closed meanwhile
        return 0
    return count[0]


def _socket_below(transport: Any) -> Any:
    """The transport that has the socket, if it is one of Twisted's over TCP; others have their own ways."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport if hasattr(transport, "bufferSize") else None


class Gathering:
    """To mix into a protocol above `GatheringTLS`: all records of one read come as one delivery."""

    _parts: list[bytes] | None = None

    def gather(self) -> None:
        """Records come from now on; they are to be `kept`."""
        self._parts = []

    def kept(self, data: bytes) -> bool:
        """Whether this delivery is put aside until `deliver`."""
        if self._parts is None:
            return False
        self._parts.append(data)
        return True

    def deliver(self) -> None:
        """No more records for now."""
        parts, self._parts = self._parts, None
        if parts:
            self.dataReceived(parts[0] if len(parts) == 1 else b"".join(parts))

    def dataReceived(self, data: bytes) -> None:
        """The protocol's own; it begins with `if self.kept(data): return`."""
        raise TypeError(f"{type(self).__name__} takes no data")


class GatheringTLS(BufferingTLSTransport):
    """TLS that hands up what one read of the socket held at once, where the protocol above is `Gathering`.

    When the other side ends it, it ends, also while we are waiting to send.
    """

    wrappedProtocol: Any

    def dataReceived(self, data: bytes) -> None:
        above = self.wrappedProtocol
        if isinstance(above, Gathering):
            above.gather()
            try:
                super().dataReceived(data)
            finally:
                above.deliver()
        else:
            super().dataReceived(data)
        if getattr(self.transport, "disconnecting", False):
            # The other side has ended it. Below, a producer that was paused would be waited for, who has nobody to
            # give anything to, and the connection would never be lost.
            self.unregisterProducer()


class GatheringTLSFactory(TLSMemoryBIOFactory):
    """Wraps a factory's protocols, server's or client's, in `GatheringTLS`."""

    protocol = GatheringTLS
    noisy = False


@implementer(IStreamClientEndpoint)
@attrs.frozen
class TLSEndpoint:
    """A client endpoint inside TLS, like Twisted's `wrapClientTLS`, that reads in good portions."""

    creator: IOpenSSLClientConnectionCreator
    inner: IStreamClientEndpoint
    clock: IReactorTime

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        factory = GatheringTLSFactory(self.creator, True, protocolFactory, self.clock)
        connecting: Deferred[Any] = self.inner.connect(factory)
        return connecting.addCallback(lambda secure: secure.wrappedProtocol)
