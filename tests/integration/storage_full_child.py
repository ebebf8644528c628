"""A download on a disk that gets full, and has room again later.

Arguments: a folder, and whether it is a small file system of its own (`mounted`) or writes are to fail (`injected`).
"""

import sys
from errno import ENOSPC
from pathlib import Path

import pytest

from p2sp.storage.interfaces import NoSpace
from tests.storage.kit import PIECE, Kit, marks, noise, now, put, sample_file

SAMPLE = sample_file(noise(12 * PIECE + 7))
FIRST = 8


def full(descriptor: int, data: memoryview, offset: int) -> int:
    """What pwrite does there."""
    raise OSError(ENOSPC, "No space left on device")


def fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        for size in (PIECE, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != ENOSPC:
                    raise


def main(folder: Path, mode: str) -> str:
    kit = Kit(folder)
    filler = folder / "filler"
    store = kit.open(SAMPLE.content)
    put(store, SAMPLE, *range(FIRST))
    if mode == "mounted":
        fill(filler)
    else:
        filler.touch()
        store._files._pwrite = full
    for piece in (FIRST, FIRST + 1):
        with pytest.raises(NoSpace, match=r"file\.bin\.part: the disk is full"):
            put(store, SAMPLE, piece)
    now(store.close())
    filler.unlink()
    store = kit.open(SAMPLE.content)
    kept = marks(store)
    put(store, SAMPLE, *range(len(kept), SAMPLE.content.layout.piece_count))
    now(store.finish())
    now(store.close())
    assert kit.path.read_bytes() == SAMPLE.files[0]
    return f"kept {len(kept)} of {SAMPLE.content.layout.piece_count} pieces, then finished"


if __name__ == "__main__":
    sys.stdout.write(main(Path(sys.argv[1]), sys.argv[2]) + "\n")
