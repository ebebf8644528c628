"""What do the tests of descriptors share?"""

from typing import Any

from bencode2 import bencode

from p2sp.resource.descriptor import (
    Descriptor,
    FileEntry,
    make_descriptor,
)
from p2sp.resource.merkle import BLOCK, FileHasher

PIECE = 2 * BLOCK
ROOT = b"r" * 32


def hashed(path: tuple[str, ...], data: bytes, piece_length: int = PIECE) -> tuple[FileEntry, tuple[bytes, ...]]:
    hasher = FileHasher(piece_length)
    hasher.update(data)
    root, layer = hasher.finish()
    return FileEntry(path, len(data), root), layer


def info(**changes: Any) -> dict[bytes, Any]:
    """A good info dict with some fields changed; None takes a field out."""
    fields: dict[bytes, Any] = {
        b"file tree": {b"f": {b"": {b"length": 1, b"pieces root": ROOT}}},
        b"meta version": 2,
        b"name": b"f",
        b"piece length": PIECE,
    }
    for key, value in changes.items():
        fields[key.replace("_", " ").encode()] = value
    return {key: value for key, value in fields.items() if value is not None}


def tree(node: Any) -> dict[bytes, Any]:
    return info(file_tree=node)


def leaf(**fields: Any) -> dict[bytes, Any]:
    return tree({b"f": {b"": {key.replace("_", " ").encode(): value for key, value in fields.items()}}})


def deep(levels: int) -> dict[bytes, Any]:
    node: dict[bytes, Any] = {b"": {b"length": 0}}
    for _ in range(levels):
        node = {b"d": node}
    return node


def torrent_of(made: Descriptor, layers: Any) -> bytes:
    return b"d4:info" + made.info + b"12:piece layers" + bencode(layers) + b"e"


MADE = make_descriptor("f", [hashed(("f",), b"x" * 2 * PIECE + b"y")], PIECE)
(LONG_ROOT,) = MADE.layers
LAYER = b"".join(MADE.layers[LONG_ROOT])
