"""Is a journal believed only when it is whole, ours, and of this content?"""

import os
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.storage import journal as rules
from p2sp.storage.interfaces import Changed, StorageError, Validators
from p2sp.storage.journal import Journal, State, compare, decode, encode, state_of
from tests.storage.kit import noise, sample_file, sample_unknown

states = st.builds(
    State,
    format=st.just(1),
    key=st.text(max_size=80),
    name=st.text(max_size=40),
    length=st.integers(0, 1 << 62),
    piece_length=st.integers(1, 1 << 40),
    bits=st.binary(max_size=64),
    recent=st.lists(st.integers(0, 1 << 22), max_size=20).map(tuple),
    url=st.text(max_size=40),
    etag=st.text(max_size=40),
    last_modified=st.text(max_size=40),
)

GOOD = State(1, "key", "name", 10, 16384, b"\x80", (0,), "http://m/f", '"e"', "now")


def sealed(body: bytes) -> bytes:
    return b"p2sp journal 1\n" + sha256(body).digest() + body


@given(states)
def test_round_trip(state: State) -> None:
    assert decode(encode(state)) == state


@given(states, st.data())
def test_no_changed_byte_and_no_cut_is_believed(state: State, data: st.DataObject) -> None:
    whole = encode(state)
    at = data.draw(st.integers(0, len(whole) - 1))
    mask = data.draw(st.integers(1, 255))
    for broken in (whole[:at], whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :], whole + b"\0"):
        with pytest.raises(ValueError, match=r"^it"):
            decode(broken)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "does not begin"),
        (bytes(4096), "does not begin"),
        (b"p2sp journal 2\n" + bytes(100), "does not begin"),
        (b"p2sp journal 1\n", "checksum"),
        (sealed(b""), "fields are wrong"),
        (sealed(b"\xc1"), "fields are wrong"),
        (sealed(msgspec.msgpack.encode({"format": 1})), "fields are wrong"),
        (sealed(msgspec.msgpack.encode([1, "k"])), "fields are wrong"),
        (sealed(msgspec.msgpack.encode([1, 2, 3, 4, 5, 6])), "fields are wrong"),
        (encode(msgspec.structs.replace(GOOD, format=2)), "format 2 is unknown"),
        (b"p2sp journal 1\n" + bytes(rules.MAX_JOURNAL), "longer than"),
    ],
)
def test_garbage_gets_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decode(data)


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_stumble(noise: bytes) -> None:
    for data in (noise, sealed(noise)):
        try:
            decode(data)
        except ValueError:
            continue
        assert data != noise


@given(st.sets(st.integers(0, 39)))
def test_marks_are_the_bits(pieces: set[int]) -> None:
    bits = bytearray(5)
    for piece in pieces:
        bits[piece // 8] |= 0x80 >> piece % 8
    state = msgspec.structs.replace(GOOD, bits=bytes(bits))
    assert state.marked() == sorted(pieces)
    assert state.empty == (not pieces)
    for count in range(33, 41):
        assert state.fits(count) == (max(pieces, default=-1) < count)
    assert not state.fits(32)
    assert not state.fits(41)


def test_the_largest_journal_can_be_read() -> None:
    state = msgspec.structs.replace(GOOD, bits=b"\xff" * (1 << 19), recent=tuple(range(1 << 22, (1 << 22) + 4096)))
    assert decode(encode(state)) == state


def test_save_and_load(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "f.part.journal")
    assert journal.load() is None
    journal.save(GOOD)
    assert journal.load() == GOOD
    longer = msgspec.structs.replace(GOOD, bits=bytes(3000))
    for state in (longer, GOOD):
        journal.save(state)
        assert journal.path.read_bytes() == encode(state), "nothing of a longer one before is left behind"
    journal.drop_reserve()
    assert os.listdir(tmp_path) == ["f.part.journal"]
    journal.remove()
    journal.remove()
    assert os.listdir(tmp_path) == []


def test_a_torn_spare_of_a_killed_run_does_no_harm(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "f.part.journal")
    (tmp_path / "f.part.journal.new").write_bytes(b"\xff" * 10_000)
    journal.save(GOOD)
    assert journal.load() == GOOD


def test_trouble_names_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "missing" / "f.part.journal")
    with pytest.raises(StorageError, match=r"f\.part\.journal: No such"):
        journal.save(GOOD)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder: Is a directory"):
        Journal(tmp_path / "folder").load()


SAMPLE = sample_file(noise(100))
UNKNOWN = sample_unknown(noise(100))
KEPT = Validators("http://a/f", '"one"', "Monday")


def begun(key_of: object = None, bits: bytes = b"\x80", kept: Validators = KEPT) -> State:
    sample = SAMPLE if key_of is SAMPLE else UNKNOWN
    return state_of(sample.content, bits, (), kept)


@pytest.mark.parametrize(
    "now",
    [
        None,
        Validators(),
        KEPT,
        Validators(etag='"one"'),
        Validators(last_modified="Monday"),
        Validators(url="http://b/f", etag='"one"'),
    ],
)
def test_the_same_version_goes_on(now: Validators | None) -> None:
    compare(begun(), UNKNOWN.content, now)


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (Validators(etag='"two"'), '"one" and is now "two"'),
        (Validators(etag='"one"', last_modified="Tuesday"), "Last-Modified was Monday and is now Tuesday"),
        (Validators(etag='W/"one"'), "ETag"),
    ],
)
def test_another_version_is_named(now: Validators, sentence: str) -> None:
    with pytest.raises(Changed, match=sentence):
        compare(begun(), UNKNOWN.content, now)
    compare(begun(bits=b"\x00"), UNKNOWN.content, now)
    compare(begun(SAMPLE), SAMPLE.content, now)


def test_another_length_is_named() -> None:
    longer = sample_unknown(noise(101)).content
    with pytest.raises(Changed, match=r"file\.bin was 100 bytes long and is now 101"):
        compare(begun(), longer, None)
    compare(begun(bits=b"\x00"), longer, None)


def test_another_cut_is_named() -> None:
    state = msgspec.structs.replace(begun(), piece_length=16384)
    with pytest.raises(Changed, match="was cut at 16384"):
        compare(state, UNKNOWN.content, None)


def test_another_resource_is_named_on_both_sides() -> None:
    with pytest.raises(Changed, match=f"http://mirror/file.bin.*{SAMPLE.content.key}"):
        compare(begun(), SAMPLE.content, None)
