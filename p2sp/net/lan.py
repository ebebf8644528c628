"""Who on our own network takes part in a resource too?

The idea is BEP 14's, with a group, a port and a datagram of our own: a call names the key that the dialler pins.
"""

import socket
import sys
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from random import Random
from secrets import token_bytes
from struct import Struct
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from p2sp.net.lan_call import MAX_CALL, MAX_HASHES, Call, decode_call, encode_call
from p2sp.net.ratelimit import RateLimit, RateTable
from p2sp.net.throttle import TokenBucket

GROUP: Final = "239.192.80.83"
"""A multicast group of organisation-local scope (RFC 2365)."""

PORT: Final = 6771
EVERY: Final = (10.0, 60.0, 300.0)
"""Seconds after which a resource is called out for the second time, the third, and again; less up to a tenth."""

AGAIN: Final = 10.0
"""Seconds in which a resource is called out once, whoever asks."""

ANSWER_WITHIN: Final = 1.0
SENT: Final = (2.0, 10.0)
"""Calls we make a second, in the long run and at once."""

HEARD: Final = RateLimit(rate=2.0, burst=20.0)
"""Calls of one address that are looked at."""

HEARD_OF_ALL: Final = (50.0, 200.0)
MAX_SOURCES: Final = 256
MAX_INTERFACES: Final = 16
_IP_MULTICAST_ALL: Final = 49
"""Linux: whether groups that others on this machine joined come in, too."""

_MREQN: Final = Struct("=4s4si")

Found = Callable[[str, str, int], None]
"""Takes node id, address and port of a node that was heard."""


@attrs.define(eq=False)
class _Watched:
    """A resource we take part in: who wants to hear of others, and when it is called out."""

    found: Found
    due: float
    last: float = float("-inf")
    called: int = 0

    @property
    def asks(self) -> bool:
        """Whether it wants to hear from others: the first calls, of which one may be lost, do."""
        return self.called < len(EVERY) - 1


class Lan(DatagramProtocol):
    """Calls out what we take part in on the networks of `address`, and hears who else does.

    `address` is the IPv4 address that our wire listens on; `0.0.0.0` stands for all interfaces, one of 127.0.0.0/8 for
    loopback alone. `port` tells where the wire listens now. Whatever goes wrong is a line in the log: the network is
    looked for elsewhere, too.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        node_id: str,
        address: str,
        port: Callable[[], int],
        rng: Random,
        *,
        multicast_port: int = PORT,
    ) -> None:
        self._reactor = reactor
        self._clock = IReactorTime(reactor)
        self._node_id = node_id
        self._address = address
        self._port = port
        self._rng = rng
        self._multicast_port = multicast_port
        self._cookie = token_bytes(8)
        self._watched: dict[bytes, _Watched] = {}
        self._interfaces: list[bytes] = []
        self._listening: Any = None
        self._timer: IDelayedCall | None = None
        self._sending = TokenBucket(*SENT)
        self._hearing = TokenBucket(*HEARD_OF_ALL)
        self._sources = RateTable(HEARD, MAX_SOURCES)

    @property
    def resources(self) -> int:
        """How many are called out."""
        return len(self._watched)

    def start(self) -> None:
        """Begin to call and to hear."""
        try:
            here = ip_address(self._address)
            if not isinstance(here, IPv4Address):
                self._log.info("{address}: nodes on the same network are looked for on IPv4 only", address=here)
                return
            self._listening = self._reactor.listenMulticast(
                self._multicast_port, self, interface=GROUP, maxPacketSize=MAX_CALL + 1, listenMultiple=True
            )
            self._join(here)
        except (OSError, CannotListenError) as error:
            self._log.info("nodes on the same network are not looked for: {reason}", reason=str(error))

    def stop(self) -> "Deferred[None]":
        """Leave; fires when the socket is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched.clear()
        listening, self._listening = self._listening, None
        if listening is None:
            return succeed(None)
        return maybeDeferred(listening.stopListening).addCallback(lambda _: None)

    def watch(self, info_hash: bytes, found: Found) -> Callable[[], None]:
        """Call out that we take part in a resource, and tell of others who do; the answer ends it."""
        watched = self._watched[info_hash] = _Watched(found, self._clock.seconds())
        self._plan(watched.due)

        def stop() -> None:
            if self._watched.get(info_hash) is watched:
                del self._watched[info_hash]

        return stop

    # The socket.

    def _join(self, here: IPv4Address) -> None:
        sock = self._socket()
        if here.is_unspecified:
            choices = [_MREQN.pack(bytes(4), bytes(4), index) for index, _ in socket.if_nameindex()]
        else:
            choices = [_MREQN.pack(bytes(4), here.packed, 0)]
        if sys.platform == "linux":
            # What other programs on this machine joined is none of ours.
            sock.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        group = socket.inet_aton(GROUP)
        for choice in choices[:MAX_INTERFACES]:
            try:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + choice[4:])
            except OSError as error:
                self._log.debug("an interface does no multicast: {reason}", reason=str(error))
            else:
                self._interfaces.append(choice)

    def _socket(self) -> socket.socket:
        # Twisted's own methods know no interface by number.
        transport: Any = self.transport
        found: socket.socket = transport.socket
        return found

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        host = str(addr[0])
        now = self._clock.seconds()
        if self._sources.wait(host, now) or self._hearing.try_take(1, now):
            return
        call = decode_call(datagram)
        if call is None or call.cookie == self._cookie or call.node_id == self._node_id:
            return
        for info_hash in call.hashes:
            watched = self._watched.get(info_hash)
            if watched is None:
                continue
            if call.asking:
                # Not all at once: many may be asked.
                soon = max(now + self._rng.uniform(0, ANSWER_WITHIN), watched.last + AGAIN)
                watched.due = min(watched.due, soon)
                self._plan(soon)
            watched.found(call.node_id, host, call.port)

    def _send(self, call: Call) -> None:
        assert self.transport is not None
        data = encode_call(call)
        sock = self._socket()
        for interface in self._interfaces:
            try:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
                self.transport.write(data, (GROUP, self._multicast_port))
            except OSError as error:
                self._log.debug("a call was not heard: {reason}", reason=str(error))

    # When what is called out.

    def _plan(self, due: float) -> None:
        """Something is to be called out then, or earlier if something else is."""
        if not self._interfaces or not self._port():
            return
        if self._timer is not None:
            if self._timer.getTime() <= due:
                return
            self._timer.cancel()
        self._timer = self._clock.callLater(max(due - self._clock.seconds(), 0.0), self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        if wait := self._sending.try_take(1, now):
            self._timer = self._clock.callLater(wait, self._turn)
            return
        due = [(info_hash, watched) for info_hash, watched in self._watched.items() if watched.due <= now]
        due.sort(key=lambda item: (item[1].called, item[1].due))
        # Those that ask go together: it is said once for all of a call.
        asking = any(watched.asks for _, watched in due)
        batch = [item for item in due if item[1].asks == asking][:MAX_HASHES]
        if batch:
            self._send(Call(self._cookie, self._node_id, self._port(), tuple(name for name, _ in batch), asking))
        for _, watched in batch:
            watched.due = now + EVERY[min(watched.called, len(EVERY) - 1)] * self._rng.uniform(0.9, 1.0)
            watched.called, watched.last = watched.called + 1, now
        if self._watched:
            self._plan(min(watched.due for watched in self._watched.values()))
