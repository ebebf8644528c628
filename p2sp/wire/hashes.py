"""Which hashes answer a hash request, and which leaves must be at hand for it (BEP 52)? Pure."""

from collections.abc import Sequence
from typing import Final

import attrs

from p2sp.resource.descriptor import Descriptor
from p2sp.resource.merkle import (
    HASH_SIZE,
    blocks_in,
    height_for,
    next_layer,
    pad_hash,
    piece_height,
    piece_root,
    proof_for,
    root_of,
)
from p2sp.wire.codec import MAX_HASHES
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.messages import HashRequest

RUN: Final = 512
"""Hashes of a piece layer asked for at a time: aligned runs that every implementation serves."""

_RUN_HEIGHT: Final = height_for(RUN)

MAX_WORK: Final = 16 * 1024
"""Nodes of a piece layer that may be looked at for one answer."""

MAX_LEAVES: Final = 2048
"""Leaves of several pieces that may be needed for one answer, 32 MiB of bytes; of one piece all may."""


@attrs.frozen
class _Tree:
    """The tree of one file: its first piece, its leaves, the levels from these to the root, and its piece layer."""

    first_piece: int
    leaves: int
    height: int
    layer: Sequence[bytes]


def split_hashes(row: bytes) -> list[bytes]:
    """A row of hashes, one by one."""
    return [row[at : at + HASH_SIZE] for at in range(0, len(row), HASH_SIZE)]


def leaf_request(descriptor: Descriptor, piece: int) -> HashRequest | None:
    """What to ask for to have all leaf hashes of a piece; None where that is more than one answer holds.

    None as well for a piece of one block, whose only leaf is known already, and where there is no tree (BitTorrent v1).
    No proof is asked for: the piece's own hash is known.
    """
    layout = descriptor.layout
    file = layout.file_of(piece)
    entry = descriptor.files[file]
    if entry.pieces_root is None:
        return None
    height = min(piece_height(descriptor.piece_length), height_for(blocks_in(entry.length)))
    if not 2 <= 1 << height <= MAX_HASHES:
        return None
    index = (piece - layout.pieces_of(file).start) << height
    return HashRequest(entry.pieces_root, 0, index, 1 << height, 0)


def leaves_of(descriptor: Descriptor, piece: int, hashes: bytes) -> tuple[bytes, ...]:
    """The leaf hashes of a piece out of the answer to `leaf_request`. Raises RemoteProtocolError when they are not."""
    layout = descriptor.layout
    values = split_hashes(hashes)
    real = layout.blocks_of(piece)
    leaves, padding = values[:real], values[real:]
    length = layout.lengths[layout.file_of(piece)]
    good = len(leaves) == real and not any(map(any, padding))
    if not good or piece_root(leaves, length, layout.piece_length) != descriptor.piece_hash(piece):
        raise RemoteProtocolError(f"Hashes that are not the leaves of piece {piece}")
    return tuple(leaves)


class HashShelf:
    """Answers requests for hashes of one resource: any layer of any file, from piece layers and leaves.

    What stands at or above the pieces follows from the descriptor. What stands below needs the leaf hashes of whole
    pieces: `pieces_for` says of which.
    """

    def __init__(self, descriptor: Descriptor) -> None:
        self._level = piece_height(descriptor.piece_length)
        self._trees: dict[bytes, _Tree] = {}
        self._tops: dict[bytes, list[bytes]] = {}
        for file, entry in enumerate(descriptor.files):
            if entry.pieces_root is not None and entry.pieces_root not in self._trees:
                leaves = blocks_in(entry.length)
                layer = descriptor.layers.get(entry.pieces_root, ())
                first = descriptor.layout.pieces_of(file).start
                self._trees[entry.pieces_root] = _Tree(first, leaves, height_for(leaves), layer)

    def pieces_for(self, request: HashRequest) -> range | None:
        """The pieces whose leaves an answer needs, perhaps none; None for what BEP 52 or we do not allow."""
        tree = self._trees.get(request.root)
        length, base = request.length, request.base
        if tree is None or base >= tree.height or request.proof >= tree.height - base:
            return None
        if not 2 <= length <= min(MAX_HASHES, 1 << (tree.height - base)) or length & (length - 1):
            return None
        if request.index % length or request.index << base >= tree.leaves:
            return None
        if base >= self._level:
            below = self._level if base - self._level < _RUN_HEIGHT else base
            return range(0) if length << (base - below) <= MAX_WORK else None
        per_piece = 1 << self._level
        if length << base > max(MAX_LEAVES, per_piece):
            return None
        start, stop = request.index << base, min((request.index + length) << base, tree.leaves)
        return range(tree.first_piece + start // per_piece, tree.first_piece + -(-stop // per_piece))

    def answer(self, request: HashRequest, leaves: Sequence[bytes] = ()) -> bytes | None:
        """The hashes and uncles asked for; None for a request that is not allowed, or when leaves are missing.

        `leaves` are those of the pieces that `pieces_for` names, in order.
        """
        pieces = self.pieces_for(request)
        if pieces is None:
            return None
        tree = self._trees[request.root]
        length, base, index = request.length, request.base, request.index
        if pieces:
            number = pieces.start - tree.first_piece
            if len(leaves) != min(len(pieces) << self._level, tree.leaves - (number << self._level)):
                return None
            # The first node of what is at hand, counted at the level of the request.
            first = number << (self._level - base)
            row = _raised(leaves, 0, base)
            nodes = row[index - first :][:length]
            # What is at hand is the piece around the run, or the run where that is longer.
            inside = max(min(self._level, tree.height) - base, height_for(length))
            uncles = proof_for(row, base, index - first, length, inside)
            if tree.height > self._level:
                count = 1 << (base + inside - self._level)
                uncles += self._above(request.root, tree, self._level, number, count)
        else:
            nodes = self._upper(request.root, tree, base, index, length)
            uncles = self._above(request.root, tree, base, index, length)
        nodes += [pad_hash(base)] * (length - len(nodes))
        # The first levels of the proof follow from the hashes themselves and are left out (BEP 52).
        return b"".join(nodes) + b"".join(uncles[: max(request.proof - height_for(length) + 1, 0)])

    def _upper(self, root: bytes, tree: _Tree, level: int, index: int, length: int) -> list[bytes]:
        """Nodes at or above the piece layer."""
        below, row = self._level, tree.layer
        if level - self._level >= _RUN_HEIGHT:
            below, row = self._level + _RUN_HEIGHT, self._top(root, tree)
        step = level - below
        return _raised(row[index << step : (index + length) << step], below, step)

    def _above(self, root: bytes, tree: _Tree, level: int, index: int, length: int) -> list[bytes]:
        """Uncles of a run at or above the piece layer, from the parent of the run up to the root."""
        top = self._level + _RUN_HEIGHT
        if tree.height <= top:
            row = _raised(tree.layer, self._level, level - self._level)
            return proof_for(row, level, index, length, tree.height - level)
        tops = self._top(root, tree)
        if level >= top:
            row = _raised(tops, top, level - top)
            return proof_for(row, level, index, length, tree.height - level)
        per_run = RUN >> (level - self._level)
        if length >= per_run:
            return proof_for(tops, top, index // per_run, length // per_run, tree.height - top)
        at = index // per_run
        run = _raised(tree.layer[at * RUN : (at + 1) * RUN], self._level, level - self._level)
        inside = proof_for(run, level, index % per_run, length, top - level)
        return inside + proof_for(tops, top, at, 1, tree.height - top)

    def _top(self, root: bytes, tree: _Tree) -> list[bytes]:
        """The level above runs of the piece layer, kept: a request then costs one run and not a whole layer."""
        tops = self._tops.get(root)
        if tops is None:
            layer = tree.layer
            tops = self._tops[root] = [
                root_of(layer[at : at + RUN], _RUN_HEIGHT, self._level) for at in range(0, len(layer), RUN)
            ]
        return tops


def _raised(nodes: Sequence[bytes], level: int, steps: int) -> list[bytes]:
    """The row `steps` levels above `nodes`."""
    row = list(nodes)
    for step in range(steps):
        row = next_layer(row, level + step)
    return row
