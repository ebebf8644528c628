"""How is a BitTorrent tracker asked in datagrams (BEP 15)?"""

import struct
from collections.abc import Sequence
from secrets import randbits
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorTime,
    IReactorUDP,
    IResolutionReceiver,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from p2sp.download.foreign import MAX_PEERS, Announce, AnnounceFailed, Event, Heard, compact, readable
from p2sp.net.addresses import GuardedResolver, Network

WAITS: Final = (3.0, 6.0, 9.0)
"""Seconds that an answer is awaited, each time we ask; BEP 15's own would take an hour."""

_MAGIC: Final = 0x41727101980
_CONNECT, _ANNOUNCE, _ERROR = 0, 1, 3
_HEAD: Final = struct.Struct(">II")
_CONNECTED: Final = struct.Struct(">IIQ")
_TOLD: Final = struct.Struct(">QII20s20sQQQIIIiH")
_HEARD: Final = struct.Struct(">IIIII")
_EVENTS: Final = {Event.PROGRESS: 0, Event.COMPLETED: 1, Event.STARTED: 2, Event.STOPPED: 3}
_DATAGRAM: Final = 64 * 1024


async def ask_udp(
    reactor: Any, url: str, told: Announce, *, bind_address: str | None = None, allowed: Sequence[Network] | None = None
) -> Heard:
    """Announce at a tracker's URL. `allowed` is for daemons, see `Connect`. Raises AnnounceFailed."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise AnnounceFailed(str(error)) from error
    if not host or not port:
        raise AnnounceFailed("it names no host and port")
    address = await _resolve(reactor, host, port, allowed)
    family = "::" if isinstance(address, IPv6Address) else "0.0.0.0"  # noqa: S104 - for the answer alone
    talk = _Talk(reactor, address)
    try:
        port_of_ours = IReactorUDP(reactor).listenUDP(
            0, talk, interface=bind_address or family, maxPacketSize=_DATAGRAM
        )
    except OSError as error:
        raise AnnounceFailed(str(error)) from error
    try:
        connection = _CONNECTED.unpack_from(await talk.ask(_CONNECT, _MAGIC, b"", _CONNECTED.size))[2]
        answer = await talk.ask(_ANNOUNCE, connection, _rest_of(told), _HEARD.size)
    finally:
        await maybeDeferred(port_of_ours.stopListening)
    peers = compact(answer[_HEARD.size :], 16 if isinstance(address, IPv6Address) else 4)
    return Heard(float(_HEARD.unpack_from(answer)[2]), peers=tuple(dict.fromkeys(peers))[:MAX_PEERS])


def _rest_of(told: Announce) -> bytes:
    """An announce behind its connection, action and transaction."""
    packed = _TOLD.pack(
        0,
        0,
        0,
        told.info_hash,
        told.peer_id,
        told.downloaded,
        told.left,
        told.uploaded,
        _EVENTS[told.event],
        0,
        told.key,
        told.wanted,
        told.port,
    )
    return packed[16:]


class _Talk(DatagramProtocol):
    """Asks one tracker, one question at a time."""

    def __init__(self, clock: IReactorTime, address: IPv4Address | IPv6Address) -> None:
        self._clock = clock
        self._address = address
        self._transaction = 0
        self._answer: Deferred[bytes] | None = None

    def startProtocol(self) -> None:
        # Whoever else sends is not heard then, and that nobody listens there is.
        self._udp().connect(self._address.host, self._address.port)

    async def ask(self, action: int, connection: int, rest: bytes, shortest: int) -> bytes:
        """Ask until an answer of at least so many bytes comes. Raises AnnounceFailed."""
        self._transaction = randbits(32)
        question = struct.pack(">QII", connection, action, self._transaction) + rest
        for wait in WAITS:
            self._answer = Deferred()
            self._udp().write(question, None)
            self._answer.addTimeout(wait, self._clock)
            try:
                answer = await self._answer
            except TooLate:
                continue
            finally:
                self._answer = None
            what = _HEAD.unpack_from(answer)[0]
            if what == _ERROR:
                raise AnnounceFailed(f"it refuses: {readable(answer[_HEAD.size :])}")
            if what != action or len(answer) < shortest:
                raise AnnounceFailed("its answer is none to what was asked")
            return answer
        raise AnnounceFailed(f"no answer within {sum(WAITS):g} s")

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        answer = self._answer
        if answer is None or answer.called or len(datagram) < _HEAD.size:
            return
        if _HEAD.unpack_from(datagram)[1] == self._transaction:
            answer.callback(datagram)

    def stopProtocol(self) -> None:
        # Where polling tells of the refusal first, the reactor ends the port without a word.
        self.connectionRefused()

    def connectionRefused(self) -> None:
        if self._answer is not None and not self._answer.called:
            self._answer.errback(AnnounceFailed("nobody listens there"))

    def _udp(self) -> IUDPTransport:
        assert self.transport is not None
        return self.transport


@implementer(IResolutionReceiver)
class _First:
    """The first address of a host."""

    def __init__(self) -> None:
        self.done: Deferred[IPv4Address | IPv6Address | None] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """There is nothing to wait for but its end."""

    def addressResolved(self, address: IAddress) -> None:
        if isinstance(address, IPv4Address | IPv6Address) and not self.done.called:
            self.done.callback(address)

    def resolutionComplete(self) -> None:
        if not self.done.called:
            self.done.callback(None)


async def _resolve(reactor: Any, host: str, port: int, allowed: Sequence[Network] | None) -> IPv4Address | IPv6Address:
    resolver: IHostnameResolver = reactor.nameResolver
    if allowed is not None:
        resolver = GuardedResolver(resolver, allowed)
    first = _First()
    resolver.resolveHostName(first, host, port, transportSemantics="UDP")
    found = await first.done
    if found is None:
        raise AnnounceFailed(f"{host} has no address" + ("" if allowed is None else " that may be asked"))
    return found
