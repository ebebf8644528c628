"""Is nothing marked that does not verify, at whatever step the process or the machine ends?"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2sp.resource.merkle import BLOCK
from p2sp.storage import disk
from p2sp.storage.journal import Journal
from p2sp.storage.places import journal_path, part_path
from tests.storage.kit import PIECE, Kit, assert_true_marks, marks, noise, now, sample_file, sample_tree, spoiled

FILE = sample_file(noise(5 * PIECE + BLOCK + 5))
TREE = sample_tree({"a": noise(PIECE + 9), "b/c": noise(2 * PIECE, 1), "d": noise(3, 2), "e": noise(2 * BLOCK, 3)})
PIECES = 6


class CrashMachine(RuleBasedStateMachine):
    """Random work on a store, a copy of the disk after every step, and a new start from the copy."""

    sample = FILE

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "run").mkdir()
        self.kit = Kit(self.folder / "run")
        self.store = self.kit.open(self.sample.content)
        self.saved: set[int] = set()
        assert self.sample.content.layout.piece_count == PIECES

    def teardown(self) -> None:
        now(self.store.close())
        shutil.rmtree(self.folder)

    @rule(piece=st.integers(0, PIECES - 1), lie=st.booleans(), start=st.integers(0, 3), stop=st.integers(1, 4))
    def write(self, piece: int, lie: bool, start: int, stop: int) -> None:
        data = self.sample.piece(piece)
        part = (spoiled(data) if lie else data)[start * BLOCK : stop * BLOCK]
        if part:
            now(self.store.write(self.sample.start(piece) + start * BLOCK, [part], "s"))

    @rule(piece=st.integers(0, PIECES - 1))
    def write_whole(self, piece: int) -> None:
        now(self.store.write(self.sample.start(piece), [self.sample.piece(piece)], "s"))

    @rule(piece=st.integers(0, PIECES - 1))
    def forget(self, piece: int) -> None:
        self.store.forget(piece)
        self.saved.discard(piece)

    @rule(seconds=st.sampled_from([1.0, 5.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.kit.clock.advance(seconds)
        if seconds >= disk.JOURNAL_SECONDS:
            self.saved = set(marks(self.store))

    @rule()
    def restart(self) -> None:
        now(self.store.close())
        self.store = self.kit.open(self.sample.content)
        self.saved = set(marks(self.store))

    @rule()
    def crash(self) -> None:
        self.kit.crash(self.store)
        self.store = self.kit.open(self.sample.content)
        assert self.saved <= set(marks(self.store)), "progress that was in the journal is kept"
        self.saved = set(marks(self.store))

    @invariant()
    def what_a_copy_of_the_disk_marks_is_true(self) -> None:
        copy = self.folder / "copy"
        shutil.copytree(self.kit.path.parent, copy)
        state = Journal(journal_path(copy / self.kit.path.name)).load()
        if state is not None:
            for piece in state.marked():
                (where,) = self.sample.content.layout.file_segments(
                    self.sample.start(piece), self.sample.content.layout.piece_end(piece)
                )
                path = part_path(copy / self.kit.path.name).joinpath(*self.sample.content.paths[where.file])
                with path.open("rb") as file:
                    file.seek(where.offset)
                    assert file.read(where.length) == self.sample.piece(piece)
        store = Kit(copy).open(self.sample.content)
        assert_true_marks(store, self.sample)
        assert self.saved <= set(marks(store))
        now(store.close())
        shutil.rmtree(copy, ignore_errors=True)


class TreeCrashMachine(CrashMachine):
    """The same in a folder of files."""

    sample = TREE


FileCrashTests = CrashMachine.TestCase
FileCrashTests.settings = settings(max_examples=25, stateful_step_count=25)
TreeCrashTests = TreeCrashMachine.TestCase
TreeCrashTests.settings = settings(max_examples=15, stateful_step_count=20)


def test_bytes_are_durable_before_they_are_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut cannot be had in a test; the order of the calls that survive one can."""
    kit = Kit(tmp_path)
    store = kit.open(FILE.content)
    now(store.write(0, [FILE.piece(0)], "s"))
    calls: list[str] = []

    def recorded(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any) -> Any:
            named = args[0] if isinstance(args[0], Path) else Path(os.readlink(f"/proc/self/fd/{args[0]}"))
            calls.append(f"{name} {named.name}")
            return real(*args)

        monkeypatch.setattr(module, name, call)

    recorded(os, "fdatasync")
    recorded(os, "fsync")
    recorded(Path, "replace")
    now(store.save())
    assert calls == [
        "fdatasync file.bin.part",
        "fsync file.bin.part.journal.new",
        "replace file.bin.part.journal.new",
        f"fsync {tmp_path.name}",
    ]
    now(store.close())
