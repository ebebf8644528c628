"""Are a foreign client's questions over HTTP read as bytes, and answered in every form it may ask for?"""

from contextlib import suppress
from urllib.parse import quote

import pytest
from bencode2 import bdecode
from hypothesis import given
from hypothesis import strategies as st

from p2sp.tracker import bep3
from p2sp.tracker.bep3 import BadQuery, ForeignAnnounce, SwarmNumbers
from p2sp.tracker.entry import Speech
from p2sp.tracker.schema import Event
from tests.tracker.entries import entry

HASH = bytes(range(120, 140))
PEER = b"-XX0001-\x00\xff%&=+ abc12"[:20]


def query(**changes: object) -> bytes:
    values: dict[str, object] = {
        "info_hash": quote(HASH, safe=""),
        "peer_id": quote(PEER, safe=""),
        "port": 6881,
        "uploaded": 0,
        "downloaded": 0,
        "left": 5,
        **changes,
    }
    return "&".join(f"{name}={value}" for name, value in values.items() if value is not None).encode("latin-1")


@given(st.binary(min_size=20, max_size=20), st.binary(min_size=20, max_size=20), st.integers(0, 65535))
def test_any_bytes_come_through(swarm: bytes, peer: bytes, port: int) -> None:
    asked = bep3.read_announce(query(info_hash=quote(swarm, safe=""), peer_id=quote(peer, safe=""), port=port))
    assert (asked.swarm, asked.peer_id, asked.port) == (swarm.hex(), peer.hex(), port)


def test_what_is_left_out_has_defaults() -> None:
    assert bep3.read_announce(query()) == ForeignAnnounce(
        HASH.hex(), PEER.hex(), 6881, 5, Event.PROGRESS, wanted=50, compact=True, with_ids=True
    )


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"event": "started"}, "event", Event.STARTED),
        ({"event": "stopped"}, "event", Event.STOPPED),
        ({"event": "completed", "left": 0}, "event", Event.COMPLETED),
        ({"event": ""}, "event", Event.PROGRESS),
        ({"numwant": -1}, "wanted", 50),
        ({"numwant": 0}, "wanted", 0),
        ({"numwant": 100000}, "wanted", 200),
        ({"compact": 0}, "compact", False),
        ({"no_peer_id": 1}, "with_ids", False),
        ({"ip": "203.0.113.9", "ipv6": "2001:db8::9"}, "swarm", HASH.hex()),
        ({"left": None}, "left", 1),
    ],
)
def test_fields(changes: dict[str, object], field: str, value: object) -> None:
    assert getattr(bep3.read_announce(query(**changes)), field) == value


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"info_hash": None}, "info_hash"),
        ({"info_hash": "abc"}, "info_hash"),
        ({"info_hash": "%61" * 21}, "info_hash"),
        ({"peer_id": ""}, "peer_id"),
        ({"port": None}, "port"),
        ({"port": 65536}, "port"),
        ({"port": "-1"}, "port"),
        ({"port": "٣"}, "port"),
        ({"left": "9" * 5000}, "left"),
        ({"event": "paused!"}, "event"),
        ({"numwant": "many"}, "numwant"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], says: str) -> None:
    text = query(**{key: value for key, value in changes.items() if key != "port" or value != "٣"})
    if changes.get("port") == "٣":
        text = text.replace(b"port=6881", "port=٣".encode())
    with pytest.raises(BadQuery, match=says):
        bep3.read_announce(text)


@given(st.binary(max_size=300))
def test_noise_is_refused_or_read_but_never_breaks(noise: bytes) -> None:
    with suppress(BadQuery):
        bep3.read_announce(noise)
    with suppress(BadQuery):
        bep3.read_scrape(noise)


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(BadQuery, match="too many"):
        bep3.read_announce(query() + b"&a=b" * 200)


def test_peers_are_packed_by_ip_version() -> None:
    peers = [entry(1, host="192.0.2.1", port=80, speech=Speech.CLEAR), entry(2, host="2001:db8::1", port=81)]
    asked = bep3.read_announce(query())
    numbers = SwarmNumbers(seeds=1, completions=2, leeches=3)
    answer = bdecode(bep3.write_announce(asked, peers, numbers, interval=300, address="192.0.2.9"))
    assert answer == {
        b"complete": 1,
        b"downloaded": 2,
        b"external ip": bytes([192, 0, 2, 9]),
        b"incomplete": 3,
        b"interval": 300,
        b"min interval": 150,
        b"peers": bytes([192, 0, 2, 1, 0, 80]),
        b"peers6": bytes.fromhex("20010db8000000000000000000000001") + bytes([0, 81]),
    }


def test_peers_come_as_a_list_for_those_who_ask_for_one() -> None:
    foreign = entry(1, session=PEER.hex(), speech=Speech.CLEAR)
    peers = [foreign, entry(2, host="2001:db8::1", speech=Speech.BOTH)]
    numbers = SwarmNumbers(0, 0, 0)
    for change, with_id in (({"compact": 0}, True), ({"compact": 0, "no_peer_id": 1}, False)):
        asked = bep3.read_announce(query(**change))
        found = bdecode(bep3.write_announce(asked, peers, numbers, interval=1, address="::1"))[b"peers"]
        assert found[0].get(b"peer id") == (PEER if with_id else None)
        assert (found[0][b"ip"], found[0][b"port"]) == (b"192.0.2.1", 7000)
        assert found[1] == {b"ip": b"2001:db8::1", b"port": 7000}


def test_a_scrape_is_about_the_swarms_it_names() -> None:
    other = b"\x00" * 20
    text = b"info_hash=%s&info_hash=%s&info_hash=%s" % tuple(
        quote(each, safe="").encode() for each in (HASH, other, HASH)
    )
    assert bep3.read_scrape(text) == [HASH.hex(), other.hex()]
    answer = bdecode(bep3.write_scrape({HASH.hex(): SwarmNumbers(1, 2, 3)}))
    assert answer == {b"files": {HASH: {b"complete": 1, b"downloaded": 2, b"incomplete": 3}}}


@pytest.mark.parametrize("text", [b"", b"info_hash=", b"&".join([b"info_hash=%s" % (b"%00" * 20)] * 65)])
def test_a_scrape_of_all_or_of_too_many_is_refused(text: bytes) -> None:
    with pytest.raises(BadQuery):
        bep3.read_scrape(text)


def test_a_refusal_says_when_to_come_back() -> None:
    assert bdecode(bep3.write_failure("no", 3)) == {b"failure reason": b"no", b"retry in": 3}
    assert bdecode(bep3.write_failure("no")) == {b"failure reason": b"no", b"retry in": b"never"}
