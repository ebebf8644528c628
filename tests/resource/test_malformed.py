"""Is what is no description refused with a sentence?"""

from collections.abc import Callable
from typing import Any

import pytest
from bencode2 import bencode
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource import descriptor as rules
from p2sp.resource.descriptor import (
    FileEntry,
    parse_info,
    parse_torrent,
)
from p2sp.resource.errors import DescriptorError
from p2sp.resource.layout import LARGEST_PIECE
from p2sp.resource.merkle import BLOCK
from tests.resource.kit import LAYER, LONG_ROOT, MADE, PIECE, ROOT, deep, info, leaf, torrent_of, tree

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


@pytest.mark.parametrize(
    ("top", "trackers", "mirrors"),
    [
        ({b"announce": b"http://t"}, ("http://t",), ()),
        ({b"announce": b"udp://t:80/announce"}, ("udp://t:80/announce",), ()),
        ({b"announce": b"wss://t"}, (), ()),
        ({b"announce": 5, b"announce-list": 7, b"url-list": {}}, (), ()),
        ({b"announce-list": [[b"http://a", b"http://b"], 5, [7], [b"http://a"]]}, ("http://a", "http://b"), ()),
        ({b"announce": b"http://b", b"announce-list": [[b"http://a"]]}, ("http://a",), ()),
        ({b"announce": b"http://b", b"announce-list": [[b"wss://a"]]}, ("http://b",), ()),
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
