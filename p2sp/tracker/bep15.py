"""What do foreign BitTorrent clients ask of a tracker in datagrams, and how is it answered? (BEP 15)"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Final

import attrs

from p2sp.tracker.bep3 import WANTED, ForeignAnnounce, SwarmNumbers, compact
from p2sp.tracker.entry import Entry
from p2sp.tracker.schema import Event

MAGIC: Final = 0x41727101980
CONNECT, ANNOUNCE, SCRAPE = range(3)
ERROR: Final = 3
MOST_HASHES: Final = 74
LARGEST: Final = 2048
"""Bytes of a datagram that is looked at."""

ROOM: Final = 1206
"""Bytes of peers in one answer, whole ones of either kind, which so fits into one packet everywhere."""

SLOT: Final = 60.0
_SLOTS: Final = 3
_HEAD: Final = struct.Struct(">QII")
_ANNOUNCE: Final = struct.Struct(">QII20s20sQQQIIIiH")
_EVENTS: Final = (Event.PROGRESS, Event.COMPLETED, Event.STARTED, Event.STOPPED)


class BadDatagram(ValueError):
    """Nothing that deserves an answer."""


@attrs.frozen
class ConnectionIds:
    """Numbers that prove that a client receives what is sent to its address, without a memory of clients.

    Whoever has the same `secret` and clock takes them. A number is good for two to three minutes of `now`, in seconds,
    at whatever port of the address: which it is changes on its way through some routers.
    """

    secret: bytes = attrs.field(repr=False)

    def make(self, host: str, now: float) -> int:
        """The number for an address."""
        return self._number(host, int(now // SLOT))

    def check(self, number: int, host: str, now: float) -> bool:
        """Whether the number was made for this address lately."""
        slot = int(now // SLOT)
        shown = number.to_bytes(8, "big")
        return any(
            hmac.compare_digest(shown, self._number(host, slot - age).to_bytes(8, "big")) for age in range(_SLOTS)
        )

    def _number(self, host: str, slot: int) -> int:
        text = f"{slot} {host}".encode()
        return int.from_bytes(hmac.digest(self.secret, text, hashlib.sha256)[:8], "big")


@attrs.frozen
class Datagram:
    """A request: `number` is the connection's, `transaction` comes back in the answer."""

    number: int
    action: int
    transaction: int
    data: bytes = attrs.field(repr=False)


def read(data: bytes) -> Datagram:
    """Read what every request begins with. Raises BadDatagram for what is none."""
    if not _HEAD.size <= len(data) <= LARGEST:
        raise BadDatagram("not of a request's length")
    number, action, transaction = _HEAD.unpack_from(data)
    if action not in (CONNECT, ANNOUNCE, SCRAPE) or (action == CONNECT and number != MAGIC):
        raise BadDatagram("not a request")
    return Datagram(number, action, transaction, data)


def read_announce(request: Datagram) -> ForeignAnnounce:
    """The state of a client in one swarm; the address it may name is passed over. Raises BadDatagram."""
    if len(request.data) < _ANNOUNCE.size:
        raise BadDatagram("an announce is too short")
    fields = _ANNOUNCE.unpack_from(request.data)
    swarm, peer_id, downloaded, left, event, wanted, port = (fields[each] for each in (3, 4, 5, 6, 8, 11, 12))
    if event >= len(_EVENTS):
        raise BadDatagram("an event that does not exist")
    return ForeignAnnounce(
        swarm=swarm.hex(),
        peer_id=peer_id.hex(),
        port=port,
        left=left,
        event=_EVENTS[event],
        downloaded=downloaded,
        wanted=WANTED if wanted < 0 else min(wanted, ROOM // 6),
    )


def read_scrape(request: Datagram) -> list[str]:
    """The swarms in question, in hex and in order. Raises BadDatagram."""
    body = request.data[_HEAD.size :]
    if not body or len(body) % 20 or len(body) > 20 * MOST_HASHES:
        raise BadDatagram("not a row of info-hashes")
    return [body[place : place + 20].hex() for place in range(0, len(body), 20)]


def write_connect(request: Datagram, number: int) -> bytes:
    """The answer to a connect: as long as the question, so that nobody gains by asking in another's name."""
    return struct.pack(">IIQ", CONNECT, request.transaction, number)


def write_announce(
    request: Datagram, peers: Sequence[Entry], numbers: SwarmNumbers, interval: int, address: str
) -> bytes:
    """The answer to an announce: peers of the IP version the client uses."""
    four, six = compact(peers)
    head = struct.pack(">IIIII", ANNOUNCE, request.transaction, interval, numbers.leeches, numbers.seeds)
    return head + (six if ":" in address else four)[:ROOM]


def write_scrape(request: Datagram, numbers: Sequence[SwarmNumbers]) -> bytes:
    """The answer to a scrape, in the order of the question."""
    rows = b"".join(struct.pack(">III", each.seeds, each.completions, each.leeches) for each in numbers)
    return struct.pack(">II", SCRAPE, request.transaction) + rows


def write_error(request: Datagram, reason: str) -> bytes:
    """A refusal, for a client whose address is proven."""
    return struct.pack(">II", ERROR, request.transaction) + reason.encode()
