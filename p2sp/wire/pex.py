"""Which other nodes of a swarm do two sides of a link tell each other (BEP 11)?

The message is ut_pex as everybody speaks it, with node ids beside the addresses under keys of our own: others pass
these over, and we call nobody without one. Pure: `now` is any steady count of seconds.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from struct import Struct
from typing import Any, Final

import msgspec
from bencode2 import bencode

from p2sp.wire.errors import RemoteProtocolError

INTERVAL: Final = 60.0
"""Seconds between two messages on a link, either way."""

SLACK: Final = 5.0
"""Seconds by which the other side's clock may run ahead."""

MAX_TOLD: Final = 50
"""Nodes in one message of ours, added and gone each."""

MAX_READ: Final = 100
"""Nodes that are read from one message; what follows is passed over."""

SEED: Final = 0x02
REACHED: Final = 0x10
"""Flags of a node: it has everything; it was reached by calling it."""

_NODE_ID: Final = 32
_PORT = Struct(">H")
_FAMILIES: Final = ((b"", 4), (b"6", 16))


class Neighbour(msgspec.Struct, frozen=True):
    """Where a node listens, and whom to expect there: its node id in hex, empty of a foreign client."""

    host: str
    port: int
    node_id: str = ""


class Neighbours(msgspec.Struct, frozen=True):
    """One message: nodes that the sender has links with now, and some that it has no more."""

    added: tuple[Neighbour, ...] = ()
    dropped: tuple[Neighbour, ...] = ()


def encode_neighbours(news: Neighbours, flags: dict[Neighbour, int] | None = None) -> bytes:
    """The payload of a ut_pex message."""
    fields: dict[bytes, Any] = {}
    for suffix, size in _FAMILIES:
        added = [node for node in news.added if len(ip_address(node.host).packed) == size]
        fields[b"added" + suffix] = b"".join(map(_compact, added))
        fields[b"added" + suffix + b".f"] = bytes((flags or {}).get(node, 0) for node in added)
        fields[b"added" + suffix + b".p2sp"] = b"".join(
            bytes.fromhex(node.node_id) if node.node_id else bytes(_NODE_ID) for node in added
        )
        dropped = [node for node in news.dropped if len(ip_address(node.host).packed) == size]
        fields[b"dropped" + suffix] = b"".join(map(_compact, dropped))
    return bencode(fields)


def decode_neighbours(fields: dict[bytes, Any]) -> Neighbours:
    """Read the dictionary of a ut_pex message; at most `MAX_READ` nodes each way count.

    Raises RemoteProtocolError for rows that do not come out even.
    """
    added: list[Neighbour] = []
    dropped: list[Neighbour] = []
    for suffix, size in _FAMILIES:
        name = b"added" + suffix
        ids = _row(fields, name + b".p2sp", _NODE_ID)
        entries = _row(fields, name, size + 2)
        if ids and len(ids) != len(entries):
            raise RemoteProtocolError(f"ut_pex with {len(ids)} node ids for {len(entries)} addresses")
        for at, entry in enumerate(entries[:MAX_READ]):
            added.append(_neighbour(entry, ids[at] if ids else b""))
        dropped += (_neighbour(entry, b"") for entry in _row(fields, b"dropped" + suffix, size + 2)[:MAX_READ])
    return Neighbours(tuple(filter(_usable, added))[:MAX_READ], tuple(filter(_usable, dropped))[:MAX_READ])


class PexTimer:
    """Sees to it that a link brings news of others no more often than once a minute."""

    def __init__(self, slack: float = 0.0) -> None:
        self._slack = slack
        self._last: float | None = None

    def due(self, now: float) -> bool:
        """Whether it is time; if so, the next minute begins."""
        if self._last is not None and now - self._last < INTERVAL - self._slack:
            return False
        self._last = now
        return True


class PexTeller:
    """What one link has been told of others, and so what is news to it."""

    def __init__(self) -> None:
        self._told: dict[Neighbour, None] = {}
        self._timer = PexTimer()

    def news(self, present: Iterable[Neighbour], now: float) -> Neighbours | None:
        """What to tell the link now; None when it is not time yet, or there is nothing new."""
        current = dict.fromkeys(present)
        added = [node for node in current if node not in self._told][:MAX_TOLD]
        dropped = [node for node in self._told if node not in current][:MAX_TOLD]
        if not (added or dropped) or not self._timer.due(now):
            return None
        for node in dropped:
            del self._told[node]
        self._told.update(dict.fromkeys(added))
        return Neighbours(tuple(added), tuple(dropped))


def callable_from(neighbours: Sequence[Neighbour], teller: str) -> list[Neighbour]:
    """Those that we may call at all: with a node id, and inside this machine only if the teller is, too."""
    local = ip_address(teller).is_loopback
    return [node for node in neighbours if node.node_id and ip_address(node.host).is_loopback == local]


def _compact(node: Neighbour) -> bytes:
    return ip_address(node.host).packed + _PORT.pack(node.port)


def _neighbour(entry: bytes, node_id: bytes) -> Neighbour:
    known = node_id.hex() if any(node_id) else ""
    return Neighbour(str(ip_address(entry[:-2])), _PORT.unpack(entry[-2:])[0], known)


def _usable(node: Neighbour) -> bool:
    address = ip_address(node.host)
    return bool(node.port) and not (address.is_unspecified or address.is_multicast or address.is_reserved)


def _row(fields: dict[bytes, Any], key: bytes, size: int) -> list[bytes]:
    """A string made of entries of one size; what is no string counts as not said."""
    value = fields.get(key)
    if not isinstance(value, bytes):
        return []
    if len(value) % size:
        raise RemoteProtocolError(f"ut_pex: {key.decode('ascii')} of {len(value)} bytes is no row of {size} each")
    return [value[at : at + size] for at in range(0, len(value), size)]
