"""Is of a tree there what was picked, and nothing else?"""

from hashlib import sha1
from pathlib import Path

import attrs
import pytest
from bencode2 import bencode

from p2sp.resource.descriptor import v1_hash
from p2sp.resource.merkle import BLOCK
from p2sp.resource.selection import Selection
from p2sp.resource.torrent_v1 import parse_info_of
from p2sp.resource.verification import Content, described
from p2sp.storage.disk import DiskStore
from p2sp.storage.interfaces import Verdict
from tests.storage.kit import PIECE, TREE, Kit, Sample, assert_true_marks, marks, noise, now, put, spoiled


def sample_v1(files: dict[str, bytes], pads: frozenset[str] = frozenset()) -> Sample:
    """A v1 content of these files by path, in their order; `pads` are those of them that are padding."""
    row = b"".join(files.values())
    pieces = [sha1(row[at : at + PIECE], usedforsecurity=False).digest() for at in range(0, len(row), PIECE)]
    listed = [
        {b"length": len(data), b"path": [part.encode() for part in path.split("/")]}
        | ({b"attr": b"p"} if path in pads else {})
        for path, data in files.items()
    ]
    info = {b"files": listed, b"name": b"tree", b"piece length": PIECE, b"pieces": b"".join(pieces)}
    made = parse_info_of(v1_hash(bencode(info)), bencode(info))
    assert made is not None
    return Sample(described(made), tuple(files.values()))


V1 = sample_v1({"a": noise(PIECE + 100), "d/b": noise(50, 1), "d/c": noise(2 * PIECE, 2), "e": noise(PIECE, 3)})


def of(sample: Sample, *texts: str) -> Sample:
    return attrs.evolve(sample, content=Selection.parse(texts).of(sample.content))


def found(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wanted(content: Content) -> list[int]:
    return [piece for piece in range(content.layout.piece_count) if piece not in content.unwanted]


def whole(kit: Kit, sample: Sample) -> DiskStore:
    store = kit.open(sample.content)
    put(store, sample, *wanted(sample.content))
    assert store.complete
    now(store.finish())
    return store


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def test_pieces_of_v1_cross_files(kit: Kit) -> None:
    store = whole(kit, V1)
    assert found(kit.path) == {"a": V1.files[0], "d/b": V1.files[1], "d/c": V1.files[2], "e": V1.files[3]}
    assert now(store.read(PIECE, PIECE)) == V1.piece(1)
    now(store.close())
    again = kit.complete(V1.content)
    assert again.complete
    now(again.close())


def test_a_bad_block_across_files_is_found(kit: Kit) -> None:
    store = kit.open(V1.content)
    (verdict,) = now(store.write(PIECE, [spoiled(V1.piece(1), 120)], "s"))
    assert not verdict.good
    assert now(store.write(PIECE, [V1.piece(1)], "t")) == [Verdict(1, True, frozenset({"s"}))]
    assert_true_marks(store, V1)
    now(store.close())


@pytest.mark.parametrize("sample", [TREE, V1], ids=["v2", "v1"])
@pytest.mark.parametrize("text", ["1", "2", "3", "4", "2,4", "1-4"])
def test_only_what_is_picked_is_there(kit: Kit, sample: Sample, text: str) -> None:
    sample = of(sample, text)
    chosen = sample.content.selected or frozenset()
    store = whole(kit, sample)
    assert found(kit.path) == {"/".join(sample.content.paths[file]): sample.files[file] for file in chosen}
    assert kit.names() == [kit.path.name]
    assert store.bytes_verified == sample.content.length
    # What is not on disk any more can be given to others while this run lasts.
    for piece in wanted(sample.content):
        assert now(store.read(sample.start(piece), len(sample.piece(piece)))) == sample.piece(piece)
    now(store.close())


def test_nothing_is_taken_for_what_is_not_wanted(kit: Kit) -> None:
    picked = of(TREE, "1")
    store = kit.open(picked.content)
    assert now(store.write(TREE.start(1), [TREE.piece(1)], "s")) == []
    assert store.remaining() == [(0, 5)]
    now(store.close())


def test_a_picked_download_goes_on_where_it_was(kit: Kit) -> None:
    picked = of(V1, "2")
    store = kit.open(picked.content)
    put(store, picked, 1)
    now(store.save())
    kit.crash(store)
    assert len(kit.names()) == 4
    again = kit.open(picked.content)
    assert again.complete
    assert now(again.read(PIECE, PIECE)) == V1.piece(1)
    now(again.close())


def test_without_the_rest_its_pieces_are_fetched_again(kit: Kit) -> None:
    picked = of(V1, "1")
    store = kit.open(picked.content)
    put(store, picked, 0, 1)
    now(store.close())
    (rest,) = [name for name in kit.names() if name.endswith(".rest")]
    (kit.path.parent / rest).unlink()
    again = kit.open(picked.content)
    assert marks(again) == [0]
    now(again.close())


@pytest.mark.parametrize("sample", [TREE, V1], ids=["v2", "v1"])
def test_another_choice_later(kit: Kit, sample: Sample) -> None:
    store = kit.open(of(sample, "1,4").content)
    put(store, of(sample, "1,4"), *wanted(of(sample, "1,4").content))
    now(store.close())
    other = of(sample, "3-4")
    store = kit.open(other.content)
    assert set(marks(store)) <= set(wanted(other.content))
    put(store, other, *[piece for piece in wanted(other.content) if not store.has(piece)])
    now(store.finish())
    assert found(kit.path) == {"/".join(sample.content.paths[file]): sample.files[file] for file in (2, 3)}
    now(store.close())


def test_padding_is_not_written(kit: Kit) -> None:
    sample = sample_v1({"a": noise(5), ".pad/1": bytes(PIECE - 5), "b": noise(BLOCK)}, frozenset({".pad/1"}))
    store = whole(kit, sample)
    assert found(kit.path) == {"a": sample.files[0], "b": sample.files[2]}
    assert now(store.read(0, PIECE)) == sample.piece(0)
    now(store.close())


def test_a_link_in_place_of_a_file_that_is_not_wanted(kit: Kit, tmp_path: Path) -> None:
    store = kit.open(V1.content)
    put(store, V1, 1)
    now(store.close())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b").write_bytes(b"precious")
    folder = tmp_path / (kit.path.name + ".part") / "d"
    folder.rename(tmp_path / "moved")
    folder.symlink_to(outside)
    now(kit.open(of(V1, "1").content).close())
    assert (outside / "b").read_bytes() == b"precious"
