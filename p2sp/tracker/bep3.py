"""What do foreign BitTorrent clients ask of a tracker over HTTP, and how is it answered? (BEP 3, 7, 23, 24, 31, 48)"""

from binascii import hexlify
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs
from bencode2 import bencode

from p2sp.tracker.entry import Entry
from p2sp.tracker.schema import Event

MOST_WANTED: Final = 200
WANTED: Final = 50
MOST_HASHES: Final = 64
"""Swarms in one scrape."""

MOST_PARAMETERS: Final = 100
HASH_SIZE: Final = 20
SIZE_OF_FOUR: Final = 6
"""Bytes of an IPv4 address and a port."""

_MOST_BYTES: Final = 2**62
_EVENTS: Final = {
    b"": Event.PROGRESS,
    b"empty": Event.PROGRESS,
    b"paused": Event.PROGRESS,
    b"started": Event.STARTED,
    b"completed": Event.COMPLETED,
    b"stopped": Event.STOPPED,
}


class BadQuery(ValueError):
    """A request that cannot be understood; the text is for whoever runs the client."""


@attrs.frozen
class ForeignAnnounce:
    """A foreign client's state in one swarm.

    `swarm` is the info-hash in hex (v2 ones are cut to 20 bytes by the client), `peer_id` what the client calls
    itself, in hex. There is no address in it: only the observed one counts. `left` is bytes, as is `downloaded`, which
    counts from when the client began.
    """

    swarm: str
    peer_id: str
    port: int
    left: int
    event: Event
    downloaded: int = 0
    wanted: int = WANTED
    compact: bool = True
    with_ids: bool = False


def read_announce(query: bytes) -> ForeignAnnounce:
    """Read the query of an announce; percent-escapes are bytes, whatever they mean as text. Raises BadQuery."""
    values = dict(_parameters(query))
    event = values.get(b"event", b"")
    if event not in _EVENTS:
        raise BadQuery("event must be started, completed or stopped")
    return ForeignAnnounce(
        swarm=_swarm(values.get(b"info_hash", b"")),
        peer_id=_hash(values.get(b"peer_id", b""), "peer_id"),
        port=_number(values, b"port", 65535),
        left=_number(values, b"left", _MOST_BYTES, 1),
        event=_EVENTS[event],
        downloaded=_number(values, b"downloaded", _MOST_BYTES, 0),
        wanted=min(_number(values, b"numwant", 2**31, WANTED, negative=WANTED), MOST_WANTED),
        compact=values.get(b"compact", b"1") != b"0",
        with_ids=values.get(b"no_peer_id", b"0") != b"1",
    )


def read_scrape(query: bytes) -> list[str]:
    """The swarms a scrape is about, in hex. Raises BadQuery when there are none, which would mean all, or too many."""
    hashes = [_swarm(value) for name, value in _parameters(query) if name == b"info_hash"]
    if not hashes:
        raise BadQuery("info_hash is missing: this tracker does not tell of all its swarms")
    if len(hashes) > MOST_HASHES:
        raise BadQuery(f"at most {MOST_HASHES} swarms can be asked for at once")
    return list(dict.fromkeys(hashes))


@attrs.frozen
class SwarmNumbers:
    """How many of a swarm are complete, have completed since we watch, and are not complete."""

    seeds: int
    completions: int
    leeches: int


def write_announce(
    asked: ForeignAnnounce, peers: Sequence[Entry], numbers: SwarmNumbers, *, interval: int, address: str
) -> bytes:
    """The answer to an announce. `interval` in seconds, `address` is how the client is seen (BEP 24)."""
    four, six = compact(peers)
    answer: dict[bytes, object] = {
        b"complete": numbers.seeds,
        b"downloaded": numbers.completions,
        b"external ip": packed_address(address),
        b"incomplete": numbers.leeches,
        b"interval": interval,
        b"min interval": max(1, interval // 2),
    }
    if asked.compact:
        answer[b"peers"] = four
        if six:
            answer[b"peers6"] = six
    else:
        answer[b"peers"] = [_as_dict(each, asked.with_ids) for each in peers]
    return bencode(answer)


def write_scrape(numbers: Mapping[str, SwarmNumbers]) -> bytes:
    """The answer to a scrape (BEP 48), of the swarms that are known."""
    files = {
        bytes.fromhex(swarm): {
            b"complete": each.seeds,
            b"downloaded": each.completions,
            b"incomplete": each.leeches,
        }
        for swarm, each in numbers.items()
    }
    return bencode({b"files": files})


def write_failure(reason: str, retry_minutes: int | None = None) -> bytes:
    """A refusal; with `retry_minutes` the client may come back after so many minutes, without never (BEP 31)."""
    retry: object = b"never" if retry_minutes is None else retry_minutes
    return bencode({b"failure reason": reason.encode(), b"retry in": retry})


def compact(peers: Iterable[Entry]) -> tuple[bytes, bytes]:
    """Address and port of each peer: IPv4 in 6 bytes (BEP 23), IPv6 in 18 (BEP 7)."""
    packed = [each.packed or _pack(each) for each in peers]
    joined = b"".join(packed)
    if len(joined) == SIZE_OF_FOUR * len(packed):
        return joined, b""
    four, six = ([each for each in packed if (len(each) == SIZE_OF_FOUR) == wanted] for wanted in (True, False))
    return b"".join(four), b"".join(six)


def _pack(entry: Entry) -> bytes:
    """Remembered with the entry: an answer has fifty of them, and each stands in many answers."""
    packed = entry.packed = packed_address(entry.host) + entry.port.to_bytes(2, "big")
    return packed


def packed_address(address: str) -> bytes:
    """An IP address in 4 or 16 bytes; several times as quick as ipaddress."""
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)


def _as_dict(entry: Entry, with_id: bool) -> dict[bytes, object]:
    peer: dict[bytes, object] = {b"ip": entry.host.encode(), b"port": entry.port}
    if with_id and entry.foreign:
        peer[b"peer id"] = bytes.fromhex(entry.session)
    return peer


def _parameters(query: bytes) -> list[tuple[bytes, bytes]]:
    parts = query.split(b"&", MOST_PARAMETERS)
    if len(parts) > MOST_PARAMETERS:
        raise BadQuery("the query has too many parameters")
    return [(name, value) for name, _, value in (part.partition(b"=") for part in parts)]


@lru_cache(maxsize=4096)
def _swarm(value: bytes) -> str:
    """The swarm that a client's `info_hash` names; many clients ask for the same few."""
    return _hash(value, "info_hash")


def _hash(value: bytes, name: str) -> str:
    raw = unquote_to_bytes(value) if b"%" in value else value
    if len(raw) != HASH_SIZE:
        raise BadQuery(f"{name} must be {HASH_SIZE} bytes, escaped as in a URL")
    return hexlify(raw).decode()


def _number(
    values: Mapping[bytes, bytes], name: bytes, most: int, default: int | None = None, *, negative: int | None = None
) -> int:
    text = values.get(name, b"")
    if not text and default is not None:
        return default
    if negative is not None and text[:1] == b"-" and text[1:].isdigit():
        return negative
    # Of ASCII digits alone, and not so many that reading them takes long.
    if not text.isdigit() or len(text) > 20 or int(text) > most:
        raise BadQuery(f"{name.decode()} must be a number from 0 to {most}")
    return int(text)
