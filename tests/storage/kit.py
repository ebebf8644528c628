"""What do the tests of storage share: contents with true bytes, and stores over them?"""

import os
from collections.abc import Coroutine
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from p2sp.resource.descriptor import FileEntry, make_descriptor
from p2sp.resource.merkle import BLOCK, FileHasher
from p2sp.resource.metalink import FlatPieces, MetalinkFile
from p2sp.resource.verification import Content, described, of_metalink, undescribed
from p2sp.storage.disk import DiskStore, open_complete, open_store
from p2sp.storage.interfaces import Verdict
from p2sp.storage.pool import InlinePool

T = TypeVar("T")

PIECE = 4 * BLOCK


def noise(length: int, seed: int = 0) -> bytes:
    """The same bytes for the same seed."""
    return Random(seed).randbytes(length)


@attrs.frozen
class Sample:
    """A content and its true bytes, file by file."""

    content: Content
    files: tuple[bytes, ...]

    def at(self, start: int, stop: int) -> bytes:
        """The true bytes of a run of positions."""
        parts = self.content.layout.segments(start, stop)
        return b"".join(self.files[part.file][part.offset : part.offset + part.length] for part in parts)

    def piece(self, piece: int) -> bytes:
        """The true bytes of a piece."""
        layout = self.content.layout
        return self.at(layout.piece_start(piece), layout.piece_end(piece))

    def start(self, piece: int) -> int:
        """Where a piece begins."""
        return self.content.layout.piece_start(piece)


def sample_tree(files: dict[str, bytes], name: str = "tree", piece_length: int = PIECE) -> Sample:
    """A described content of these files by path."""
    entries = []
    for path, data in files.items():
        hasher = FileHasher(piece_length)
        hasher.update(data)
        root, layer = hasher.finish()
        entries.append((FileEntry(tuple(path.split("/")), len(data), root), layer))
    descriptor = make_descriptor(name, entries, piece_length)
    return Sample(described(descriptor), tuple(files["/".join(entry.path)] for entry in descriptor.files))


def sample_file(data: bytes, name: str = "file.bin", piece_length: int = PIECE) -> Sample:
    """A described content of one file."""
    return sample_tree({name: data}, name, piece_length)


def sample_flat(data: bytes, name: str = "file.bin", piece_length: int = PIECE) -> Sample:
    """A content of one file with a digest of each piece."""
    hashes = tuple(sha256(data[at : at + piece_length]).digest() for at in range(0, len(data), piece_length))
    file = MetalinkFile(name, len(data), {}, FlatPieces("sha256", piece_length, hashes))
    return Sample(of_metalink(file, len(data), "sha256:key"), (data,))


def sample_unknown(data: bytes, key: str = "http://mirror/file.bin") -> Sample:
    """A content of which nothing is known but where it is from."""
    return Sample(undescribed(key, "file.bin", len(data)), (data,))


def spoiled(data: bytes, at: int = 0) -> bytes:
    """The same bytes but one."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


LENGTH = 3 * PIECE + BLOCK + 5
SAMPLE = sample_file(noise(LENGTH))
TREE = sample_tree({"a": noise(5), "b/empty": b"", "b/c/d": noise(PIECE + 1, 1), "e": noise(2 * PIECE, 2)})


def now(work: "Deferred[T] | Coroutine[Deferred[Any], Any, T]") -> T:
    """The result of what does not wait for anything."""
    deferred = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    results: list[T | Failure] = []
    deferred.addBoth(results.append)
    assert results, "it waits"
    if isinstance(results[0], Failure):
        results[0].raiseException()
        raise AssertionError
    return results[0]


class Kit:
    """A folder, an inline pool, a clock."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "file.bin"
        self.pool = InlinePool()
        self.clock = Clock()

    def open(self, content: Content = SAMPLE.content, path: Path | None = None, **options: Any) -> DiskStore:
        return now(open_store(path or self.path, content, self.pool, self.clock, **options))

    def complete(self, content: Content = SAMPLE.content, path: Path | None = None, **options: Any) -> DiskStore:
        return now(open_complete(path or self.path, content, self.pool, self.clock, **options))

    def names(self) -> list[str]:
        return sorted(os.listdir(self.path.parent))

    def crash(self, store: DiskStore) -> None:
        """The end of the process, as far as files and locks notice."""
        store._stop_timer()
        store._files.close()


def put(store: DiskStore, sample: Sample, *pieces: int) -> None:
    for piece in pieces:
        assert now(store.write(sample.start(piece), [sample.piece(piece)], "s")) == [Verdict(piece, True, frozenset())]


def marks(store: DiskStore) -> list[int]:
    return [piece for piece, good in enumerate(store.verified()) if good]


def assert_true_marks(store: DiskStore, sample: Sample) -> None:
    """Every verified piece is what it should be."""
    for piece in marks(store):
        size = sample.content.layout.piece_size(piece)
        assert now(store.read(sample.start(piece), size)) == sample.piece(piece), f"piece {piece} is marked but wrong"
