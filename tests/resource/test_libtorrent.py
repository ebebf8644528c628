"""Do we name a resource as an independent implementation of BEP 52 does?"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import libtorrent
import pytest
from bencode2 import bencode

from p2sp.resource.descriptor import Descriptor, FileEntry, make_descriptor, parse_info, parse_torrent
from p2sp.resource.layout import MAX_PIECE, MIN_PIECE, piece_length_for
from p2sp.resource.merkle import BLOCK, FileHasher

V2_ONLY = libtorrent.create_torrent.v2_only


def theirs(path: Path, piece_length: int, flags: int = V2_ONLY) -> dict[bytes, Any]:
    """The metainfo that libtorrent makes of a file or folder."""
    made = libtorrent.create_torrent(libtorrent.list_files(str(path)), piece_length, flags)
    libtorrent.set_piece_hashes(made, str(path.parent))
    top: dict[bytes, Any] = made.generate()
    return top


def hashed(path: Path, where: tuple[str, ...], piece_length: int) -> tuple[FileEntry, tuple[bytes, ...]]:
    hasher = FileHasher(piece_length)
    with path.open("rb") as file:
        while data := file.read(1 << 22):
            hasher.update(data)
    root, layer = hasher.finish()
    return FileEntry(where, hasher.length, root), layer


def of_file(path: Path, piece_length: int | None = None) -> Descriptor:
    cut = piece_length or piece_length_for(path.stat().st_size)
    return make_descriptor(path.name, [hashed(path, (path.name,), cut)], piece_length)


def of_folder(path: Path, piece_length: int) -> Descriptor:
    files = sorted(item for item in path.rglob("*") if item.is_file())
    return make_descriptor(
        path.name, [hashed(item, item.relative_to(path).parts, piece_length) for item in files], piece_length
    )


def assert_same(ours: Descriptor, top: dict[bytes, Any]) -> None:
    """The same info dict to the byte, the same id, the same layers, read either way."""
    assert ours.info == bencode(top[b"info"])
    read = parse_torrent(bencode(top)).descriptor
    assert read == ours
    assert not read.missing_layers
    named = libtorrent.load_torrent_buffer(ours.to_torrent()).info_hashes
    assert named.v2.to_bytes() == ours.resource_id


def pattern_file(path: Path, length: int) -> Path:
    row = b"".join(sha256(at.to_bytes(4)).digest() for at in range(4096))
    with path.open("wb") as file:
        for at in range(0, length, len(row)):
            file.write(row[: min(len(row), length - at)])
    return path


def around(length: int) -> list[int]:
    return [length - 1, length, length + 1]


SIZES = sorted(
    {
        1,
        2,
        1000,
        *around(BLOCK),
        *around(2 * BLOCK),
        *around(3 * BLOCK),
        *around(MIN_PIECE),
        *around(2 * MIN_PIECE),
        *around(3 * MIN_PIECE),
        *around(4 * MIN_PIECE),
        *around(7 * MIN_PIECE),
        *around(32 * MIN_PIECE),
        MIN_PIECE + BLOCK,
        5 * MIN_PIECE + 3 * BLOCK + 17,
        9_999_999,
    }
)


@pytest.mark.parametrize("length", SIZES)
def test_same_id_at_the_canonical_piece_length(tmp_path: Path, length: int) -> None:
    path = pattern_file(tmp_path / "file.bin", length)
    assert_same(of_file(path), theirs(path, piece_length_for(length)))


@pytest.mark.parametrize("piece_length", [BLOCK << step for step in range(11)])
def test_same_id_at_every_piece_length_we_use(tmp_path: Path, piece_length: int) -> None:
    """The steps of the canonical piece length lie at files too long for a test, so the piece length is given."""
    assert BLOCK << 10 == MAX_PIECE
    for length in around(min(2 * piece_length, MAX_PIECE)):
        path = pattern_file(tmp_path / "file.bin", length)
        assert_same(of_file(path, piece_length), theirs(path, piece_length))


def test_same_id_behind_the_first_step_of_the_canonical_piece_length(tmp_path: Path) -> None:
    path = tmp_path / "sparse.bin"
    length = 2048 * MIN_PIECE + 1
    with path.open("wb") as file:
        file.truncate(length)
    ours = of_file(path)
    assert ours.piece_length == 2 * MIN_PIECE
    assert_same(ours, theirs(path, piece_length_for(length)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "Données"
    for where, length in {
        "empty.txt": 0,
        "a": 1,
        "a.b": 40_000,
        "ä/名前.bin": 3 * BLOCK + 5,
        "nested/deeper/z": 2 * BLOCK,
        "nested/deeper/y": 100_000,
        "nested/.hidden": 17,
        "nested.txt": 5 * BLOCK,
        "Z": 64 * 1024,
        "twin": 100_000,
    }.items():
        path = top / where
        path.parent.mkdir(parents=True, exist_ok=True)
        pattern_file(path, length)
    return top


def test_same_id_of_a_folder(folder: Path) -> None:
    ours = of_folder(folder, 2 * BLOCK)
    assert not ours.single
    assert_same(ours, theirs(folder, 2 * BLOCK))
    assert {"/".join(entry.path) for entry in ours.files if not entry.length} == {"empty.txt"}


def test_hybrids_are_read_by_their_v2_side(folder: Path) -> None:
    top = theirs(folder, 2 * BLOCK, 0)
    assert b"pieces" in top[b"info"]
    read = parse_torrent(bencode(top)).descriptor
    plain = of_folder(folder, 2 * BLOCK)
    assert read.resource_id == sha256(bencode(top[b"info"])).digest() != plain.resource_id
    assert (read.files, read.layers) == (plain.files, plain.layers)
    assert parse_info(read.info).resource_id == read.resource_id


def test_a_hybrid_keeps_the_id_that_others_know_it_by(tmp_path: Path) -> None:
    path = pattern_file(tmp_path / "file.bin", 5 * BLOCK)
    data = bencode(theirs(path, 2 * BLOCK, 0))
    assert parse_torrent(data).descriptor.resource_id == libtorrent.load_torrent_buffer(data).info_hashes.v2.to_bytes()
