"""Is a foreign tracker asked as BEP 3 says, and are its answers read whatever they hold?"""

from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

import pytest
from bencode2 import bencode
from hypothesis import given
from hypothesis import strategies as st

from p2sp.download.foreign import (
    DEFAULT_INTERVAL,
    MAX_PEERS,
    Announce,
    AnnounceFailed,
    Event,
    Hints,
    announce_url,
    hashes_of,
    parse_answer,
)

HASH = bytes(range(100, 120))
TOLD = Announce(HASH, b"-PS0100-0123456789ab", 7000, 11, 22, 33, Event.STARTED, 0xABC)


def fields(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True, encoding="latin-1"))


def test_what_is_asked() -> None:
    asked = fields(announce_url("http://t.example/announce", TOLD))
    assert asked.pop("info_hash").encode("latin-1") == HASH
    assert asked == {
        "peer_id": "-PS0100-0123456789ab",
        "port": "7000",
        "uploaded": "11",
        "downloaded": "22",
        "left": "33",
        "compact": "1",
        "no_peer_id": "1",
        "numwant": "50",
        "key": "00000ABC",
        "event": "started",
    }


@given(st.binary(min_size=20, max_size=20), st.binary(max_size=40))
def test_bytes_are_escaped_one_by_one(info_hash: bytes, tracker_id: bytes) -> None:
    told = Announce(info_hash, bytes(20), 1, 0, 0, 0, Event.PROGRESS, 0)
    url = announce_url("http://t/x?pass=a%20b", told, tracker_id)
    assert url.startswith("http://t/x?pass=a%20b&info_hash=")
    pairs = dict(pair.split("=") for pair in urlsplit(url).query.split("&"))
    assert unquote_to_bytes(pairs["info_hash"]) == info_hash
    assert unquote_to_bytes(pairs.get("trackerid", "")) == tracker_id
    assert (pairs["numwant"], "event" in pairs) == ("0", False)


def test_a_url_with_a_fragment_cannot_take_a_question() -> None:
    with pytest.raises(ValueError, match="fragment"):
        announce_url("http://t/#x", TOLD)


def packed(host: str, port: int) -> bytes:
    return ip_address(host).packed + port.to_bytes(2, "big")


@pytest.mark.parametrize(
    ("answer", "peers"),
    [
        ({}, ()),
        ({"peers": packed("192.0.2.1", 80) + packed("192.0.2.2", 81)}, (("192.0.2.1", 80), ("192.0.2.2", 81))),
        ({"peers": packed("192.0.2.1", 80) + b"12345"}, (("192.0.2.1", 80),)),
        ({"peers6": packed("2001:db8::1", 9)}, (("2001:db8::1", 9),)),
        ({"peers": b"", "peers6": packed("::1", 9)}, (("::1", 9),)),
        ({"peers": packed("192.0.2.1", 80) * 3}, (("192.0.2.1", 80),)),
        ({"peers": packed("0.0.0.0", 80) + packed("224.0.0.1", 80) + packed("192.0.2.1", 0)}, ()),
        ({"peers": [{"ip": b"192.0.2.1", "port": 5, "peer id": b"x"}, {"ip": b"::1", "port": 6}]}, None),
        ({"peers": [{"ip": b"host.example", "port": 5}, {"ip": b"1.2.3.4"}, {"ip": 7, "port": 5}, 9]}, ()),
        ({"peers": [{"ip": b"192.0.2.1", "port": 70000}, {"ip": b"192.0.2.1", "port": -1}]}, ()),
        ({"peers": 7, "peers6": [b"x"]}, ()),
    ],
)
def test_peers(answer: dict[str, Any], peers: tuple[tuple[str, int], ...] | None) -> None:
    expected = (("192.0.2.1", 5), ("::1", 6)) if peers is None else peers
    assert parse_answer(bencode(answer)).peers == expected


def test_no_more_peers_than_anybody_can_call() -> None:
    many = b"".join(packed(f"192.0.2.{at % 250 + 1}", at + 1) for at in range(1000))
    assert len(parse_answer(bencode({"peers": many})).peers) == MAX_PEERS


@pytest.mark.parametrize(
    ("answer", "interval", "shortest"),
    [
        ({}, DEFAULT_INTERVAL, 0.0),
        ({"interval": 60, "min interval": 30}, 60.0, 30.0),
        ({"interval": -5, "min interval": b"x"}, DEFAULT_INTERVAL, 0.0),
        ({"interval": 1 << 40}, DEFAULT_INTERVAL, 0.0),
    ],
)
def test_when_to_come_back(answer: dict[str, Any], interval: float, shortest: float) -> None:
    heard = parse_answer(bencode(answer))
    assert (heard.interval, heard.shortest) == (interval, shortest)


def test_what_else_is_said() -> None:
    heard = parse_answer(bencode({"tracker id": b"\x00id", "warning message": b"be\nnice"}))
    assert (heard.tracker_id, heard.warning) == (b"\x00id", "be nice")
    assert parse_answer(bencode({"tracker id": b"x" * 1000})).tracker_id == b""


@pytest.mark.parametrize(
    ("data", "sentence", "again"),
    [
        (b"", "not valid bencoding", None),
        (b"<html>", "not valid bencoding", None),
        (b"i5e", "not a dictionary", None),
        (b"l" * 5000, "not valid bencoding", None),
        (bencode({"failure reason": b"not\x1b[31m here"}), r"it refuses: not \[31m here", None),
        (bencode({"failure reason": b"later", "retry in": 5}), "later", 300.0),
        (bencode({"failure reason": b"later", "retry in": b"7"}), "later", 420.0),
        (bencode({"failure reason": b"gone", "retry in": b"never"}), "gone", float("inf")),
        (bencode({"failure reason": 7, "retry in": -3}), "7", None),
    ],
)
def test_no_answer(data: bytes, sentence: str, again: float | None) -> None:
    with pytest.raises(AnnounceFailed, match=sentence) as caught:
        parse_answer(data)
    assert caught.value.again == again


@given(st.binary(max_size=200))
def test_garbage_is_refused_in_words(data: bytes) -> None:
    with suppress(AnnounceFailed):
        assert len(parse_answer(data).peers) <= MAX_PEERS


def test_by_which_names_a_swarm_is_looked_for() -> None:
    v2 = bytes(range(32))
    assert hashes_of(Hints(), v2, ()) == (v2[:20],)
    assert hashes_of(Hints(v1_hash=HASH), v2, ()) == (v2[:20], HASH)
    assert hashes_of(Hints(v1_hash=HASH), v2, (b"a", b"b")) == (b"a", b"b")
    assert not Hints(v1_hash=HASH)
    assert Hints(peers=(("192.0.2.1", 1),))
