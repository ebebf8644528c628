"""Are a foreign client's datagrams read and answered as BEP 15 says, and is nobody answered who did not ask?"""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.tracker import bep15
from p2sp.tracker.bep3 import SwarmNumbers
from p2sp.tracker.bep15 import BadDatagram, ConnectionIds, Datagram
from p2sp.tracker.entry import Speech
from p2sp.tracker.schema import Event
from tests.tracker.entries import entry

HASH = bytes(range(20))
PEER = b"-XX0001-123456789012"


def announce(*, number: int = 7, event: int = 2, wanted: int = -1, port: int = 6881, left: int = 5) -> bytes:
    return struct.pack(">QII20s20sQQQIIIiH", number, 1, 99, HASH, PEER, 1, left, 2, event, 0x01020304, 77, wanted, port)


def test_a_number_is_good_for_its_address_and_for_a_while() -> None:
    ids = ConnectionIds(b"secret")
    number = ids.make("192.0.2.1", 1000.0)
    assert ids.check(number, "192.0.2.1", 1000.0)
    assert ids.check(number, "192.0.2.1", 1120.0)
    assert ConnectionIds(b"secret").check(number, "192.0.2.1", 1000.0)
    assert not ids.check(number, "192.0.2.1", 1200.0)
    assert not ids.check(number, "192.0.2.2", 1000.0)
    assert not ids.check(number ^ 1, "192.0.2.1", 1000.0)
    assert not ConnectionIds(b"another").check(number, "192.0.2.1", 1000.0)


def test_a_connect_is_answered_with_no_more_than_it_was() -> None:
    data = struct.pack(">QII", 0x41727101980, 0, 5)
    request = bep15.read(data)
    answer = bep15.write_connect(request, 2**64 - 1)
    assert struct.unpack(">IIQ", answer) == (0, 5, 2**64 - 1)
    assert len(answer) <= len(data)


def test_an_announce() -> None:
    asked = bep15.read_announce(bep15.read(announce()))
    assert (asked.swarm, asked.peer_id, asked.port, asked.left) == (HASH.hex(), PEER.hex(), 6881, 5)
    assert (asked.event, asked.wanted) == (Event.STARTED, 50)
    assert bep15.read_announce(bep15.read(announce(wanted=100000) + b"\x02\x05/a?b")).wanted == 201
    events = [bep15.read_announce(bep15.read(announce(event=event))).event for event in range(4)]
    assert events == [Event.PROGRESS, Event.COMPLETED, Event.STARTED, Event.STOPPED]


def test_the_answer_has_peers_of_the_askers_ip_version_in_one_packet() -> None:
    request = bep15.read(announce())
    peers = [entry(number, host="192.0.2.1", port=number, speech=Speech.CLEAR) for number in range(300)]
    peers += [entry(number, host="2001:db8::1", port=number) for number in range(300)]
    four = bep15.write_announce(request, peers, SwarmNumbers(1, 2, 3), 300, "192.0.2.9")
    assert struct.unpack(">IIIII", four[:20]) == (1, 99, 300, 3, 1)
    assert four[20:32] == bytes([192, 0, 2, 1, 0, 0, 192, 0, 2, 1, 0, 1])
    six = bep15.write_announce(request, peers, SwarmNumbers(1, 2, 3), 300, "2001:db8::9")
    assert six[20:38] == bytes.fromhex("20010db8000000000000000000000001") + bytes(2)
    for answer, size in ((four, 6), (six, 18)):
        assert len(answer) <= 1280 - 48
        assert (len(answer) - 20) % size == 0


def test_a_scrape() -> None:
    request = bep15.read(struct.pack(">QII", 7, 2, 9) + HASH + bytes(20))
    assert bep15.read_scrape(request) == [HASH.hex(), bytes(20).hex()]
    answer = bep15.write_scrape(request, [SwarmNumbers(1, 2, 3), SwarmNumbers(4, 5, 6)])
    assert struct.unpack(">IIIIIIII", answer) == (2, 9, 1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(15),
        bytes(16),
        struct.pack(">QII", 0x41727101980, 3, 1),
        bytes(3000),
    ],
)
def test_what_is_no_request_gets_no_answer(data: bytes) -> None:
    with pytest.raises(BadDatagram):
        bep15.read(data)


def test_a_short_announce_and_odd_scrapes_are_refused() -> None:
    with pytest.raises(BadDatagram):
        bep15.read_announce(bep15.read(announce()[:97]))
    with pytest.raises(BadDatagram):
        bep15.read_announce(bep15.read(announce(event=4)))
    for body in (b"", bytes(19), bytes(20 * 75)):
        with pytest.raises(BadDatagram):
            bep15.read_scrape(Datagram(1, bep15.SCRAPE, 1, bytes(16) + body))
    assert bep15.write_error(bep15.read(announce()), "no") == struct.pack(">II", 3, 99) + b"no"


@given(st.binary(max_size=200))
def test_noise_is_refused_or_read_but_never_breaks(noise: bytes) -> None:
    with suppress(BadDatagram):
        bep15.read_announce(bep15.read(noise))
