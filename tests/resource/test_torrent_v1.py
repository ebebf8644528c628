"""Are v1 and hybrid metainfos read and made as BEP 3, 47 and 52 say?"""

from hashlib import sha1
from typing import Any

import attrs
import libtorrent
import pytest
from bencode2 import bdecode, bencode
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.resource.descriptor import Descriptor, make_descriptor, parse_info, v1_hash
from p2sp.resource.errors import DescriptorError
from p2sp.resource.merkle import BLOCK
from p2sp.resource.torrent_v1 import (
    FlatHasher,
    make_hybrid,
    parse_foreign_torrent,
    parse_info_of,
)
from p2sp.resource.verification import FlatVerification, described
from tests.resource.kit import PIECE, hashed


def v1_info(**changes: Any) -> dict[bytes, Any]:
    """A good v1 info dict of two files with some fields changed; None takes a field out."""
    fields: dict[bytes, Any] = {
        b"files": [{b"length": BLOCK + 1, b"path": [b"d", b"x"]}, {b"length": BLOCK, b"path": [b"y"]}],
        b"name": b"tree",
        b"piece length": PIECE,
        b"pieces": b"h" * 40,
    }
    for key, value in changes.items():
        fields[key.replace("_", " ").encode()] = value
    return {key: value for key, value in fields.items() if value is not None}


def parse_v1(info: bytes) -> Descriptor:
    read = parse_info_of(v1_hash(info), info)
    assert read is not None
    return read


def test_a_v1_torrent() -> None:
    info = v1_info(private=1)
    torrent = parse_foreign_torrent(bencode({b"announce": b"http://t/announce", b"info": info}))
    read = torrent.descriptor
    assert torrent.trackers == ("http://t/announce",)
    assert read.resource_id == read.handshake_hash == sha1(bencode(info), usedforsecurity=False).digest()
    assert read.handshake_hashes == (read.resource_id,)
    assert [entry.path for entry in read.files] == [("d", "x"), ("y",)]
    assert (read.private, read.hybrid, read.layout.joined, read.layout.piece_count) == (True, False, True, 2)
    assert parse_v1(bencode(info)) == read
    assert parse_foreign_torrent(read.to_torrent()).descriptor == read


def test_a_single_file_is_judged_by_sha1() -> None:
    data = b"x" * PIECE + b"y"
    pieces = [sha1(part, usedforsecurity=False).digest() for part in (data[:PIECE], data[PIECE:])]
    info = v1_info(files=None, length=len(data), pieces=b"".join(pieces))
    content = described(parse_v1(bencode(info)))
    assert content.single
    assert content.verification == FlatVerification("sha1", tuple(pieces))
    assert content.verification.judge(1, [b"y"])
    assert not content.verification.judge(1, [b"z"])


def test_padding_is_nobodys_file() -> None:
    files = [
        {b"length": 1, b"path": [b"x"]},
        {b"attr": b"p", b"length": PIECE - 1, b"path": [b"..", b"whatever"]},
        {b"attr": b"xh", b"length": 1, b"path": [b"y"]},
    ]
    content = described(parse_v1(bencode(v1_info(files=files))))
    assert content.pads == {1}
    assert content.unwanted == frozenset()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pieces": b"h" * 39}, "not a row of 20-byte hashes"),
        ({"pieces": b""}, "has no pieces"),
        ({"pieces": b"h" * 60}, "has 3 piece hashes, 2 are needed"),
        ({"pieces": 7}, "not a row"),
        ({"piece_length": BLOCK + 1}, "no multiple of 16384"),
        ({"piece_length": None}, "without a piece length"),
        ({"name": b".."}, "unsafe file name"),
        ({"files": []}, "no list"),
        ({"files": [5]}, "not a dictionary"),
        ({"files": [{b"length": 1, b"path": []}]}, "has no path"),
        ({"files": [{b"length": 1, b"path": [b"a"] * 33}]}, "has no path"),
        ({"files": [{b"length": 1, b"path": [b"..", b"a"]}]}, "unsafe file name"),
        ({"files": [{b"length": 1, b"path": [b"/etc"]}]}, "unsafe file name"),
        ({"files": [{b"length": -1, b"path": [b"a"]}]}, "no valid length"),
        ({"files": [{b"length": 1, b"attr": b"l", b"path": [b"a"], b"symlink path": [b"b"]}]}, "symbolic link"),
        ({"files": [{b"length": 1, b"path": [b"a"]}] * 2}, "share the path 'a'"),
        ({"files": [{b"length": 1, b"path": [b"a"]}, {b"length": 1, b"path": [b"a", b"b"]}]}, "share the path"),
        ({"files": [{b"length": 1, b"path": [b"a", b"b"]}, {b"length": 1, b"path": [b"a"]}]}, "share the path"),
        ({"files": None, "length": None}, "no valid length"),
    ],
)
def test_what_is_wrong_with_it(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DescriptorError, match=sentence):
        parse_v1(bencode(v1_info(**changes)))


def test_a_symbolic_link_in_a_file_tree() -> None:
    made = make_descriptor("t", [hashed(("f",), b"x")], PIECE)
    fields = bdecode(made.info)
    fields[b"file tree"][b"f"][b""][b"attr"] = b"l"
    with pytest.raises(DescriptorError, match="symbolic link"):
        parse_info(bencode(fields))


def hybrid_of(name: str, files: list[tuple[tuple[str, ...], bytes]]) -> Descriptor:
    made = make_descriptor(name, [hashed(path, data) for path, data in files], PIECE)
    bytes_after = made.length
    contents = dict(files)
    digests: list[bytes] = []
    for entry in made.files:
        bytes_after -= entry.length
        hasher = FlatHasher(PIECE)
        hasher.update(contents[entry.path])
        digests += hasher.finish(padded=bytes_after > 0)
    return make_hybrid(made, digests)


def read_by_libtorrent(made: Descriptor) -> Any:
    top: Any = libtorrent.bdecode(made.to_torrent())
    return libtorrent.torrent_info(top)


@given(st.lists(st.sampled_from([0, 1, BLOCK, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5]), min_size=1, max_size=5))
@settings(deadline=None, max_examples=60)
def test_libtorrent_reads_our_hybrids(lengths: list[int]) -> None:
    files: list[tuple[tuple[str, ...], bytes]] = [
        ((f"f{at}",), bytes([at + 1]) * length) for at, length in enumerate([lengths[0], 7, *lengths[1:]])
    ]
    made = hybrid_of("tree", files)
    theirs = read_by_libtorrent(made)
    hashes = theirs.info_hashes()
    assert hashes.has_v1()
    assert hashes.has_v2()
    assert (hashes.v2.to_bytes(), hashes.v1.to_bytes()) == (made.resource_id, made.handshake_hashes[1])
    assert parse_foreign_torrent(made.to_torrent()).descriptor == made
    # The same read by its v1 side alone: padding is where it must be for the pieces to be the same.
    old = parse_v1(made.info)
    assert parse_info_of(made.resource_id, made.info) == attrs.evolve(made, layers={})
    assert parse_info_of(bytes(20), made.info) is parse_info_of(bytes(32), made.info) is None
    row = b"".join(bytes(entry.length) if entry.pad else dict(files)[entry.path] for entry in old.files)
    for piece, digest in enumerate(old.flat):
        assert sha1(row[piece * PIECE : (piece + 1) * PIECE], usedforsecurity=False).digest() == digest


def test_a_hybrid_of_one_file_has_no_padding() -> None:
    made = hybrid_of("one", [(("one",), b"x" * (PIECE + 3))])
    fields = bdecode(made.info)
    assert fields[b"length"] == PIECE + 3
    assert b"files" not in fields
    assert made.hybrid
    assert read_by_libtorrent(made).num_pieces() == 2


def test_nothing_cannot_be_a_hybrid() -> None:
    with pytest.raises(DescriptorError, match="is empty"):
        make_hybrid(make_descriptor("one", [hashed(("one",), b"")], PIECE), [])
