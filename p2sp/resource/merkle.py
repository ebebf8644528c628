"""Which hashes stand for these bytes? The SHA-256 Merkle tree of BEP 52."""

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256

BLOCK = 16 * 1024
"""Bytes of a block: unit of a wire request and leaf of the tree (BEP 3, BEP 52)."""

HASH_SIZE = 32


def blocks_in(length: int) -> int:
    """Blocks that `length` bytes take; the last one may be short."""
    return -(-length // BLOCK)


def leaf_hashes(data: bytes | bytearray | memoryview) -> list[bytes]:
    """Hashes of the blocks of `data`, which must start at a block's boundary (BEP 52, leaf layer)."""
    view = memoryview(data)
    return [sha256(view[at : at + BLOCK]).digest() for at in range(0, len(view), BLOCK)]


@cache
def pad_hash(level: int) -> bytes:
    """Root of a subtree of 2**level leaves that lie beyond the end of the file: all of them 32 zero bytes."""
    if level == 0:
        return bytes(HASH_SIZE)
    below = pad_hash(level - 1)
    return sha256(below + below).digest()


def height_for(count: int) -> int:
    """Levels between `count` nodes and their root, `count` rounded up to a power of two."""
    return max(count - 1, 0).bit_length()


def next_layer(nodes: Sequence[bytes], level: int) -> list[bytes]:
    """Parents of `nodes`, which stand at `level` above the leaves; an odd last one pairs with padding."""
    parents = [sha256(nodes[i] + nodes[i + 1]).digest() for i in range(0, len(nodes) - 1, 2)]
    if len(nodes) % 2:
        parents.append(sha256(nodes[-1] + pad_hash(level)).digest())
    return parents


def root_of(nodes: Sequence[bytes], height: int, level: int = 0) -> bytes:
    """Root `height` levels above `nodes`, which stand at `level` above the leaves.

    Raises ValueError when there are no nodes or more than 2**height of them.
    """
    if not 0 < len(nodes) <= 1 << height:
        raise ValueError(f"{len(nodes)} nodes do not fit a tree of height {height}")
    layer = list(nodes)
    for step in range(height):
        layer = next_layer(layer, level + step)
    return layer[0]


def piece_height(piece_length: int) -> int:
    """Levels between the leaves and the piece layer."""
    return height_for(blocks_in(piece_length))


def piece_root(leaves: Sequence[bytes], file_length: int, piece_length: int) -> bytes:
    """The hash a piece of a file must have, from its leaves.

    A file no longer than one piece has no piece layer: its only hash is the file's root, padded only to the next
    power of two of its own blocks (BEP 52, "pieces root").
    """
    if file_length <= piece_length:
        return root_of(leaves, height_for(len(leaves)))
    return root_of(leaves, piece_height(piece_length))


def file_root(pieces: Sequence[bytes], piece_length: int) -> bytes:
    """Root of a file from its piece layer (for a file of one piece or less: from that one hash)."""
    if len(pieces) == 1:
        return pieces[0]
    return root_of(pieces, height_for(len(pieces)), piece_height(piece_length))


class FileHasher:
    """Hashes a file as it is read, in order, to its root and piece layer; memory: one hash a piece.

    Feed it runs of whole blocks; only the last run may end inside a block.
    """

    def __init__(self, piece_length: int) -> None:
        self._piece_length = piece_length
        self._blocks_per_piece = piece_length // BLOCK
        self._pieces: list[bytes] = []
        self._leaves: list[bytes] = []
        self.length = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes. Raises ValueError when an earlier run ended inside a block."""
        if len(data) and self.length % BLOCK:
            raise ValueError("only the last run of a file may end inside a block")
        self.length += len(data)
        self._leaves += leaf_hashes(data)
        while len(self._leaves) > self._blocks_per_piece:
            self._pieces.append(root_of(self._leaves[: self._blocks_per_piece], piece_height(self._piece_length)))
            del self._leaves[: self._blocks_per_piece]

    def finish(self) -> tuple[bytes | None, tuple[bytes, ...]]:
        """Root and piece layer. No root for an empty file, no layer for one no longer than a piece."""
        if self.length == 0:
            return None, ()
        last = piece_root(self._leaves, self.length, self._piece_length)
        pieces = (*self._pieces, last)
        return file_root(pieces, self._piece_length), pieces if len(pieces) > 1 else ()


def proof_for(nodes: Sequence[bytes], level: int, index: int, count: int, height: int) -> list[bytes]:
    """Uncle hashes from the parent of `nodes[index:index + count]` up to the root (BEP 52, hash request).

    `nodes` is a whole layer at `level`; `count` a power of two that divides `index`; `height` the levels from that
    layer to the root.
    """
    layer = list(nodes)
    at = index
    uncles = []
    for step in range(height):
        if step >= height_for(count):
            sibling = at ^ 1
            uncles.append(layer[sibling] if sibling < len(layer) else pad_hash(level + step))
        layer = next_layer(layer, level + step)
        at >>= 1
    return uncles


def check_proof(
    nodes: Sequence[bytes], level: int, index: int, uncles: Iterable[bytes], root: bytes, height: int
) -> bool:
    """Whether `nodes`, a whole aligned subtree at `level`, lead to `root` with the given uncles."""
    count = len(nodes)
    if count == 0 or count & (count - 1) or index % count:
        return False
    steps = height_for(count)
    value = root_of(nodes, steps, level)
    at = index >> steps
    taken = 0
    for uncle in uncles:
        value = sha256(uncle + value if at & 1 else value + uncle).digest()
        at >>= 1
        taken += 1
    return steps + taken == height and value == root
