"""Is what goes wrong on a disk told, and is nothing lost by it?"""

import errno
import os
import shutil
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred

from p2sp.resource.merkle import BLOCK
from p2sp.storage import disk
from p2sp.storage.disk import open_store
from p2sp.storage.files import Pwrite
from p2sp.storage.interfaces import NoSpace, StorageError, Verdict
from p2sp.storage.journal import Journal
from p2sp.storage.places import part_path
from tests.storage.kit import (
    LENGTH,
    PIECE,
    SAMPLE,
    TREE,
    Kit,
    marks,
    noise,
    now,
    put,
    sample_unknown,
    spoiled,
)


def full_after(room: int) -> Pwrite:
    """A disk on which so many more bytes have room."""
    left = room

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.pwrite(descriptor, data[:left], offset)
        left -= written
        return written

    return pwrite


def test_a_full_disk_blames_nobody_and_loses_nothing(kit: Kit) -> None:
    store = kit.open(pwrite=full_after(PIECE + BLOCK + 100))
    put(store, SAMPLE, 0)
    assert now(store.write(PIECE, [SAMPLE.at(PIECE, PIECE + BLOCK)], "s")) == []
    with pytest.raises(NoSpace, match=r"file\.bin\.part: the disk is full"):
        now(store.write(PIECE + BLOCK, [SAMPLE.at(PIECE + BLOCK, 2 * PIECE)], "s"))
    assert marks(store) == [0]
    store._files._pwrite = os.pwrite
    verdicts = now(store.write(PIECE, [SAMPLE.piece(1)], "t"))
    assert verdicts == [Verdict(1, True, frozenset())], "with room again the rest of the piece is taken"
    now(store.close())
    store = kit.open()
    assert marks(store) == [0, 1]
    now(store.close())


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EIO, errno.EFBIG])
def test_other_trouble_on_the_disk(kit: Kit, code: int) -> None:
    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        raise OSError(code, os.strerror(code))

    store = kit.open(pwrite=pwrite)
    with pytest.raises(NoSpace if code == errno.EDQUOT else StorageError, match=r"file\.bin\.part: "):
        now(store.write(0, [SAMPLE.piece(0)], "s"))
    now(store.close())


def test_short_writes_are_gone_on_with(kit: Kit) -> None:
    store = kit.open(pwrite=lambda descriptor, data, offset: os.pwrite(descriptor, data[:1000], offset))
    put(store, SAMPLE, 0, 1, 2, 3)
    assert now(store.read(0, LENGTH)) == SAMPLE.files[0]
    now(store.close())


def test_the_disk_is_too_small_to_begin(kit: Kit) -> None:
    huge = sample_unknown(b"")
    content = type(huge.content)(
        "http://m/huge", "huge", ((),), type(huge.content.layout)([1 << 45], 1 << 24), huge.content.verification
    )
    with pytest.raises(NoSpace, match=f"{1 << 45} bytes are still needed and [0-9]+ are free"):
        kit.open(content)
    assert kit.names() == []


def test_after_a_failed_sync_nothing_more_is_believed(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    store = kit.open()
    put(store, SAMPLE, 0)
    now(store.save())
    put(store, SAMPLE, 1)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(StorageError, match="Input/output error"):
            now(store.save())
    with pytest.raises(StorageError, match="Input/output error"):
        now(store.write(2 * PIECE, [SAMPLE.piece(2)], "s"))
    with pytest.raises(StorageError):
        now(store.close())
    store = kit.open()
    assert marks(store) == [0]
    now(store.close())


def test_a_journal_that_cannot_be_written_is_tried_again(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    store = kit.open()
    put(store, SAMPLE, 0)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "save", lambda *_: (_ for _ in ()).throw(NoSpace("the disk is full")))
        kit.clock.advance(disk.JOURNAL_SECONDS)
    kit.clock.advance(disk.JOURNAL_SECONDS)
    kit.crash(store)
    store = kit.open()
    assert marks(store) == [0]
    now(store.close())


def test_links_and_special_files_are_not_followed(kit: Kit) -> None:
    outside = kit.path.with_name("outside")
    outside.mkdir()
    part = part_path(kit.path)
    part.symlink_to(outside / "x")
    with pytest.raises(StorageError, match="symbolic link"):
        kit.open()
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(StorageError, match="not a regular file"):
        kit.open()
    part.unlink()
    part.mkdir()
    with pytest.raises(StorageError, match=r"file\.bin\.part: Is a directory"):
        kit.open()
    kit.crash(kit.open(TREE.content))
    shutil.rmtree(part / "b")
    (part / "b").symlink_to(outside)
    with pytest.raises(StorageError, match=r"part/b/"):
        kit.open(TREE.content)
    (part / "b").unlink()
    (part / "a").unlink()
    (part / "a").symlink_to(outside / "x")
    with pytest.raises(StorageError, match=r"part/a: is a symbolic link"):
        kit.open(TREE.content)
    assert os.listdir(outside) == []


def test_a_folder_that_is_not_there(kit: Kit) -> None:
    with pytest.raises(StorageError, match="No such file or directory"):
        kit.open(path=kit.path.parent / "missing" / "file.bin")
    with pytest.raises(StorageError, match="not a name"):
        kit.open(path=Path("/"))


def test_opening_that_nobody_waits_for_leaves_no_lock(kit: Kit) -> None:
    kit.pool.held = True
    for steps in (0, 1):
        opening = Deferred.fromCoroutine(open_store(kit.path, SAMPLE.content, kit.pool, kit.clock))
        kit.pool.release(steps)
        opening.addErrback(lambda failure: failure.trap(CancelledError))
        opening.cancel()
        kit.pool.release()
    kit.pool.held = False
    now(kit.open().close())


def test_a_whole_file_is_verified_before_it_is_served(kit: Kit) -> None:
    kit.path.write_bytes(SAMPLE.files[0])
    seen: list[tuple[int, int]] = []
    store = kit.complete(progress=lambda done, total: seen.append((done, total)))
    assert store.complete
    assert store.finished
    assert seen[-1] == (LENGTH, LENGTH)
    assert now(store.read(0, LENGTH)) == SAMPLE.files[0]
    assert now(store.finish()) == str(kit.path)
    store.forget(0)
    with pytest.raises(StorageError, match="not written to"):
        now(store.write(0, [SAMPLE.piece(0)], "s"))
    now(store.close())
    assert kit.names() == ["file.bin"]
    assert not kit.clock.getDelayedCalls()


def test_what_does_not_verify_is_not_served(kit: Kit) -> None:
    kit.path.write_bytes(spoiled(SAMPLE.files[0], PIECE))
    store = kit.complete()
    assert marks(store) == [0, 2, 3]
    now(store.close())
    assert marks(kit.complete(trust=True)) == [0, 1, 2, 3]
    kit.path.write_bytes(SAMPLE.files[0][:-1])
    assert marks(kit.complete(trust=True)) == []
    with pytest.raises(StorageError, match=r"nothing: No such"):
        kit.complete(path=kit.path.with_name("nothing"))


def test_a_tree_with_a_file_missing(kit: Kit) -> None:
    (kit.path / "b/c").mkdir(parents=True)
    (kit.path / "a").write_bytes(noise(5))
    (kit.path / "e").write_bytes(noise(2 * PIECE, 2))
    store = kit.complete(TREE.content)
    assert marks(store) == [0, 3, 4]
    now(store.close())


def test_a_file_cut_while_it_is_served(kit: Kit) -> None:
    kit.path.write_bytes(SAMPLE.files[0])
    store = kit.complete()
    os.truncate(kit.path, PIECE)
    assert now(store.read(0, PIECE)) == SAMPLE.piece(0)
    with pytest.raises(StorageError, match="has become shorter"):
        now(store.read(PIECE, PIECE))
    now(store.close())
