"""Are leaf hashes kept beside the bytes, never believed unchecked, and never anybody's trouble?"""

import os
from pathlib import Path

import pytest

from p2sp.resource.merkle import BLOCK, leaf_hashes
from p2sp.storage.files import Files
from p2sp.storage.interfaces import Examined, StorageError, Verdict
from p2sp.storage.leaves import LeafFile, drop_leaves, leaves_path
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.storage.kit import LENGTH, PIECE, SAMPLE, TREE, Kit, noise, now, sample_flat, spoiled

LAYOUT = SAMPLE.content.layout
LEAVES = [tuple(leaf_hashes(SAMPLE.piece(piece))) for piece in range(LAYOUT.piece_count)]


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions of what is read of the files."""
    seen: list[int] = []
    usual = Files.read

    def read(self: Files, where: object) -> bytes:
        seen.append(where.position)  # type: ignore[attr-defined]
        return usual(self, where)  # type: ignore[arg-type]

    monkeypatch.setattr(Files, "read", read)
    return seen


def test_leaves_are_told_without_reading_the_bytes(kit: Kit, reads: list[int]) -> None:
    store = kit.open()
    for piece in range(LAYOUT.piece_count):
        now(store.write(SAMPLE.start(piece), [SAMPLE.piece(piece)], "s"))
    assert [now(store.leaves(piece)) for piece in range(LAYOUT.piece_count)] == LEAVES
    now(store.finish())
    assert kit.names() == ["file.bin"]
    assert now(store.leaves(1)) == LEAVES[1], "the file is gone by name alone"
    assert reads == []
    now(store.close())


def test_they_stay_for_the_next_run_where_that_is_wanted(kit: Kit, reads: list[int]) -> None:
    store = kit.open(keep_leaves=True)
    for piece in range(LAYOUT.piece_count):
        now(store.write(SAMPLE.start(piece), [SAMPLE.piece(piece)], "s"))
    now(store.finish())
    now(store.close())
    assert kit.names() == [".file.bin.leaves", "file.bin"]
    again = kit.complete(trust=True, keep_leaves=True)
    assert [now(again.leaves(piece)) for piece in range(LAYOUT.piece_count)] == LEAVES
    assert reads == []
    now(again.close())


def test_what_is_not_kept_comes_from_the_bytes_and_is_kept_then(kit: Kit, reads: list[int]) -> None:
    kit.path.write_bytes(SAMPLE.files[0])
    store = kit.complete(trust=True, keep_leaves=True)
    assert now(store.leaves(2)) == LEAVES[2]
    assert reads == [SAMPLE.start(2)]
    assert now(store.leaves(2)) == LEAVES[2]
    assert len(reads) == 1
    now(store.close())


def test_a_check_keeps_what_it_finds(kit: Kit, reads: list[int]) -> None:
    kit.path.write_bytes(SAMPLE.files[0])
    store = kit.complete(keep_leaves=True)
    checked = len(reads)
    assert [now(store.leaves(piece)) for piece in range(LAYOUT.piece_count)] == LEAVES
    assert len(reads) == checked
    now(store.close())


@pytest.mark.parametrize("damage", ["bit", "short", "zero", "strange", "folder", "link"])
def test_a_damaged_sidecar_is_not_believed(kit: Kit, damage: str) -> None:
    kit.path.write_bytes(SAMPLE.files[0])
    now(kit.complete(keep_leaves=True).close())
    sidecar = leaves_path(kit.path)
    whole = sidecar.read_bytes()
    if damage in ("folder", "link"):
        sidecar.unlink()
        sidecar.mkdir() if damage == "folder" else sidecar.symlink_to("elsewhere")
    else:
        changed = {
            "bit": spoiled(whole, 40),
            "short": whole[:70],
            "zero": whole[:64] + bytes(len(whole) - 64),
            "strange": b"somebody else's notes, longer than a hash",
        }[damage]
        sidecar.write_bytes(changed)
    store = kit.complete(trust=True, keep_leaves=True)
    assert [now(store.leaves(piece)) for piece in range(LAYOUT.piece_count)] == LEAVES
    now(store.close())
    if damage == "strange":
        assert sidecar.read_bytes() == b"somebody else's notes, longer than a hash"
        drop_leaves(sidecar)
        assert sidecar.exists()


def test_trees_and_memory_tell_their_leaves(kit: Kit) -> None:
    layout = TREE.content.layout
    disk = kit.open(TREE.content, kit.path.with_name("tree"))
    memory = MemoryStore(TREE.content, InlinePool())
    for store in (disk, memory):
        for piece in range(layout.piece_count):
            with pytest.raises(StorageError, match="has no leaf hashes"):
                now(store.leaves(piece))
            now(store.write(TREE.start(piece), [TREE.piece(piece)], "s"))
            assert now(store.leaves(piece)) == tuple(leaf_hashes(TREE.piece(piece)))
        now(store.close())


def test_bytes_that_changed_on_disk_have_no_leaves(kit: Kit) -> None:
    kit.path.write_bytes(SAMPLE.files[0])
    store = kit.complete()
    kit.path.write_bytes(spoiled(SAMPLE.files[0], PIECE + 7))
    assert now(store.leaves(0)) == LEAVES[0]
    with pytest.raises(StorageError, match="piece 1 is not what it was"):
        now(store.leaves(1))
    now(store.close())


def test_content_judged_otherwise_has_none(kit: Kit) -> None:
    flat = sample_flat(noise(LENGTH))
    store = kit.open(flat.content)
    now(store.write(0, [flat.piece(0)], "s"))
    assert ".file.bin.part.leaves" not in kit.names()
    with pytest.raises(StorageError, match="piece 0 has no leaf hashes"):
        now(store.leaves(0))
    assert store.examine(0, LEAVES[0]) is None
    now(store.close())


def test_a_folder_that_cannot_be_written_to_costs_nothing(tmp_path: Path) -> None:
    sidecar = LeafFile(tmp_path / "not there" / "x", LAYOUT)
    sidecar.note(0, LEAVES[0])
    assert sidecar.read(0) is None
    sidecar.rename(tmp_path / "y")
    sidecar.remove()
    sidecar.close()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_sidecar_takes_nobodys_name(kit: Kit) -> None:
    leaves_path(kit.path).write_bytes(b"mine")
    store = kit.open(keep_leaves=True)
    for piece in range(LAYOUT.piece_count):
        now(store.write(SAMPLE.start(piece), [SAMPLE.piece(piece)], "s"))
    now(store.finish())
    assert now(store.leaves(0)) == LEAVES[0]
    now(store.close())
    assert leaves_path(kit.path).read_bytes() == b"mine"
    assert kit.names() == [".file.bin.leaves", "file.bin"]


def test_what_a_killed_run_left_is_cleared_away(kit: Kit) -> None:
    """Between the finished name and the removal of the sidecar the process ended."""
    LeafFile(leaves_path(kit.path.with_name("file.bin.part")), LAYOUT).close()
    store = kit.open()
    now(store.discard())
    assert kit.names() == []


def test_long_names_have_a_sidecar_too(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250)
    assert len(os.fsencode(leaves_path(path).name)) <= 255
    assert leaves_path(path) != leaves_path(tmp_path / ("n" * 249))


def test_only_the_bad_block_is_had_anew(kit: Kit) -> None:
    """A piece of three givers, one of whom lies in one block: the leaves name block and giver, the rest is kept."""
    for store in (kit.open(), MemoryStore(SAMPLE.content, InlinePool())):
        data = SAMPLE.piece(1)
        start = SAMPLE.start(1)
        now(store.write(start, [data[:BLOCK]], "one"))
        now(store.write(start + BLOCK, [spoiled(data[BLOCK : 2 * BLOCK])], "liar"))
        assert now(store.write(start + 2 * BLOCK, [data[2 * BLOCK :]], "two")) == [
            Verdict(1, False, frozenset({"one", "liar", "two"}))
        ]
        assert store.examine(1, LEAVES[0]) is None, "leaves of another piece"
        assert store.examine(1, LEAVES[1]) == Examined(((start + BLOCK, start + 2 * BLOCK),), frozenset({"liar"}))
        assert store.examine(1, LEAVES[1]) is None
        assert now(store.disown("liar")) == []
        assert now(store.write(start, [data], "two")) == [Verdict(1, True, frozenset())]
        assert now(store.read(start, PIECE)) == data
        now(store.close())


def test_what_was_written_to_meanwhile_is_not_examined(kit: Kit) -> None:
    store = kit.open()
    now(store.write(0, [spoiled(SAMPLE.piece(0))], "liar"))
    now(store.write(0, [SAMPLE.piece(0)[:BLOCK]], "one"))
    assert store.examine(0, LEAVES[0]) is None
    now(store.close())
