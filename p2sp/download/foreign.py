"""What is said to a BitTorrent tracker, and what does it answer (BEP 3, 7, 23, 31)?"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final
from urllib.parse import quote_from_bytes

import attrs
from bencode2 import bdecode

MAX_ANSWER: Final = 256 * 1024
MAX_PEERS: Final = 200
"""Addresses taken from one answer."""

WANTED: Final = 50
DEFAULT_INTERVAL: Final = 1800.0
_MAX_TEXT: Final = 200
_MAX_ID: Final = 256

Address = tuple[str, int]


@attrs.frozen
class Hints:
    """Where clients that are not of our network may be found: tiers of trackers (BEP 12), and addresses of peers.

    `v1_hash` is the name of a hybrid's other swarm, as far as a magnet link tells it.
    """

    tiers: tuple[tuple[str, ...], ...] = ()
    peers: tuple[Address, ...] = ()
    v1_hash: bytes | None = None

    def __bool__(self) -> bool:
        return bool(self.tiers or self.peers)


class Event(StrEnum):
    """Why a tracker is told now."""

    STARTED = "started"
    PROGRESS = ""
    COMPLETED = "completed"
    STOPPED = "stopped"


@attrs.frozen
class Announce:
    """What a tracker is told; counts in bytes."""

    info_hash: bytes
    peer_id: bytes
    port: int
    uploaded: int
    downloaded: int
    left: int
    event: Event
    key: int
    """32 bits by which a tracker knows us again at another address."""

    @property
    def wanted(self) -> int:
        """How many peers we ask for."""
        return WANTED if self.left and self.event is not Event.STOPPED else 0


@attrs.frozen
class Heard:
    """What a tracker answered; seconds between announces as it wishes them."""

    interval: float
    shortest: float = 0.0
    peers: tuple[Address, ...] = ()
    tracker_id: bytes = b""
    warning: str = ""


class AnnounceFailed(Exception):
    """A tracker did not answer, or refused; the text says why. `again` is when to come back, where it said so."""

    def __init__(self, reason: str, again: float | None = None) -> None:
        super().__init__(reason)
        self.again = again


def announce_url(url: str, told: Announce, tracker_id: bytes = b"") -> str:
    """The URL to get. Raises ValueError for one that cannot take a question."""
    base, fragment, _ = url.partition("#")
    if fragment:
        raise ValueError(f"{url[:_MAX_TEXT]!r} has a fragment")
    fields: list[tuple[str, bytes | str | int]] = [
        ("info_hash", told.info_hash),
        ("peer_id", told.peer_id),
        ("port", told.port),
        ("uploaded", told.uploaded),
        ("downloaded", told.downloaded),
        ("left", told.left),
        ("compact", 1),
        ("no_peer_id", 1),
        ("numwant", told.wanted),
        ("key", f"{told.key:08X}"),
    ]
    if told.event:
        fields.append(("event", told.event.value))
    if tracker_id:
        fields.append(("trackerid", tracker_id))
    query = "&".join(
        f"{name}={quote_from_bytes(value, safe='') if isinstance(value, bytes) else value}" for name, value in fields
    )
    return f"{base}{'&' if '?' in base else '?'}{query}"


def parse_answer(data: bytes) -> Heard:
    """Read an HTTP tracker's answer. Raises AnnounceFailed."""
    try:
        fields = bdecode(data)
    except (ValueError, RecursionError) as error:
        raise AnnounceFailed(f"its answer is not valid bencoding: {error}") from error
    if not isinstance(fields, dict):
        raise AnnounceFailed("its answer is not a dictionary")
    if (reason := fields.get(b"failure reason")) is not None:
        raise AnnounceFailed(f"it refuses: {readable(reason)}", _again(fields.get(b"retry in")))
    peers = [
        *_dictionaries(fields.get(b"peers")),
        *compact(fields.get(b"peers"), 4),
        *compact(fields.get(b"peers6"), 16),
    ]
    tracker_id = fields.get(b"tracker id")
    return Heard(
        interval=_seconds(fields.get(b"interval"), DEFAULT_INTERVAL),
        shortest=_seconds(fields.get(b"min interval"), 0.0),
        peers=tuple(dict.fromkeys(peers))[:MAX_PEERS],
        tracker_id=tracker_id if isinstance(tracker_id, bytes) and len(tracker_id) <= _MAX_ID else b"",
        warning=readable(fields.get(b"warning message", b"")),
    )


def compact(value: object, size: int) -> Iterator[Address]:
    """Peers as so many bytes of address and two of port each (BEP 23, 7); what nobody can be called at is left out."""
    if not isinstance(value, bytes):
        return
    for at in range(0, len(value) - size - 1, size + 2):
        packed = value[at : at + size]
        address = IPv4Address(packed) if size == 4 else IPv6Address(packed)
        found = _peer(address, int.from_bytes(value[at + size : at + size + 2], "big"))
        if found is not None:
            yield found


def _dictionaries(value: object) -> Iterator[Address]:
    """Peers as dictionaries, which trackers may send whatever was asked for (BEP 3)."""
    for item in value[:MAX_PEERS] if isinstance(value, list) else ():
        host, port = (item.get(b"ip"), item.get(b"port")) if isinstance(item, dict) else (None, None)
        if not isinstance(host, bytes) or not isinstance(port, int):
            continue
        try:
            address = ip_address(host.decode("ascii"))
        except ValueError:
            # A name, which would have us ask others about it.
            continue
        if (found := _peer(address, port)) is not None:
            yield found


def _peer(address: IPv4Address | IPv6Address, port: int) -> Address | None:
    # Of IPv6 even ::1 is reserved, by that word.
    nobody = address.is_unspecified or address.is_multicast or (address.version == 4 and address.is_reserved)
    if nobody or not 0 < port < 65536:
        return None
    return str(address), port


def readable(value: object) -> str:
    """What a stranger says, fit for a terminal."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_TEXT])


def _seconds(value: object, default: float) -> float:
    return float(value) if isinstance(value, int) and 0 < value < 1 << 32 else default


def _again(value: Any) -> float | None:
    """When to come back, in seconds (BEP 31 has minutes, or `never`)."""
    if value == b"never":
        return float("inf")
    minutes = int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 7 else value
    return minutes * 60.0 if isinstance(minutes, int) and 0 < minutes < 1 << 20 else None


def hashes_of(hints: Hints, resource_id: bytes, described: Sequence[bytes]) -> tuple[bytes, ...]:
    """Under which names others look for a resource: as described, or while nobody has, as far as a link tells."""
    if described:
        return tuple(described)
    return (resource_id[:20],) if hints.v1_hash is None else (resource_id[:20], hints.v1_hash)
