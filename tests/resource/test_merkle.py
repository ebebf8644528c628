"""Are the hashes those of BEP 52?"""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.resource.merkle import (
    BLOCK,
    FileHasher,
    blocks_in,
    check_proof,
    file_root,
    height_for,
    leaf_hashes,
    next_layer,
    pad_hash,
    piece_height,
    piece_root,
    proof_for,
    root_of,
)

PIECE = 4 * BLOCK

leaves = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40)


def pattern(length: int) -> bytes:
    """Bytes no two blocks of which are alike."""
    return b"".join(sha256(at.to_bytes(8)).digest() for at in range(-(-length // 32)))[:length]


def naive_layers(data: bytes) -> list[list[bytes]]:
    """The whole tree of `data` by the letter of BEP 52: zero hashes up to the next power of two, layer by layer."""
    layer = [sha256(data[at : at + BLOCK]).digest() for at in range(0, len(data), BLOCK)]
    while len(layer) & (len(layer) - 1):
        layer.append(bytes(32))
    layers = [layer]
    while len(layer) > 1:
        layer = [sha256(layer[at] + layer[at + 1]).digest() for at in range(0, len(layer), 2)]
        layers.append(layer)
    return layers


def hashed(data: bytes, piece_length: int, run: int = 1 << 20) -> tuple[bytes | None, tuple[bytes, ...]]:
    hasher = FileHasher(piece_length)
    for at in range(0, len(data), run):
        hasher.update(data[at : at + run])
    assert hasher.length == len(data)
    return hasher.finish()


@pytest.mark.parametrize(
    "length",
    [
        1,
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        2 * BLOCK,
        3 * BLOCK,
        PIECE - 1,
        PIECE,
        PIECE + 1,
        2 * PIECE,
        2 * PIECE + 1,
        3 * PIECE - 1,
        8 * PIECE,
        21 * PIECE + 5,
    ],
)
def test_file_hasher_builds_the_tree_of_the_standard(length: int) -> None:
    data = pattern(length)
    layers = naive_layers(data)
    root, pieces = hashed(data, PIECE)
    assert root == layers[-1][0]
    if length <= PIECE:
        assert pieces == ()
    else:
        assert list(pieces) == layers[piece_height(PIECE)][: -(-length // PIECE)]


def test_an_empty_file_has_neither_root_nor_layer() -> None:
    assert FileHasher(PIECE).finish() == (None, ())


def test_a_tree_worked_out_by_hand() -> None:
    a, b, c = (sha256(bytes([n]) * BLOCK).digest() for n in range(3))
    zero = bytes(32)
    data = b"".join(bytes([n]) * BLOCK for n in range(3))
    assert hashed(data, PIECE)[0] == sha256(sha256(a + b).digest() + sha256(c + zero).digest()).digest()


def test_the_last_piece_of_a_long_file_is_padded_to_a_whole_piece_but_a_lone_one_is_not() -> None:
    leaf = sha256(b"x").digest()
    assert piece_root([leaf], 1, PIECE) == leaf
    padded = sha256(sha256(leaf + bytes(32)).digest() + pad_hash(1)).digest()
    assert piece_root([leaf], PIECE + 1, PIECE) == padded


@given(st.binary(max_size=6 * BLOCK), st.sampled_from([BLOCK, 2 * BLOCK, PIECE]), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_cut_of_the_runs_does_not_matter(data: bytes, piece_length: int, blocks: int) -> None:
    assert hashed(data, piece_length, blocks * BLOCK) == hashed(data, piece_length)
    if data:
        assert hashed(data, piece_length)[0] == naive_layers(data)[-1][0]


def test_a_run_after_a_short_block_is_refused() -> None:
    hasher = FileHasher(PIECE)
    hasher.update(b"short")
    hasher.update(b"")
    with pytest.raises(ValueError, match="inside a block"):
        hasher.update(b"more")


def test_leaf_hashes_take_any_buffer() -> None:
    data = pattern(BLOCK + 10)
    expected = [sha256(data[:BLOCK]).digest(), sha256(data[BLOCK:]).digest()]
    assert leaf_hashes(data) == leaf_hashes(bytearray(data)) == leaf_hashes(memoryview(data)) == expected
    assert leaf_hashes(b"") == []


@pytest.mark.parametrize(("count", "height"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (1024, 10), (1025, 11)])
def test_height(count: int, height: int) -> None:
    assert height_for(count) == height


@pytest.mark.parametrize(("length", "blocks"), [(0, 0), (1, 1), (BLOCK, 1), (BLOCK + 1, 2)])
def test_blocks_in(length: int, blocks: int) -> None:
    assert blocks_in(length) == blocks


@pytest.mark.parametrize(("count", "height"), [(0, 0), (0, 3), (2, 0), (5, 2)])
def test_root_of_refuses_what_does_not_fit(count: int, height: int) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        root_of([bytes(32)] * count, height)


@given(leaves, st.integers(0, 4))
def test_root_of_pads_with_the_hashes_of_its_level(nodes: list[bytes], level: int) -> None:
    height = height_for(len(nodes))
    full = nodes + [pad_hash(level)] * ((1 << height) - len(nodes))
    assert root_of(nodes, height, level) == root_of(full, height, level)
    assert (
        root_of(nodes, height + 1, level) == sha256(root_of(nodes, height, level) + pad_hash(level + height)).digest()
    )


@given(leaves, st.data())
def test_proofs_lead_to_the_root(nodes: list[bytes], data: st.DataObject) -> None:
    height = height_for(len(nodes))
    root = root_of(nodes, height)
    steps = data.draw(st.integers(0, height))
    count = 1 << steps
    index = data.draw(st.integers(0, (1 << (height - steps)) - 1)) * count
    full = nodes + [bytes(32)] * ((1 << height) - len(nodes))
    uncles = proof_for(nodes, 0, index, count, height)
    assert len(uncles) == height - steps
    assert check_proof(full[index : index + count], 0, index, uncles, root, height)


@given(leaves, st.data())
def test_any_changed_bit_breaks_a_proof(nodes: list[bytes], data: st.DataObject) -> None:
    height = height_for(len(nodes))
    root = root_of(nodes, height)
    index = data.draw(st.integers(0, len(nodes) - 1))
    chain = [nodes[index], *proof_for(nodes, 0, index, 1, height)]
    which = data.draw(st.integers(0, len(chain) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = bytearray(chain[which])
    changed[bit // 8] ^= 1 << bit % 8
    chain[which] = bytes(changed)
    assert not check_proof(chain[:1], 0, index, chain[1:], root, height)


def test_proofs_of_the_wrong_shape_are_refused() -> None:
    nodes = [bytes([n]) * 32 for n in range(8)]
    root = root_of(nodes, 3)
    good = proof_for(nodes, 0, 2, 2, 3)
    assert check_proof(nodes[2:4], 0, 2, good, root, 3)
    assert not check_proof([], 0, 2, good, root, 3), "no nodes"
    assert not check_proof(nodes[2:5], 0, 2, good, root, 3), "three nodes are no subtree"
    assert not check_proof(nodes[2:4], 0, 3, good, root, 3), "not aligned"
    assert not check_proof(nodes[2:4], 0, 4, good, root, 3), "another place"
    assert not check_proof(nodes[2:4], 0, 2, good[:-1], root, 3), "too short"
    assert not check_proof(nodes[2:4], 0, 2, [*good, bytes(32)], root, 3), "too long"
    inner = next_layer(nodes, 0)
    assert not check_proof([inner[1]], 0, 1, proof_for(inner, 1, 1, 1, 2), root, 3), "an inner node is no leaf"


def test_proofs_from_the_piece_layer() -> None:
    data = pattern(5 * PIECE + 3)
    root, pieces = hashed(data, PIECE)
    assert root is not None
    level, height = piece_height(PIECE), height_for(len(pieces))
    uncles = proof_for(pieces, level, 4, 2, height)
    assert check_proof(pieces[4:6], level, 4, uncles, root, height)
    assert file_root(pieces, PIECE) == root
