"""Does the codec understand what it says, however it is cut, and nothing that is too large or garbled?"""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.resource.merkle import BLOCK
from p2sp.wire.codec import HANDSHAKE_SIZE, PROTOCOL, Decoder, Limits, encode
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
from p2sp.wire.messages import (
    RESERVED,
    AllowedFast,
    Bitfield,
    Cancel,
    Choke,
    Extended,
    Handshake,
    Hashes,
    HashReject,
    HashRequest,
    Have,
    HaveAll,
    HaveNone,
    Interested,
    KeepAlive,
    Message,
    NotInterested,
    Piece,
    Reject,
    Request,
    Suggest,
    Unchoke,
)

HELLO = Handshake(b"i" * 20, b"p" * 20, RESERVED)
word = st.integers(0, 2**32 - 1)
root = st.binary(min_size=32, max_size=32)
messages: st.SearchStrategy[Message] = st.one_of(
    st.sampled_from([KeepAlive(), Choke(), Unchoke(), Interested(), NotInterested(), HaveAll(), HaveNone()]),
    st.builds(Have, word),
    st.builds(Suggest, word),
    st.builds(AllowedFast, word),
    st.builds(Bitfield, st.binary(max_size=200)),
    st.builds(Request, word, word, word),
    st.builds(Cancel, word, word, word),
    st.builds(Reject, word, word, word),
    st.builds(Piece, word, word, st.binary(max_size=300)),
    st.builds(Piece, word, word, st.integers(0, 255).map(lambda byte: bytes((byte,)) * BLOCK)),
    st.builds(Extended, st.integers(0, 255), st.binary(max_size=200)),
    st.builds(HashRequest, root, word, word, word, word),
    st.builds(HashReject, root, word, word, word, word),
    st.builds(Hashes, root, word, word, word, word, st.integers(0, 9).map(lambda count: b"x" * 32 * count)),
)


def stream(*items: Message) -> bytes:
    return b"".join(part for message in (HELLO, *items) for part in encode(message))


def decoded(data: bytes, cut: int | None = None) -> list[Message]:
    decoder = Decoder()
    found: list[Message] = []
    step = cut or len(data) or 1
    for at in range(0, len(data), step):
        found += decoder.feed(data[at : at + step])
    return found


@given(st.lists(messages, max_size=8))
def test_what_is_said_is_understood(items: list[Message]) -> None:
    assert decoded(stream(*items)) == [HELLO, *items]


@given(st.lists(messages, max_size=3), st.integers(1, 70))
@settings(max_examples=60)
def test_however_it_is_cut(items: list[Message], cut: int) -> None:
    assert decoded(stream(*items), cut) == [HELLO, *items]


def test_byte_by_byte() -> None:
    items: list[Message] = [KeepAlive(), Have(3), Piece(1, 2, b"d" * 1000), Extended(0, b"de"), Choke()]
    assert decoded(stream(*items), 1) == [HELLO, *items]


def test_data_of_a_block_is_handed_on_uncopied() -> None:
    data = memoryview(bytes(BLOCK))
    assert encode(Piece(0, 0, data))[1] is data


def test_what_follows_is_kept_when_the_iteration_is_given_up() -> None:
    decoder = Decoder()
    iteration = decoder.feed(stream(Choke(), Unchoke()))
    assert next(iteration) == HELLO
    assert list(decoder.feed(b"")) == [Choke(), Unchoke()]


def frame(length: int, *body: int) -> bytes:
    return stream() + length.to_bytes(4, "big") + bytes(body)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x14", "does not begin with a BitTorrent handshake"),
        (b"\x13BitTorrent protocoX", "does not begin"),
        (b"GET / HTTP/1.1\r\n", "does not begin"),
        (frame(2, 0), "Choke of 2 bytes; it has 1"),
        (frame(4, 4), "Have of 4 bytes; it has 5"),
        (frame(12, 6), "Request of 12 bytes; it has 13"),
        (frame(14, 8), "Cancel of 14 bytes"),
        (frame(9 + BLOCK + 1, 7), "Piece of 16394 bytes is larger than 16393"),
        (frame(8, 7), "Piece of 8 bytes is shorter than 9"),
        (frame(2 + (1 << 22) // 8, 5), "Bitfield of 524290 bytes is larger"),
        (frame(64 * 1024 + 1, 20), "Extended of 65537 bytes is larger"),
        (frame(1, 20), "Extended of 1 bytes is shorter than 2"),
        (frame(50, 21), "HashRequest of 50 bytes; it has 49"),
        (frame(48, 22), "Hashes of 48 bytes is shorter than 49"),
        (frame(49 + 32 * (8192 + 64) + 1, 22), "Hashes of 264242 bytes is larger"),
        (frame(16 * 1024 + 1, 99), "message 99 of 16385 bytes is larger than 16384"),
        (frame(2**32 - 1, 0), "Choke of 4294967295 bytes"),
        (frame(50, 22) + bytes(49), "a row of 1 bytes"),
    ],
)
def test_refused_as_soon_as_it_is_seen(data: bytes, fault: str) -> None:
    with pytest.raises(RemoteProtocolError, match=fault):
        decoded(data)
    with pytest.raises(RemoteProtocolError, match=fault):
        decoded(data, 1)


def test_broken_stays_broken_and_keeps_nothing() -> None:
    decoder = Decoder()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="Choke of 9"):
            list(decoder.feed(frame(9, 0) + bytes(1000)))
    assert decoder.buffered == 0


def test_small_messages_of_unknown_kind_are_skipped() -> None:
    data = stream() + (3).to_bytes(4, "big") + b"\x09\x1a\xe1" + b"".join(encode(Choke()))
    assert decoded(data, 1) == [HELLO, Choke()]


def test_limits_can_be_narrowed() -> None:
    decoder = Decoder(Limits(bitfield=3))
    with pytest.raises(RemoteProtocolError, match="Bitfield of 4 bytes is larger than 3"):
        list(decoder.feed(stream(Bitfield(b"abc"))))


@pytest.mark.parametrize(
    "message",
    [
        Piece(0, 0, bytes(BLOCK + 1)),
        Handshake(b"", b"p" * 20, RESERVED),
        Extended(256, b""),
        HashRequest(b"short", 0, 0, 2, 0),
    ],
)
def test_what_nobody_would_take_is_not_sent(message: Message) -> None:
    with pytest.raises(LocalProtocolError):
        encode(message)


def test_handshake_says_what_is_spoken() -> None:
    assert len(stream()) == HANDSHAKE_SIZE
    assert HELLO.fast
    assert HELLO.extended
    plain = Handshake(b"i" * 20, b"p" * 20, bytes(8))
    assert not plain.fast
    assert not plain.extended


def survives(data: bytes, rng: Random) -> Iterator[Message]:
    """Feed a hostile stream in pieces of random size; memory stays bounded and nothing but the one error comes out."""
    decoder = Decoder()
    at = 0
    try:
        while at < len(data):
            size = rng.randint(1, 5000)
            yield from decoder.feed(data[at : at + size])
            at += size
            assert decoder.buffered <= 1 + (1 << 22) // 8 + 5000
    except RemoteProtocolError:
        return


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 2**32))
def test_noise_never_crashes(noise: bytes, polite: bool, seed: int) -> None:
    list(survives((stream() if polite else PROTOCOL) + noise, Random(seed)))


@given(st.lists(messages, min_size=1, max_size=4), st.integers(0, 2**32))
def test_damaged_streams_never_crash(items: list[Message], seed: int) -> None:
    rng = Random(seed)
    data = bytearray(stream(*items))
    for _ in range(rng.randint(1, 5)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    list(survives(bytes(data), rng))
