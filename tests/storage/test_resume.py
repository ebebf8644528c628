"""Is what an earlier run left taken up, and only that?"""

import os

import pytest

from p2sp.resource.merkle import BLOCK
from p2sp.resource.verification import Content
from p2sp.storage import disk
from p2sp.storage.interfaces import AlreadyExists, Changed, Validators
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


def test_what_was_verified_is_taken_up(kit: Kit) -> None:
    store = kit.open()
    put(store, SAMPLE, 1, 3)
    now(store.write(0, [SAMPLE.at(0, BLOCK)], "s"))
    now(store.close())
    assert kit.names() == [".file.bin.part.leaves", "file.bin.part", "file.bin.part.journal"]
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
