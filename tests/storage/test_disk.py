"""Does a download on disk lock its name, and take it when it is whole?"""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from p2sp.resource.merkle import BLOCK
from p2sp.storage.interfaces import AlreadyExists, Locked
from p2sp.storage.places import part_path
from tests.storage.kit import (
    LENGTH,
    PIECE,
    SAMPLE,
    TREE,
    Kit,
    Sample,
    marks,
    noise,
    now,
    put,
    sample_file,
    spoiled,
)


def test_a_download_lies_beside_its_name_until_it_is_whole(kit: Kit) -> None:
    store = kit.open()
    assert set(kit.names()) == {
        ".file.bin.part.leaves",
        "file.bin.part",
        "file.bin.part.journal",
        "file.bin.part.journal.new",
    }
    assert part_path(kit.path).stat().st_size == LENGTH
    assert part_path(kit.path).stat().st_blocks == 0, "sparse"
    put(store, SAMPLE, 0, 1, 2, 3)
    assert not kit.path.exists()
    assert now(store.finish()) == str(kit.path)
    assert store.finished
    assert kit.names() == ["file.bin"]
    assert kit.path.read_bytes() == SAMPLE.files[0]
    assert now(store.read(0, LENGTH)) == SAMPLE.files[0]
    now(store.close())
    assert kit.names() == ["file.bin"]
    assert not kit.clock.getDelayedCalls()


def test_a_tree_becomes_a_folder(kit: Kit) -> None:
    path = kit.path.with_name("tree")
    store = kit.open(TREE.content, path)
    put(store, TREE, 3, 1)
    now(store.close())
    assert kit.names() == [".tree.part.leaves", "tree.part", "tree.part.journal"]
    store = kit.open(TREE.content, path)
    assert marks(store) == [1, 3]
    put(store, TREE, 0, 2, 4)
    now(store.finish())
    now(store.close())
    assert kit.names() == ["tree"]
    found = {str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()}
    assert found == {"a": noise(5), "b/empty": b"", "b/c/d": noise(PIECE + 1, 1), "e": noise(2 * PIECE, 2)}
    assert kit.complete(TREE.content, path).complete


def test_an_empty_file_can_be_downloaded(kit: Kit) -> None:
    store = kit.open(sample_file(b"").content)
    now(store.finish())
    now(store.close())
    assert kit.path.read_bytes() == b""
    assert kit.names() == ["file.bin"]


def test_the_longest_names_have_room_for_their_part(kit: Kit) -> None:
    for name in ("n" * 255, "ü" * 127, "n" * 238):
        path = kit.path.with_name(name)
        store = kit.open(path=path)
        put(store, SAMPLE, 0, 1, 2, 3)
        now(store.finish())
        now(store.close())
        assert path.read_bytes() == SAMPLE.files[0]
    assert part_path(Path("n" * 255)) != part_path(Path("n" * 254))
    assert part_path(Path("/x/file.bin")) == Path("/x/file.bin.part")


def test_a_download_without_a_piece_leaves_nothing(kit: Kit) -> None:
    for content in (SAMPLE.content, TREE.content):
        store = kit.open(content)
        now(store.write(0, [SAMPLE.at(0, BLOCK) if content is SAMPLE.content else noise(5)], "s"))
        for piece in marks(store):
            store.forget(piece)
        now(store.close())
        assert kit.names() == []


def test_discard(kit: Kit) -> None:
    for content, sample in ((SAMPLE.content, SAMPLE), (TREE.content, TREE)):
        store = kit.open(content)
        put(store, sample, 0)
        now(store.discard())
        assert kit.names() == []
    store = kit.open()
    put(store, SAMPLE, 0, 1, 2, 3)
    now(store.finish())
    now(store.discard())
    assert kit.names() == ["file.bin"], "what is finished is no longer the download's to remove"


def test_a_finished_file_is_not_downloaded_again(kit: Kit) -> None:
    kit.path.write_text("precious")
    with pytest.raises(AlreadyExists, match=r"file\.bin exists already"):
        kit.open()
    assert kit.names() == ["file.bin"]
    store = kit.open(overwrite=True)
    assert kit.path.read_text() == "precious", "until the new one is whole"
    put(store, SAMPLE, 0, 1, 2, 3)
    now(store.finish())
    now(store.close())
    assert kit.path.read_bytes() == SAMPLE.files[0]
    assert kit.names() == ["file.bin"]


def test_a_dangling_link_is_something_too(kit: Kit) -> None:
    kit.path.symlink_to("nowhere")
    with pytest.raises(AlreadyExists):
        kit.open()


def test_folders_are_never_overwritten(kit: Kit) -> None:
    kit.path.mkdir()
    with pytest.raises(AlreadyExists, match="is a folder"):
        kit.open(overwrite=True)
    (kit.path / "x").touch()
    with pytest.raises(AlreadyExists):
        kit.open(TREE.content, overwrite=True)
    (kit.path / "x").unlink()
    store = kit.open(TREE.content)
    put(store, TREE, 0, 1, 2, 3, 4)
    now(store.finish())
    now(store.close())
    assert (kit.path / "a").read_bytes() == noise(5)


@pytest.mark.parametrize("sample", [SAMPLE, TREE])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_name_taken_meanwhile_is_not_taken_away(kit: Kit, sample: Sample, what: str) -> None:
    store = kit.open(sample.content)
    put(store, sample, *range(sample.content.layout.piece_count))
    if what == "file":
        kit.path.write_text("precious")
    else:
        (kit.path / "precious").mkdir(parents=True)
    with pytest.raises(AlreadyExists, match=r"complete in .*file\.bin\.part"):
        now(store.finish())
    assert not store.finished
    assert now(store.read(0, 5)) == sample.at(0, 5)
    if what == "file":
        assert kit.path.read_text() == "precious"
        kit.path.unlink()
    else:
        (kit.path / "precious").rmdir()
        kit.path.rmdir()
    now(store.finish())
    now(store.close())
    assert kit.names() == ["file.bin"]


def test_a_folder_in_the_way_of_an_overwriting_file(kit: Kit) -> None:
    store = kit.open(overwrite=True)
    put(store, SAMPLE, 0, 1, 2, 3)
    kit.path.mkdir()
    with pytest.raises(AlreadyExists):
        now(store.finish())
    now(store.close())


def test_file_systems_without_hard_links(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    store = kit.open()
    put(store, SAMPLE, 0, 1, 2, 3)
    kit.path.touch()
    with pytest.raises(AlreadyExists):
        now(store.finish())
    kit.path.unlink()
    now(store.finish())
    now(store.close())
    assert kit.names() == ["file.bin"]


def test_a_run_killed_while_it_finished_is_cleaned_up(kit: Kit) -> None:
    for steps in (1, 2):
        store = kit.open()
        put(store, SAMPLE, 0, 1, 2, 3)
        now(store.save())
        kit.crash(store)
        os.link(part_path(kit.path), kit.path)
        if steps == 2:
            part_path(kit.path).unlink()
        with pytest.raises(AlreadyExists):
            kit.open()
        assert kit.names() == ["file.bin"]
        kit.path.unlink()


def test_two_writers_are_one_too_many(kit: Kit) -> None:
    for content in (SAMPLE.content, TREE.content):
        store = kit.open(content)
        with pytest.raises(Locked, match=r"file\.bin\.part: another process"):
            kit.open(content)
        now(store.close())
        now(kit.open(content).close())


def test_a_lock_on_a_file_that_lost_its_name_is_no_lock(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between open and flock the first writer may finish: its file is then locked under another name."""
    first = kit.open()
    put(first, SAMPLE, 0, 1, 2, 3)
    real = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        now(first.finish())
        now(first.close())
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    second = kit.open(overwrite=True)
    now(second.write(0, [spoiled(SAMPLE.piece(0))], "liar"))
    assert kit.path.read_bytes() == SAMPLE.files[0], "what is finished is not written to"
    assert part_path(kit.path).exists()
    now(second.close())
    assert kit.names() == ["file.bin"]


def test_who_waited_for_the_lock_looks_at_the_target_again(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        kit.path.touch()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(AlreadyExists):
        kit.open()
    assert kit.names() == ["file.bin"]
