"""Does a download on disk lock, resume, finish and fail as it should?"""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest
from twisted.internet.defer import CancelledError, Deferred

from p2sp.resource.merkle import BLOCK
from p2sp.resource.verification import Content
from p2sp.storage import disk
from p2sp.storage.disk import open_store
from p2sp.storage.files import Pwrite
from p2sp.storage.interfaces import AlreadyExists, Changed, Locked, NoSpace, StorageError, Validators, Verdict
from p2sp.storage.journal import Journal, encode, state_of
from p2sp.storage.places import journal_path, part_path
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
    sample_unknown,
    spoiled,
)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


# --- names, and the way from part to whole


def test_a_download_lies_beside_its_name_until_it_is_whole(kit: Kit) -> None:
    store = kit.open()
    assert set(kit.names()) == {"file.bin.part", "file.bin.part.journal", "file.bin.part.journal.new"}
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
    assert kit.names() == ["tree.part", "tree.part.journal"]
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


# --- the target


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


# --- locks


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


# --- resuming


def test_what_was_verified_is_taken_up(kit: Kit) -> None:
    store = kit.open()
    put(store, SAMPLE, 1, 3)
    now(store.write(0, [SAMPLE.at(0, BLOCK)], "s"))
    now(store.close())
    assert kit.names() == ["file.bin.part", "file.bin.part.journal"]
    store = kit.open()
    assert marks(store) == [1, 3]
    assert store.remaining() == [(0, PIECE), (2 * PIECE, 3 * PIECE)]
    assert now(store.read(PIECE, PIECE)) == SAMPLE.piece(1)
    put(store, SAMPLE, 0, 2)
    now(store.finish())
    now(store.close())
    assert kit.path.read_bytes() == SAMPLE.files[0]


def test_the_journal_is_written_after_five_seconds(kit: Kit) -> None:
    store = kit.open()
    put(store, SAMPLE, 2)
    journal = Journal(journal_path(kit.path))
    kit.clock.advance(disk.JOURNAL_SECONDS - 0.1)
    put(store, SAMPLE, 0)
    state = journal.load()
    assert state is not None
    assert state.marked() == []
    kit.clock.advance(0.1)
    state = journal.load()
    assert state is not None
    assert state.marked() == [0, 2]
    assert not kit.clock.getDelayedCalls(), "no clock ticks for nothing"
    kit.crash(store)
    store = kit.open()
    assert marks(store) == [0, 2]
    now(store.close())


def test_the_journal_is_written_after_so_many_bytes(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "JOURNAL_BYTES", 2 * PIECE)
    store = kit.open()
    journal = Journal(journal_path(kit.path))
    seen = []
    for piece in range(3):
        put(store, SAMPLE, piece)
        state = journal.load()
        assert state is not None
        seen.append(state.marked())
    assert seen == [[], [0, 1], [0, 1]]
    now(store.close())


@pytest.mark.parametrize("sample", [SAMPLE, TREE])
def test_young_pieces_are_checked_after_a_crash_and_old_ones_believed(kit: Kit, sample: Sample) -> None:
    store = kit.open(sample.content)
    put(store, sample, 1)
    kit.clock.advance(disk.RECENT_SECONDS + 1)
    put(store, sample, 2, 3)
    now(store.save())
    part = part_path(kit.path)
    for piece in (1, 2):
        (where,) = sample.content.layout.file_segments(sample.start(piece), sample.start(piece) + 1)
        with store._files.name(where.file).open("r+b") as file:
            file.seek(where.offset)
            file.write(spoiled(sample.piece(piece))[:1])
    kit.crash(store)
    assert part.exists()
    store = kit.open(sample.content)
    assert marks(store) == [1, 3]
    now(store.close())
    store = kit.open(sample.content)
    assert marks(store) == [1, 3], "after an orderly end nothing is read again"
    now(store.close())


def test_no_more_than_so_many_bytes_are_checked(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "RECENT_BYTES", PIECE + 1)
    store = kit.open()
    put(store, SAMPLE, 0, 1, 2)
    now(store.save())
    state = Journal(journal_path(kit.path)).load()
    assert state is not None
    assert state.recent == (2, 1)
    now(store.close())


@pytest.mark.parametrize(
    "damage",
    [b"", bytes(100), b"{}", b"p2sp journal 1\n" + bytes(60)],
    ids=["empty", "zeroed", "foreign", "wrong checksum"],
)
def test_a_broken_journal_is_a_new_start(kit: Kit, damage: bytes) -> None:
    store = kit.open()
    put(store, SAMPLE, 0, 1)
    now(store.close())
    journal_path(kit.path).write_bytes(damage)
    store = kit.open()
    assert marks(store) == []
    put(store, SAMPLE, 0, 1, 2, 3)
    now(store.finish())
    now(store.close())
    assert kit.path.read_bytes() == SAMPLE.files[0]


@pytest.mark.parametrize("bits", [b"", b"\xf0\x00", b"\xff"], ids=["short", "long", "marks behind the end"])
def test_a_bitfield_of_another_size_is_a_new_start(kit: Kit, bits: bytes) -> None:
    store = kit.open()
    put(store, SAMPLE, 0)
    now(store.close())
    journal_path(kit.path).write_bytes(encode(state_of(SAMPLE.content, bits, (), Validators())))
    store = kit.open()
    assert marks(store) == []
    now(store.close())


@pytest.mark.parametrize("sample", [SAMPLE, TREE])
def test_a_part_that_is_gone_or_cut_is_not_believed(kit: Kit, sample: Sample) -> None:
    store = kit.open(sample.content)
    put(store, sample, 0, 1, 2, 3)
    now(store.close())
    where = part_path(kit.path) if sample is SAMPLE else part_path(kit.path) / "b/c/d"
    os.truncate(where, PIECE - 1)
    store = kit.open(sample.content)
    assert marks(store) == ([] if sample is SAMPLE else [0, 3])
    put(store, sample, 1)
    now(store.close())
    where.unlink()
    store = kit.open(sample.content)
    assert marks(store) == ([] if sample is SAMPLE else [0, 3])
    now(store.close())


def test_another_resource_under_the_same_name(kit: Kit) -> None:
    store = kit.open()
    put(store, SAMPLE, 0)
    now(store.close())
    other = sample_file(noise(LENGTH, 1))
    with pytest.raises(Changed, match=f"{SAMPLE.content.key}.*{other.content.key}.*to start anew"):
        kit.open(other.content)
    store = kit.open()
    assert marks(store) == [0], "nothing was touched"
    now(store.close())
    store = kit.open(other.content, fresh=True)
    assert marks(store) == []
    assert part_path(kit.path).stat().st_blocks == 0, "the room of the old bytes is given back"
    now(store.close())


def test_a_part_of_somebody_else_is_left_alone(kit: Kit) -> None:
    part = part_path(kit.path)
    part.write_text("of another program")
    with pytest.raises(AlreadyExists, match=r"file\.bin\.part exists already and has no journal"):
        kit.open()
    assert part.read_text() == "of another program"
    now(kit.open(fresh=True).close())
    assert kit.names() == []
    (part / "sub").mkdir(parents=True)
    (part / "sub" / "precious").write_text("of another program")
    with pytest.raises(AlreadyExists):
        kit.open(TREE.content)
    store = kit.open(TREE.content, fresh=True)
    put(store, TREE, 0, 1, 2, 3, 4)
    now(store.finish())
    now(store.close())
    assert sorted(os.listdir(kit.path)) == ["a", "b", "e"], "nothing else gets into what was downloaded"


@pytest.mark.parametrize("content", [SAMPLE.content, TREE.content])
def test_a_run_killed_before_its_first_journal_is_no_obstacle(kit: Kit, content: Content) -> None:
    kit.crash(kit.open(content))
    Journal(journal_path(kit.path)).remove()
    now(kit.open(content).close())
    assert kit.names() == []


def test_versions_of_content_without_hashes(kit: Kit) -> None:
    sample = sample_unknown(noise(LENGTH))
    store = kit.open(sample.content, validators=Validators("http://m/f", '"one"'))
    assert store.validators == Validators("http://m/f", '"one"')
    put(store, sample_unknown(noise(LENGTH)), 0)
    now(store.close())
    with pytest.raises(Changed, match="its ETag was"):
        kit.open(sample.content, validators=Validators(etag='"two"'))
    with pytest.raises(Changed, match=f"was {LENGTH} bytes long and is now {LENGTH + 1}"):
        kit.open(sample_unknown(noise(LENGTH + 1)).content)
    store = kit.open(sample.content, validators=Validators(last_modified="Monday"))
    assert store.validators == Validators("http://m/f", '"one"', "Monday"), "what is known of it adds up"
    store.validators = Validators("http://m/f", '"one"', "Tuesday")
    now(store.close())
    with pytest.raises(Changed, match="Last-Modified was Tuesday"):
        kit.open(sample.content, validators=Validators(last_modified="Monday"))


def test_a_forgotten_piece_loses_its_mark_before_its_bytes_change(kit: Kit) -> None:
    store = kit.open()
    put(store, SAMPLE, 0, 1)
    now(store.save())
    store.forget(1)
    now(store.write(PIECE, [spoiled(SAMPLE.at(PIECE, PIECE + BLOCK))], "liar"))
    state = Journal(journal_path(kit.path)).load()
    assert state is not None
    assert state.marked() == [0]
    kit.crash(store)
    store = kit.open()
    assert marks(store) == [0]
    now(store.close())


# --- what goes wrong


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


# --- what is whole already


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
