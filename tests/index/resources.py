"""Which resources do the tests of the index publish?"""

import random

from p2sp.resource.descriptor import Descriptor, FileEntry, make_descriptor
from p2sp.resource.merkle import FileHasher

PIECE = 256 * 1024


def _entry(path: tuple[str, ...], length: int, seed: int) -> tuple[FileEntry, tuple[bytes, ...]]:
    hasher = FileHasher(PIECE)
    if length:
        hasher.update(random.Random(seed).randbytes(length))
    root, layer = hasher.finish()
    return FileEntry(path, length, root), layer


def single_file(name: str, length: int, seed: int = 1) -> Descriptor:
    """A lone file of that many bytes, the same for the same seed."""
    return make_descriptor(name, [_entry((name,), length, seed)], PIECE)


def tree(name: str, lengths: list[int]) -> Descriptor:
    """A folder of files `part0`, `part1` and so on."""
    files = [_entry((f"part{at}",), length, at) for at, length in enumerate(lengths)]
    return make_descriptor(name, files, PIECE)
