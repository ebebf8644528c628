"""Is a description read as it was meant, and refused when it is none?"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from bencode2 import bencode
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.resource import descriptor as rules
from p2sp.resource.descriptor import (
    Descriptor,
    FileEntry,
    check_name,
    make_descriptor,
    parse_info,
    parse_torrent,
)
from p2sp.resource.errors import DescriptorError
from p2sp.resource.layout import LARGEST_PIECE
from p2sp.resource.merkle import BLOCK, FileHasher
from p2sp.resource.verification import MerkleVerification, Verified, described, undescribed

PIECE = 2 * BLOCK
ROOT = b"r" * 32

names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=12
).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)


def hashed(path: tuple[str, ...], data: bytes, piece_length: int = PIECE) -> tuple[FileEntry, tuple[bytes, ...]]:
    hasher = FileHasher(piece_length)
    hasher.update(data)
    root, layer = hasher.finish()
    return FileEntry(path, len(data), root), layer


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
    trackers, mirrors = ("http://t/announce", "https://u/a"), ("https://m/x",)
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


def info(**changes: Any) -> dict[bytes, Any]:
    """A good info dict with some fields changed; None takes a field out."""
    fields: dict[bytes, Any] = {
        b"file tree": {b"f": {b"": {b"length": 1, b"pieces root": ROOT}}},
        b"meta version": 2,
        b"name": b"f",
        b"piece length": PIECE,
    }
    for key, value in changes.items():
        fields[key.replace("_", " ").encode()] = value
    return {key: value for key, value in fields.items() if value is not None}


def tree(node: Any) -> dict[bytes, Any]:
    return info(file_tree=node)


def leaf(**fields: Any) -> dict[bytes, Any]:
    return tree({b"f": {b"": {key.replace("_", " ").encode(): value for key, value in fields.items()}}})


def deep(levels: int) -> dict[bytes, Any]:
    node: dict[bytes, Any] = {b"": {b"length": 0}}
    for _ in range(levels):
        node = {b"d": node}
    return node


MALFORMED: list[tuple[Any, str]] = [
    (b"", "not valid bencoding"),
    (b"i5", "not valid bencoding"),
    (b"d1:bi1e1:ai1ee", "not valid bencoding"),
    (b"d1:ai1e1:ai1ee", "not valid bencoding"),
    (b"d1:ai01ee", "not valid bencoding"),
    (b"d01:ai1ee", "not valid bencoding"),
    (b"dejunk", "not valid bencoding"),
    (b"l" * 100_000, "not valid bencoding"),
    (b"d4:name99999999999:", "not valid bencoding"),
    (b"le", "info dict is not a dictionary"),
    (b"i1e", "info dict is not a dictionary"),
    (b"x" * (rules.MAX_INFO + 1), "larger than"),
    (info(meta_version=None), "v1 metainfo"),
    (info(meta_version=3), "meta version 3"),
    (info(meta_version=b"2"), "meta version"),
    (info(piece_length=None), "without a piece length"),
    (info(piece_length=b"1"), "without a piece length"),
    (info(piece_length=0), "no power of two"),
    (info(piece_length=-PIECE), "no power of two"),
    (info(piece_length=BLOCK + 1), "no power of two"),
    (info(piece_length=LARGEST_PIECE * 2), "more than"),
    (info(piece_length=1 << 70), "more than"),
    (info(file_tree=None), "without a file tree"),
    (info(file_tree=[]), "without a file tree"),
    (info(file_tree={}), "without a file tree"),
    (info(name=None), "name is not a string"),
    (info(name=5), "name is not a string"),
    (info(name=b"\xff"), "not UTF-8"),
    (info(name=b".."), "unsafe"),
    (info(name=b"a/b"), "unsafe"),
    (info(name=b""), "unsafe"),
    (tree({b"..": {b"": {b"length": 0}}}), "unsafe"),
    (tree({b"..": {b"etc": {b"": {b"length": 0}}}}), "unsafe"),
    (tree({b".": {b"": {b"length": 0}}}), "unsafe"),
    (tree({b"": {b"length": 0}}), "unsafe"),
    (tree({b"a\\b": {b"": {b"length": 0}}}), "unsafe"),
    (tree({b"/etc": {b"": {b"length": 0}}}), "unsafe"),
    (tree({b"a\x00": {b"": {b"length": 0}}}), "unsafe"),
    (tree({b"a\n": {b"": {b"length": 0}}}), "unsafe"),
    (tree({b"\xfe": {b"": {b"length": 0}}}), "not UTF-8"),
    (tree({b"n" * 256: {b"": {b"length": 0}}}), "longer than 255"),
    (tree({b"f": {}}), "neither a file nor a folder"),
    (tree({b"f": 7}), "neither a file nor a folder"),
    (tree({b"f": {b"": {b"length": 0}, b"g": {b"": {b"length": 0}}}}), "both a file and a folder"),
    (tree({b"f": {b"": []}}), "both a file and a folder"),
    (tree(deep(rules.MAX_DEPTH + 2)), "deeper than"),
    (leaf(), "no valid length"),
    (leaf(length=b"1"), "no valid length"),
    (leaf(length=-1, pieces_root=ROOT), "no valid length"),
    (leaf(length=1 << 62, pieces_root=ROOT), "no valid length"),
    (leaf(length=(1 << 62) - 1, pieces_root=ROOT), "pieces are more than"),
    (leaf(length=1), "no pieces root"),
    (leaf(length=1, pieces_root=ROOT[:-1]), "no pieces root"),
    (leaf(length=1, pieces_root=[ROOT]), "no pieces root"),
]


@pytest.mark.parametrize(("broken", "sentence"), MALFORMED)
def test_malformed_info_dicts_get_a_sentence(broken: Any, sentence: str) -> None:
    data = broken if isinstance(broken, bytes) else bencode(broken)
    with pytest.raises(DescriptorError, match=sentence):
        parse_info(data)
    if not isinstance(broken, bytes):
        with pytest.raises(DescriptorError, match=sentence):
            parse_torrent(bencode({b"info": broken}))


def test_the_dict_the_malformed_ones_are_made_of_is_good() -> None:
    assert parse_info(bencode(info())).files == (FileEntry(("f",), 1, ROOT),)
    assert parse_info(bencode(tree(deep(rules.MAX_DEPTH + 1)))).length == 0


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_FILES", 3)
    many = {bytes([97 + n]): {b"": {b"length": 0}} for n in range(4)}
    with pytest.raises(DescriptorError, match="more than 3 files"):
        parse_info(bencode(tree(many)))


def torrent_of(made: Descriptor, layers: Any) -> bytes:
    return b"d4:info" + made.info + b"12:piece layers" + bencode(layers) + b"e"


MADE = make_descriptor("f", [hashed(("f",), b"x" * 2 * PIECE + b"y")], PIECE)
(LONG_ROOT,) = MADE.layers
LAYER = b"".join(MADE.layers[LONG_ROOT])


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "not valid bencoding"),
        (b"le", "metainfo is not a dictionary"),
        (b"de", "without an info dict"),
        (b"d4:infolee", "without an info dict"),
        (torrent_of(MADE, []), "not a dictionary"),
        (torrent_of(MADE, {LONG_ROOT: 5}), "not a row"),
        (torrent_of(MADE, {LONG_ROOT: LAYER[:-1]}), "not a row"),
        (torrent_of(MADE, {LONG_ROOT: LAYER[:-32]}), "2 hashes, 3 are needed"),
        (torrent_of(MADE, {LONG_ROOT: LAYER + ROOT}), "4 hashes, 3 are needed"),
        (torrent_of(MADE, {LONG_ROOT: LAYER[:-32] + ROOT}), "does not lead to"),
        (torrent_of(MADE, {LONG_ROOT: b""}), "0 hashes, 3 are needed"),
    ],
)
def test_malformed_torrents_get_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(DescriptorError, match=sentence):
        parse_torrent(data)


def test_a_metainfo_of_any_size_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_TORRENT", 100)
    with pytest.raises(DescriptorError, match="larger than 100"):
        parse_torrent(MADE.to_torrent())


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


@pytest.mark.parametrize(
    ("top", "trackers", "mirrors"),
    [
        ({b"announce": b"http://t"}, ("http://t",), ()),
        ({b"announce": b"udp://t:80"}, (), ()),
        ({b"announce": 5, b"announce-list": 7, b"url-list": {}}, (), ()),
        ({b"announce-list": [[b"http://a", b"http://b"], 5, [7], [b"http://a"]]}, ("http://a", "http://b"), ()),
        ({b"announce": b"http://b", b"announce-list": [[b"http://a"]]}, ("http://b", "http://a"), ()),
        ({b"url-list": b"https://m/f"}, (), ("https://m/f",)),
        ({b"url-list": [b"https://m/f", b"ftp://m/f", 3, b""]}, (), ("https://m/f",)),
        ({b"url-list": [b"http://m"] * 200}, (), ("http://m",) * 100),
    ],
)
def test_trackers_and_web_seeds_of_strangers(
    top: dict[bytes, Any], trackers: tuple[str, ...], mirrors: tuple[str, ...]
) -> None:
    read = parse_torrent(bencode({**top, b"info": info()}))
    assert (read.trackers, read.mirrors) == (trackers, mirrors)


readers: list[Callable[[bytes], object]] = [parse_info, parse_torrent]


@given(st.binary(max_size=300), st.integers(0, len(MADE.info) - 1), st.sampled_from(readers))
def test_no_bytes_make_the_readers_stumble(noise: bytes, at: int, read: Callable[[bytes], object]) -> None:
    torrent = torrent_of(MADE, {LONG_ROOT: LAYER})
    for data in (noise, MADE.info[:at] + noise[:1] + MADE.info[at + 1 :], torrent[:at] + noise[:2] + torrent[at + 2 :]):
        try:
            read(data)
        except DescriptorError:
            continue
        assert data != noise
