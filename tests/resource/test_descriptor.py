"""Is a description read as it was meant?"""

from hashlib import sha256

import pytest
from bencode2 import bencode
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.resource.descriptor import (
    FileEntry,
    make_descriptor,
    parse_info,
    parse_torrent,
)
from p2sp.resource.errors import DescriptorError
from p2sp.resource.merkle import BLOCK
from p2sp.resource.names import check_name
from p2sp.resource.verification import MerkleVerification, Verified, described, undescribed
from tests.resource.kit import LAYER, LONG_ROOT, MADE, PIECE, ROOT, hashed, torrent_of, tree

names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[tuple[str, ...], bytes]]:
    """Files of a folder, no path of which is a folder of another."""
    files: dict[tuple[str, ...], bytes] = {}
    for path in draw(st.lists(st.lists(names, min_size=1, max_size=3).map(tuple), min_size=1, max_size=6, unique=True)):
        if not any(path[: len(other)] == other or other[: len(path)] == path for other in files):
            size = draw(st.sampled_from([0, 1, BLOCK, PIECE, PIECE + 1, 3 * PIECE]))
            files[path] = bytes([len(files)]) * size
    return list(files.items())


@given(names, trees())
@settings(deadline=None)
def test_round_trip(name: str, files: list[tuple[tuple[str, ...], bytes]]) -> None:
    made = make_descriptor(name, [hashed(path, data) for path, data in files], PIECE)
    assert {entry.path: entry.length for entry in made.files} == {path: len(data) for path, data in files}
    assert [entry.path for entry in made.files] == sorted(
        (entry.path for entry in made.files), key=lambda path: [part.encode() for part in path]
    )
    trackers, mirrors = ("http://t/announce", "https://u/a"), ("https://m/x/",)
    torrent = parse_torrent(made.to_torrent(trackers, mirrors))
    assert torrent.descriptor == made
    assert (torrent.trackers, torrent.mirrors) == (trackers, mirrors)
    assert torrent.descriptor.resource_id == sha256(made.info).digest()
    assert torrent.descriptor.handshake_hash == made.resource_id[:20]
    bare = parse_info(made.info)
    assert bare.resource_id == made.resource_id
    assert {entry.pieces_root for entry in bare.missing_layers} == set(made.layers)
    for root, layer in made.layers.items():
        bare = bare.with_layer(root, layer)
    assert bare == made
    assert made.magnet(trackers, mirrors).resource_id == made.resource_id


@given(trees())
@settings(deadline=None)
def test_every_piece_is_judged_by_its_own_bytes(files: list[tuple[tuple[str, ...], bytes]]) -> None:
    made = make_descriptor("x", [hashed(path, data) for path, data in files], PIECE)
    content = described(made)
    by_path = dict(files)
    assert content.verification.strength is Verified.BEP52
    assert content.key == made.resource_id.hex()
    for piece in range(made.layout.piece_count):
        (part,) = made.layout.file_segments(made.layout.piece_start(piece), made.layout.piece_end(piece))
        data = by_path[made.files[part.file].path][part.offset : part.offset + part.length]
        leaves = [sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
        assert content.verification.check(piece, leaves)
        assert not content.verification.check(piece, [*leaves[:-1], sha256(leaves[-1]).digest()])
        assert not content.verification.check(piece, leaves[:-1])


def test_a_single_file_bears_the_name_of_its_resource() -> None:
    made = make_descriptor("a", [hashed(("a",), b"x")], PIECE)
    assert made.single
    assert described(made).single
    for other in (("b",), ("a", "a")):
        made = make_descriptor("a", [hashed(other, b"x")], PIECE)
        assert not made.single
        assert described(made).paths == (other,)


def test_content_without_all_layers_cannot_be_verified() -> None:
    made = make_descriptor("a", [hashed(("a",), b"x" * 3 * PIECE)], PIECE)
    bare = parse_info(made.info)
    with pytest.raises(ValueError, match="missing"):
        described(bare)
    with pytest.raises(KeyError):
        bare.piece_hash(0)
    assert MerkleVerification(made).check(1, [sha256(b"x" * BLOCK).digest()] * 2)


def test_content_of_which_nothing_is_known_passes_everything() -> None:
    content = undescribed("http://m/f", "f", 5 * BLOCK)
    assert content.single
    assert content.verification.check(0, [])
    assert content.verification.strength is Verified.NONE
    assert content.layout.length == 5 * BLOCK


def test_files_with_the_same_bytes_share_their_layer() -> None:
    made = make_descriptor("d", [hashed((name,), b"x" * 3 * PIECE) for name in "ab"], PIECE)
    assert len(made.layers) == 1
    assert parse_torrent(made.to_torrent()).descriptor == made


def test_the_info_dict_of_a_lone_empty_file_by_hand() -> None:
    made = make_descriptor("empty", [(FileEntry(("empty",), 0, None), ())])
    assert made.info == (
        b"d9:file treed5:emptyd0:d6:lengthi0eeee12:meta versioni2e4:name5:empty12:piece lengthi262144ee"
    )
    assert made.resource_id.hex() == "c42f6710fa66743936d0a94ab12219596419235b2e81059ea421c6bf3874c72b"
    assert (made.length, made.layout.piece_count, made.single) == (0, 0, True)
    assert parse_torrent(made.to_torrent()).descriptor == made


def test_layers_that_are_not_there_can_come_later_and_strange_ones_are_passed_over() -> None:
    for layers in ({}, {ROOT: LAYER}):
        read = parse_torrent(torrent_of(MADE, layers)).descriptor
        assert read.missing_layers == list(MADE.files)
        assert not read.layers


def test_with_layer_takes_only_what_leads_to_the_root() -> None:
    bare = parse_info(MADE.info)
    layer = MADE.layers[LONG_ROOT]
    assert bare.with_layer(LONG_ROOT, layer) == MADE
    with pytest.raises(DescriptorError, match="no file of several pieces has"):
        bare.with_layer(ROOT, layer)
    with pytest.raises(DescriptorError, match="does not lead to"):
        bare.with_layer(LONG_ROOT, layer[::-1])


def test_two_lengths_cannot_claim_one_root() -> None:
    """Without domain separation in the tree the layer of one file must not stand for another length."""
    both = {
        name: {b"": {b"length": length, b"pieces root": LONG_ROOT}}
        for name, length in ((b"a", 5 * BLOCK), (b"b", 9 * BLOCK))
    }
    bare = parse_info(bencode(tree(both)))
    with pytest.raises(DescriptorError, match="'b' has 3 hashes, 5 are needed"):
        bare.with_layer(LONG_ROOT, MADE.layers[LONG_ROOT])
    with pytest.raises(DescriptorError, match="'b' has 3 hashes, 5 are needed"):
        parse_torrent(torrent_of(bare, {LONG_ROOT: LAYER}))


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        ([("a",), ("a",)], "two files share"),
        ([("a",), ("a", "b")], "two files share"),
        ([("a", "b"), ("a",)], "two files share"),
        ([("a", "..")], "unsafe"),
        ([("",)], "unsafe"),
        ([("\udcff",)], "not UTF-8"),
        ([("n" * 200 + "é" * 28,)], "longer than 255"),
        ([], "without a file tree"),
    ],
)
def test_descriptors_are_not_made_of_bad_names(paths: list[tuple[str, ...]], sentence: str) -> None:
    with pytest.raises(DescriptorError, match=sentence):
        make_descriptor("d", [(FileEntry(path, 0, None), ()) for path in paths])


def test_descriptors_are_not_made_of_wrong_hashes() -> None:
    entry, layer = hashed(("f",), b"x" * 3 * PIECE)
    with pytest.raises(DescriptorError, match="does not lead to"):
        make_descriptor("f", [(entry, (*layer[:2], ROOT))], PIECE)
    with pytest.raises(DescriptorError, match="several pieces"):
        make_descriptor("f", [(FileEntry(("f",), 1, ROOT), (ROOT,))], PIECE)
    with pytest.raises(DescriptorError, match="no pieces root"):
        make_descriptor("f", [(FileEntry(("f",), 1, None), ())], PIECE)


@pytest.mark.parametrize("name", ["a", "...", ".hidden", "ü", "n" * 255, "a b", "con"])
def test_names_that_are_fine(name: str) -> None:
    assert check_name(name) == name
