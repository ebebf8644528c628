"""Where does a service listen, and why can it not?"""

from ipaddress import ip_address
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEPORT,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    AddressFamily,
    socket,
)
from typing import Any, cast

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
    IReactorUDP,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.tcp import makeBinding
from twisted.protocols.tls import TLSMemoryBIOFactory

from p2sp.net.errors import CannotListen
from p2sp.net.inherited import inherited_socket

BACKLOG = 512
LARGEST_PACKET = 8192
PER_TURN = 16 * 1024
"""Bytes of datagrams that are read before others come in between."""


def parse_listen(text: str) -> tuple[str, int]:
    """Read an address such as `127.0.0.1:9001`, `[::1]:9001` or `*:9001` (all IPv4 addresses).

    Raises ValueError saying what is wrong with it.
    """
    host, colon, port_text = text.strip().rpartition(":")
    if not colon or not port_text.isascii() or not port_text.isdigit():
        raise ValueError(f"{text!r} is not an address and port such as 127.0.0.1:9001 or [::1]:9001")
    port = int(port_text)
    if port > 65535:
        raise ValueError(f"{text!r} has a port beyond 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    host = {"*": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host[1:-1] if bracketed else host)  # noqa: S104 - an operator's explicit wish
    try:
        version = ip_address(host).version
    except ValueError:
        raise ValueError(f"{text!r} must name an IP address of this machine, not {host!r}") from None
    if (version == 6) != bracketed:
        raise ValueError(f"{text!r}: an IPv6 address stands in brackets and no other does")
    return host, port


def listen_tcp(
    reactor: IReactorTCP, address: str, factory: IProtocolFactory, *, shared: bool = False
) -> IListeningPort:
    """Listen in clear text at `address`; raises CannotListen naming the address and the reason.

    A socket that systemd opened at this address is taken over. A `shared` port may be listened on by several processes
    that all ask for that; the system spreads connections.
    """
    host, port = _where(address)
    try:
        if (inherited := inherited_socket(host, port, SOCK_STREAM)) is not None:
            return IReactorSocket(reactor).adoptStreamPort(*inherited, cast(Any, factory))
        if shared:
            at: Any = makeBinding(host, port, reuseAddress=True, reusePort=True)
            return reactor.listenTCP(at, cast(Any, factory), backlog=BACKLOG)
        return reactor.listenTCP(port, cast(Any, factory), backlog=BACKLOG, interface=host)
    except CannotListenError as error:
        raise _explained(address, error) from error


def listen_udp(
    reactor: IReactorUDP, address: str, protocol: DatagramProtocol, *, shared: bool = False
) -> IListeningPort:
    """Take datagrams at `address`; raises CannotListen naming the address and the reason.

    A `shared` port may be listened on by several processes that all ask for that; the system spreads senders.
    """
    host, port = _where(address)
    try:
        if (inherited := inherited_socket(host, port, SOCK_DGRAM)) is not None:
            opened = _adopt_datagrams(reactor, inherited, protocol)
        elif shared:
            with _shared_datagrams(address, host, port) as made:
                opened = _adopt_datagrams(reactor, (made.fileno(), made.family), protocol)
        else:
            opened = reactor.listenUDP(port, cast(Any, protocol), interface=host, maxPacketSize=LARGEST_PACKET)
    except CannotListenError as error:
        raise _explained(address, error) from error
    cast(Any, opened).maxThroughput = PER_TURN
    return opened


def _adopt_datagrams(
    reactor: IReactorUDP, there: tuple[int, AddressFamily], protocol: DatagramProtocol
) -> IListeningPort:
    return IReactorSocket(reactor).adoptDatagramPort(*there, cast(Any, protocol), maxPacketSize=LARGEST_PACKET)


def _shared_datagrams(address: str, host: str, port: int) -> socket:
    made = socket(AF_INET6 if ":" in host else AF_INET, SOCK_DGRAM)
    try:
        made.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
        if made.family == AF_INET6:
            # As Twisted's own: IPv4 has sockets of its own.
            made.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise CannotListen(address, error.strerror or str(error)) from error
    made.setblocking(False)
    return made


def _where(address: str) -> tuple[str, int]:
    try:
        return parse_listen(address)
    except ValueError as error:
        raise CannotListen(address, str(error)) from error


def _explained(address: str, error: CannotListenError) -> CannotListen:
    cause = error.socketError
    return CannotListen(address, getattr(cause, "strerror", None) or str(cause))


class _TlsFactory(TLSMemoryBIOFactory):
    """Lets the inner factory turn connections away, which Twisted's own trips over."""

    def buildProtocol(self, addr: Any) -> Any:
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


def listen_tls(
    reactor: IReactorTCP,
    address: str,
    factory: IProtocolFactory,
    context: IOpenSSLServerConnectionCreator,
    *,
    shared: bool = False,
) -> IListeningPort:
    """Listen with TLS at `address`, at once; raises CannotListen naming the address and the reason."""
    wrapped = _TlsFactory(context, False, factory, IReactorTime(reactor))
    return listen_tcp(reactor, address, wrapped, shared=shared)
