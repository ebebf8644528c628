"""Are extension messages read as BEP 9, 10 and 54 say, and nothing beyond the limits?"""

import pytest
from bencode2 import bencode
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.descriptor import MAX_INFO
from p2sp.resource.merkle import BLOCK
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.extensions import (
    DEFAULT_REQQ,
    OURS,
    Abilities,
    MetadataPart,
    MetadataReject,
    MetadataRequest,
    decode_abilities,
    decode_dont_have,
    decode_metadata,
    encode_abilities,
    encode_dont_have,
    encode_metadata,
    metadata_part_size,
    metadata_parts,
)


@given(st.none() | st.integers(1, MAX_INFO), st.integers(1, 2000), st.text(max_size=20))
def test_abilities_go_round(size: int | None, reqq: int, version: str) -> None:
    abilities = Abilities(OURS, size, reqq, version)
    assert decode_abilities(encode_abilities(abilities)) == abilities


def test_a_later_handshake_leaves_what_it_does_not_speak_of() -> None:
    before = Abilities({b"a": 1, b"b": 2}, 77, 300, "one", 4000)
    assert decode_abilities(b"de", before) == before
    later = bencode({b"m": {b"b": 0, b"c": 3}, b"v": b"two", b"metadata_size": 78})
    assert decode_abilities(later, before) == Abilities({b"a": 1, b"c": 3}, 78, 300, "two", 4000)
    many = Abilities({b"%03d" % n: 1 for n in range(60)})
    with pytest.raises(RemoteProtocolError, match="120 extensions"):
        decode_abilities(bencode({b"m": {b"x%03d" % n: 1 for n in range(60)}}), many)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Abilities()),
        ({b"reqq": 0}, Abilities()),
        ({b"reqq": -4, b"metadata_size": b"text", b"m": [], b"v": 3}, Abilities()),
        ({b"m": {b"ut_metadata": 0, b"ut_pex": 300, b"x": -1, b"y": b"z", b"ok": 7}}, Abilities({b"ok": 7})),
        ({b"metadata_size": 0}, Abilities()),
        ({b"reqq": 2000, b"yourip": b"\x7f\0\0\1"}, Abilities(reqq=2000)),
        ({b"v": b"\xff" * 500}, Abilities(version="\ufffd" * 100)),
    ],
)
def test_odd_fields_are_passed_over(fields: dict[bytes, object], expected: Abilities) -> None:
    assert decode_abilities(bencode(fields)) == expected
    assert expected.reqq >= DEFAULT_REQQ


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", "no bencoded dictionary"),
        (b"li1ee", "no bencoded dictionary"),
        (b"l" * 60000, "no bencoded dictionary"),
        (b"d1:v" + b"i" + b"9" * 50000 + b"ee", "no bencoded dictionary"),
        (bencode({b"m": {b"%03d" % n: 1 for n in range(101)}}), "101 extensions"),
        (bencode({b"m": {b"%03d" % n: 0 for n in range(101)}}), "101 extensions"),
        (bencode({b"metadata_size": MAX_INFO + 1}), "metadata of 8388609 bytes"),
    ],
)
def test_abilities_refused(payload: bytes, fault: str) -> None:
    with pytest.raises(RemoteProtocolError, match=fault):
        decode_abilities(payload)


@given(st.integers(1, 3 * BLOCK), st.data())
def test_metadata_goes_round(size: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, metadata_parts(size) - 1))
    for message in (
        MetadataRequest(part),
        MetadataReject(part),
        MetadataPart(part, size, bytes(metadata_part_size(size, part))),
    ):
        assert decode_metadata(encode_metadata(message), size) == message


def test_a_part_that_ends_like_a_dictionary() -> None:
    message = MetadataPart(0, 20, b"d8:msg_typei0e5:aaae")
    assert decode_metadata(encode_metadata(message), 20) == message


def test_an_unknown_type_is_passed_over() -> None:
    assert decode_metadata(bencode({b"msg_type": 9, b"piece": 0}), 100) is None


PART = encode_metadata(MetadataPart(1, BLOCK + 10, bytes(10)))


@pytest.mark.parametrize(
    ("payload", "size", "fault"),
    [
        (b"", 10, "holds no part"),
        (b"garbage", None, "announced no metadata"),
        (PART, None, "announced no metadata"),
        (PART, BLOCK + 11, "holds no part"),
        (PART + b"x", BLOCK + 10, "holds no part"),
        (PART[:-1], BLOCK + 10, "holds no part"),
        (encode_metadata(MetadataPart(2, BLOCK + 10, bytes(10))), BLOCK + 10, "part 2 of metadata"),
        (encode_metadata(MetadataPart(0, BLOCK + 10, bytes(10))), BLOCK + 10, "part 0 of metadata has 10 bytes"),
        (encode_metadata(MetadataPart(1, 77, bytes(10))), BLOCK + 10, "metadata of 77 bytes"),
        (bencode({b"msg_type": 1, b"piece": 0}), 10, "part 0 of metadata has 0 bytes"),
        (bencode({b"msg_type": 1}), 10, "without a piece"),
        (bencode({b"msg_type": 0, b"piece": -1}), 10, "without a piece"),
        (bytes(60 * 1024), 10, "holds no part"),
    ],
)
def test_metadata_refused(payload: bytes, size: int | None, fault: str) -> None:
    with pytest.raises(RemoteProtocolError, match=fault):
        decode_metadata(payload, size)


@given(st.binary(max_size=200), st.none() | st.integers(1, 150))
def test_noise_is_refused_or_read(payload: bytes, size: int | None) -> None:
    for decode in (lambda: decode_metadata(payload, size), lambda: decode_abilities(payload)):
        try:
            decode()
        except RemoteProtocolError:
            continue


def test_dont_have() -> None:
    assert decode_dont_have(encode_dont_have(77)).piece == 77
    with pytest.raises(RemoteProtocolError, match="3 bytes"):
        decode_dont_have(b"abc")
