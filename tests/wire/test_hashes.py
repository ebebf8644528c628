"""Are hashes of every layer of every file served so that they lead to the root, and nothing else?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.descriptor import Descriptor, FileEntry
from p2sp.resource.merkle import (
    BLOCK,
    blocks_in,
    check_proof,
    height_for,
    leaf_hashes,
    next_layer,
    pad_hash,
    piece_height,
)
from p2sp.wire.codec import MAX_HASHES
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.hashes import MAX_LEAVES, RUN, HashShelf, leaf_request, leaves_of, split_hashes
from p2sp.wire.messages import HashRequest
from tests.wire.support import make_resource

PIECE = 4 * BLOCK
DESCRIPTOR, DATA = make_resource([9 * PIECE + 5000, 3 * BLOCK, BLOCK - 1, 2 * PIECE, 0, PIECE], PIECE)
LEAVES: list[tuple[bytes, ...]] = []
_at = 0
for _piece in range(DESCRIPTOR.layout.piece_count):
    _size = DESCRIPTOR.layout.piece_size(_piece)
    LEAVES.append(tuple(leaf_hashes(DATA[_at : _at + _size])))
    _at += _size


def answer(descriptor: Descriptor, request: HashRequest, leaves: list[tuple[bytes, ...]] = LEAVES) -> bytes | None:
    """What a node that has everything answers."""
    shelf = HashShelf(descriptor)
    pieces = shelf.pieces_for(request)
    if pieces is None:
        assert shelf.answer(request) is None
        return None
    return shelf.answer(request, [leaf for piece in pieces for leaf in leaves[piece]])


@given(data=st.data())
def test_every_aligned_run_of_every_layer_leads_to_the_root(data: st.DataObject) -> None:
    file = data.draw(st.sampled_from([0, 1, 3, 5]))
    entry = DESCRIPTOR.files[file]
    assert entry.pieces_root is not None
    own = [leaf for piece in DESCRIPTOR.layout.pieces_of(file) for leaf in LEAVES[piece]]
    height = height_for(len(own))
    base = data.draw(st.integers(0, height - 1))
    row = own
    for level in range(base):
        row = next_layer(row, level)
    length = 1 << data.draw(st.integers(1, height - base))
    index = length * data.draw(st.integers(0, (len(row) - 1) // length))
    proof = data.draw(st.integers(0, height - base - 1))
    found = answer(DESCRIPTOR, HashRequest(entry.pieces_root, base, index, length, proof))
    assert found is not None
    values = split_hashes(found)
    expected = row[index : index + length]
    assert values[:length] == expected + [pad_hash(base)] * (length - len(expected))
    assert len(values) == length + max(proof - height_for(length) + 1, 0)
    if proof == height - base - 1:
        assert check_proof(values[:length], base, index, values[length:], entry.pieces_root, height - base)


@pytest.mark.parametrize(("pieces", "per_piece"), [(1500, 1), (1100, 4), (513, 2)])
def test_large_layers_are_served_from_tops(pieces: int, per_piece: int) -> None:
    descriptor, data = make_resource([pieces * per_piece * BLOCK - 77], per_piece * BLOCK)
    all_leaves = leaf_hashes(data)
    leaves = [tuple(all_leaves[at : at + per_piece]) for at in range(0, len(all_leaves), per_piece)]
    root = descriptor.files[0].pieces_root
    assert root is not None
    height = height_for(len(all_leaves))
    for base in range(height):
        count = blocks_in(len(data)) + (1 << base) - 1 >> base
        for length in {2, 8, min(RUN, 1 << (height - base)), 1 << (height - base)}:
            if length > 1 << (height - base):
                continue
            for index in {0, (count - 1) // length * length}:
                found = answer(descriptor, HashRequest(root, base, index, length, height - base - 1), leaves)
                if found is None:
                    assert length << base > MAX_LEAVES
                    assert 1 << base < per_piece
                    continue
                values = split_hashes(found)
                assert check_proof(values[:length], base, index, values[length:], root, height - base), (
                    base,
                    index,
                    length,
                )


@pytest.mark.parametrize("piece", range(DESCRIPTOR.layout.piece_count))
def test_the_leaves_of_a_piece_come_back(piece: int) -> None:
    request = leaf_request(DESCRIPTOR, piece)
    if len(LEAVES[piece]) == 1 and DESCRIPTOR.layout.lengths[DESCRIPTOR.layout.file_of(piece)] <= PIECE:
        assert request is None
        return
    assert request is not None
    assert request.length == min(
        4, 1 << height_for(blocks_in(DESCRIPTOR.layout.lengths[DESCRIPTOR.layout.file_of(piece)]))
    )
    found = answer(DESCRIPTOR, request)
    assert found is not None
    assert leaves_of(DESCRIPTOR, piece, found) == LEAVES[piece]


@pytest.mark.parametrize("how", ["short", "long", "bit", "padding", "order", "empty"])
def test_wrong_leaves_are_seen(how: str) -> None:
    piece = 9  # the short last one of the first file
    request = leaf_request(DESCRIPTOR, piece)
    assert request is not None
    good = answer(DESCRIPTOR, request)
    assert good is not None
    wrong = {
        "short": b"",
        "long": good + b"x" * 32,
        "bit": bytes((good[0] ^ 1,)) + good[1:],
        "padding": good[:-1] + b"\1",
        "order": good[32:64] + good[:32] + good[64:],
        "empty": bytes(len(good)),
    }[how]
    with pytest.raises(RemoteProtocolError, match="not the leaves of piece 9"):
        leaves_of(DESCRIPTOR, piece, wrong)


def test_no_answer_costs_more_than_a_few_pieces() -> None:
    descriptor, _ = make_resource([PIECE])
    entry = descriptor.files[0]
    long = HashShelf(_flat(64 * 1024, 4))
    root = b"r" * 32
    assert long.pieces_for(HashRequest(root, 0, 0, MAX_LEAVES, 0)) == range(MAX_LEAVES // 4)
    assert long.pieces_for(HashRequest(root, 1, 0, MAX_LEAVES // 2, 0)) == range(MAX_LEAVES // 4)
    assert long.pieces_for(HashRequest(root, 0, 0, 2 * MAX_LEAVES, 0)) is None
    assert long.pieces_for(HashRequest(root, 1, 0, MAX_LEAVES, 0)) is None
    assert long.pieces_for(HashRequest(root, 3, 0, MAX_HASHES, 0)) == range(0)
    assert long.pieces_for(HashRequest(root, 5, 0, MAX_HASHES, 0)) is None
    assert long.pieces_for(HashRequest(entry.pieces_root or b"", 0, 0, 2, 0)) is None


@given(
    st.integers(0, 2**32 - 1) | st.integers(0, 8),
    st.integers(0, 2**32 - 1) | st.integers(0, 64),
    st.integers(0, 2**32 - 1) | st.sampled_from([2, 4, 8, 16]),
    st.integers(0, 2**32 - 1) | st.integers(0, 6),
)
def test_whatever_is_asked_is_answered_in_full_or_not_at_all(base: int, index: int, length: int, proof: int) -> None:
    root = DESCRIPTOR.files[0].pieces_root
    assert root is not None
    found = answer(DESCRIPTOR, HashRequest(root, base, index, length, proof))
    if found is not None:
        assert len(found) == 32 * (length + max(proof - height_for(length) + 1, 0))


def test_without_the_leaves_there_is_no_answer() -> None:
    request = leaf_request(DESCRIPTOR, 2)
    assert request is not None
    shelf = HashShelf(DESCRIPTOR)
    assert shelf.answer(request) is None
    assert shelf.answer(request, LEAVES[2][:-1]) is None
    assert shelf.answer(request, LEAVES[2]) is not None


def test_pieces_too_long_for_one_answer_are_not_asked_for() -> None:
    assert leaf_request(_flat(4, 2 * MAX_HASHES), 1) is None
    assert leaf_request(_flat(4, MAX_HASHES), 1) == HashRequest(b"r" * 32, 0, MAX_HASHES, MAX_HASHES, 0)


def _flat(pieces: int, blocks: int) -> Descriptor:
    """A descriptor of one file with so many pieces of so many blocks, whose hashes nobody looks at."""
    length = pieces * blocks * BLOCK
    layer = (pad_hash(piece_height(blocks * BLOCK)),) * pieces
    return Descriptor(b"", "flat", blocks * BLOCK, (FileEntry(("flat",), length, b"r" * 32),), {b"r" * 32: layer})
