"""Are other nodes told of as BEP 11 says, with node ids, within bounds, and no more often than once a minute?"""

import pytest
from bencode2 import bdecode, bencode
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.layout import Layout
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.extensions import OURS, PEX, Abilities, decode_pex, encode_abilities
from p2sp.wire.messages import Extended
from p2sp.wire.pex import (
    INTERVAL,
    MAX_READ,
    MAX_TOLD,
    SEED,
    SLACK,
    Neighbour,
    Neighbours,
    PexTeller,
    PexTimer,
    callable_from,
    encode_neighbours,
)
from p2sp.wire.session import Session
from tests.wire.support import ALICE, BOB, HASH, PIECE, exchange, said, take

LAYOUT = Layout([PIECE], PIECE)
ONE = Neighbour("10.1.2.3", 4000, "ab" * 32)
SIX = Neighbour("2001:db8::1", 4001, "cd" * 32)
FOREIGN = Neighbour("10.1.2.4", 4002)


def usable(address: object) -> bool:
    return not (address.is_unspecified or address.is_multicast or address.is_reserved)  # type: ignore[attr-defined]


NEIGHBOURS = st.builds(
    Neighbour,
    st.ip_addresses().filter(usable).map(str),
    st.integers(1, 65535),
    st.just("") | st.binary(min_size=32, max_size=32).filter(any).map(bytes.hex),
)


@given(st.lists(NEIGHBOURS, max_size=20, unique=True), st.lists(NEIGHBOURS, max_size=20, unique=True))
def test_messages_go_round(added: list[Neighbour], dropped: list[Neighbour]) -> None:
    read = decode_pex(encode_neighbours(Neighbours(tuple(added), tuple(dropped))))
    assert set(read.added) == set(added)
    assert {(node.host, node.port) for node in read.dropped} == {(node.host, node.port) for node in dropped}


def test_the_message_is_the_usual_one_with_node_ids_beside() -> None:
    fields = bdecode(encode_neighbours(Neighbours((ONE, SIX, FOREIGN)), {ONE: SEED}))
    assert fields[b"added"] == b"\x0a\x01\x02\x03\x0f\xa0\x0a\x01\x02\x04\x0f\xa2"
    assert fields[b"added.f"] == b"\x02\x00"
    assert fields[b"added.p2sp"] == b"\xab" * 32 + bytes(32)
    assert fields[b"added6"] == bytes.fromhex("20010db8000000000000000000000001") + b"\x0f\xa1"
    assert (fields[b"added6.p2sp"], fields[b"dropped"], fields[b"dropped6"]) == (b"\xcd" * 32, b"", b"")


def test_messages_of_others_have_no_node_ids() -> None:
    payload = bencode({b"added": b"\x0a\x01\x02\x03\x0f\xa0", b"added.f": b"\0", b"dropped": 7})
    assert decode_pex(payload) == Neighbours((Neighbour("10.1.2.3", 4000),))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({b"added": b"12345"}, "added of 5 bytes"),
        ({b"added6": b"123456"}, "added6 of 6 bytes"),
        ({b"dropped": b"1"}, "dropped of 1 bytes"),
        ({b"added": b"\x0a\x01\x02\x03\x0f\xa0", b"added.p2sp": bytes(64)}, "2 node ids for 1 addresses"),
        ({b"added.p2sp": bytes(33)}, "added.p2sp of 33 bytes"),
    ],
)
def test_messages_refused(fields: dict[bytes, object], fault: str) -> None:
    with pytest.raises(RemoteProtocolError, match=fault):
        decode_pex(bencode(fields))


def test_what_is_no_dictionary_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="ut_pex is no bencoded dictionary"):
        decode_pex(b"le")


def test_long_messages_are_read_in_part_and_odd_addresses_not_at_all() -> None:
    entry = b"\x0a\x01\x02\x03"
    many = b"".join(entry + port.to_bytes(2, "big") for port in range(1, 500))
    read = decode_pex(bencode({b"added": many, b"dropped": many}))
    assert (len(read.added), len(read.dropped)) == (MAX_READ, MAX_READ)
    odd = b"\0\0\0\0\0\1" + b"\xe0\0\0\1\0\1" + entry + b"\0\0" + b"\xff\xff\xff\xff\0\1"
    assert decode_pex(bencode({b"added": odd})) == Neighbours()


@given(st.binary(max_size=300))
def test_noise_is_refused_or_read(payload: bytes) -> None:
    try:
        decode_pex(payload)
    except RemoteProtocolError:
        return


def test_a_link_is_told_what_changed_once_a_minute() -> None:
    teller = PexTeller()
    assert teller.news([], 0) is None
    assert teller.news([ONE], 1) == Neighbours((ONE,))
    assert teller.news([ONE, SIX], 1 + INTERVAL - 1) is None
    assert teller.news([SIX], 1 + INTERVAL) == Neighbours((SIX,), (ONE,))
    assert teller.news([SIX], 500) is None
    assert teller.news([SIX, ONE], 501) == Neighbours((ONE,))


def test_no_message_tells_of_more_than_fifty() -> None:
    teller = PexTeller()
    crowd = [Neighbour("10.0.0.1", port, "ab" * 32) for port in range(1, 121)]
    told: list[Neighbour] = []
    for minute in range(3):
        news = teller.news(crowd, minute * INTERVAL)
        assert news is not None
        assert len(news.added) <= MAX_TOLD
        told += news.added
    assert told == crowd


def test_news_that_comes_too_often_is_not_due() -> None:
    timer = PexTimer(SLACK)
    assert timer.due(0)
    assert not timer.due(INTERVAL - SLACK - 1)
    assert timer.due(INTERVAL - SLACK)


def test_only_who_has_a_node_id_is_called_and_nobody_leads_us_into_our_own_machine() -> None:
    inside = Neighbour("127.0.0.1", 22, "ab" * 32)
    assert callable_from([ONE, FOREIGN, inside], "10.9.9.9") == [ONE]
    assert callable_from([ONE, FOREIGN, inside], "127.0.0.1") == [inside]


def test_sessions_tell_of_others_unless_the_resource_is_private() -> None:
    one, other = Session(), Session()
    one.open(HASH, ALICE, layout=LAYOUT, port=7000)
    other.open(HASH, BOB, layout=LAYOUT)
    exchange(one, other)
    assert other.abilities is not None
    assert other.abilities.port == 7000
    assert one.talks_of_others
    one.tell_of_others(Neighbours((ONE,)), {})
    assert exchange(one, other)[1] == [Neighbours((ONE,))]
    private = Session()
    private.open(HASH, ALICE, layout=LAYOUT, pex=False)
    third = Session()
    third.open(HASH, BOB, layout=LAYOUT)
    exchange(private, third)
    assert third.abilities is not None
    assert PEX not in third.abilities.ids
    assert not private.talks_of_others
    assert not third.talks_of_others
    private.tell_of_others(Neighbours((ONE,)), {})
    assert take(private) == b""
    assert said(private, Extended(OURS[PEX], encode_neighbours(Neighbours((ONE,))))) == []


def test_a_later_handshake_adds_to_what_was_said() -> None:
    session = Session()
    session.open(HASH, ALICE, layout=LAYOUT)
    other = Session()
    other.open(HASH, BOB, layout=LAYOUT, port=9)
    exchange(session, other)
    said(session, Extended(0, bencode({b"m": {b"ut_pex": 0, b"x": 9}})))
    assert session.abilities is not None
    assert session.abilities.ids == {**{name: n for name, n in OURS.items() if name != PEX}, b"x": 9}
    assert (session.abilities.port, session.abilities.reqq) == (9, 500)
    assert not session.talks_of_others
    said(session, Extended(0, encode_abilities(Abilities({b"ut_pex": 44}, reqq=7))))
    assert session.abilities.ids[b"ut_pex"] == 44
    assert session.abilities.reqq == 7
