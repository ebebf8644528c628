"""Does every byte lie in one place only?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.layout import (
    LARGEST_PIECE,
    MAX_PIECE,
    MAX_PIECES,
    MIN_PIECE,
    Block,
    Layout,
    Segment,
    piece_length_for,
)
from p2sp.resource.merkle import BLOCK

GIB = 1 << 30

layouts = st.builds(
    Layout,
    st.lists(st.integers(0, 3 * BLOCK), max_size=5),
    st.sampled_from([BLOCK, 2 * BLOCK, 4 * BLOCK]),
)


@pytest.mark.parametrize(
    ("length", "piece_length"),
    [
        (0, MIN_PIECE),
        (1, MIN_PIECE),
        (GIB // 2, MIN_PIECE),
        (GIB // 2 + 1, 2 * MIN_PIECE),
        (GIB, 2 * MIN_PIECE),
        (GIB + 1, 4 * MIN_PIECE),
        (32 * GIB, MAX_PIECE),
        (16 * GIB + 1, MAX_PIECE),
        (16 * GIB, MAX_PIECE // 2),
        (1 << 50, MAX_PIECE),
    ],
)
def test_canonical_piece_length(length: int, piece_length: int) -> None:
    assert piece_length_for(length) == piece_length


@given(st.integers(0, 1 << 46))
def test_canonical_piece_length_is_a_power_of_two_in_bounds(length: int) -> None:
    piece_length = piece_length_for(length)
    assert piece_length & (piece_length - 1) == 0
    assert MIN_PIECE <= piece_length <= MAX_PIECE
    assert -(-length // piece_length) <= 2048 or piece_length == MAX_PIECE


@pytest.mark.parametrize(
    ("lengths", "piece_length", "sentence"),
    [
        ([1], 0, "no power of two"),
        ([1], -BLOCK, "no power of two"),
        ([1], BLOCK // 2, "no power of two"),
        ([1], 3 * BLOCK, "no power of two"),
        ([1], LARGEST_PIECE * 2, "more than"),
        ([-1], BLOCK, "negative"),
        ([BLOCK * (MAX_PIECES + 1)], BLOCK, "pieces are more than"),
    ],
)
def test_bad_layouts_are_refused(lengths: list[int], piece_length: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Layout(lengths, piece_length)


def test_a_lone_file_is_its_own_row_of_positions() -> None:
    layout = Layout([3 * BLOCK + 7], 2 * BLOCK)
    assert (layout.piece_count, layout.length, layout.end) == (2, 3 * BLOCK + 7, 3 * BLOCK + 7)
    assert [layout.piece_size(piece) for piece in range(2)] == [2 * BLOCK, BLOCK + 7]
    assert [layout.blocks_of(piece) for piece in range(2)] == [2, 2]
    assert list(layout.blocks(BLOCK, layout.end)) == [Block(0, BLOCK, BLOCK), Block(1, 0, BLOCK), Block(1, BLOCK, 7)]
    assert layout.file_segments(0, layout.end) == [Segment(0, 0, layout.length, 0)]


def test_files_of_a_tree_begin_at_pieces() -> None:
    layout = Layout([5, 0, 2 * BLOCK, 0, BLOCK + 1], BLOCK)
    assert layout.piece_count == 5
    assert [layout.file_of(piece) for piece in range(5)] == [0, 2, 2, 4, 4]
    assert [list(layout.pieces_of(file)) for file in range(5)] == [[0], [], [1, 2], [], [3, 4]]
    assert layout.file_segments(0, layout.end) == [
        Segment(0, 0, 5, 0),
        Segment(2, 0, 2 * BLOCK, BLOCK),
        Segment(4, 0, BLOCK + 1, 3 * BLOCK),
    ]
    assert layout.size_of(5, BLOCK) == 0, "positions behind a short last piece belong to nobody"
    for piece in (-1, 5):
        with pytest.raises(IndexError):
            layout.file_of(piece)


def test_nothing_at_all() -> None:
    for lengths in ([], [0], [0, 0]):
        layout = Layout(lengths, BLOCK)
        assert (layout.piece_count, layout.end, layout.length) == (0, 0, 0)
        assert list(layout.segments(0, BLOCK)) == []


@given(layouts)
def test_segments_cover_every_byte_of_every_file_once(layout: Layout) -> None:
    seen = [(part.file, part.offset + at) for part in layout.segments(0, layout.end) for at in range(part.length)]
    assert seen == [(file, at) for file, length in enumerate(layout.lengths) for at in range(length)]
    assert sum(layout.piece_size(piece) for piece in range(layout.piece_count)) == layout.length


@given(layouts, st.data())
def test_segments_of_a_part_are_the_part_of_the_segments(layout: Layout, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, layout.end))
    stop = data.draw(st.integers(start, layout.end + BLOCK))
    whole = {
        part.position + at: (part.file, part.offset + at)
        for part in layout.file_segments(0, layout.end)
        for at in range(part.length)
    }
    for cut in (list(layout.segments(start, stop)), layout.file_segments(start, stop)):
        seen = {part.position + at: (part.file, part.offset + at) for part in cut for at in range(part.length)}
        assert seen == {at: where for at, where in whole.items() if start <= at < stop}
        assert sum(part.length for part in cut) == len(seen) == layout.size_of(start, stop)


@given(layouts, st.data())
def test_blocks_are_the_wire_requests_of_a_run(layout: Layout, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, layout.end // BLOCK)) * BLOCK
    stop = data.draw(st.integers(start, layout.end + 1))
    blocks = list(layout.blocks(start, stop))
    assert all(0 < block.length <= BLOCK and block.begin % BLOCK == 0 for block in blocks)
    assert all(block.begin + block.length <= layout.piece_size(block.piece) for block in blocks)
    assert sum(block.length for block in blocks) == layout.size_of(start, stop)
    assert blocks == sorted(set(blocks), key=lambda block: (block.piece, block.begin))


@given(layouts)
def test_pieces_know_their_place(layout: Layout) -> None:
    for piece in range(layout.piece_count):
        start, end = layout.piece_start(piece), layout.piece_end(piece)
        assert end - start == layout.piece_size(piece)
        assert layout.piece_at(start) == layout.piece_at(end - 1) == piece
        assert list(layout.pieces_in(start, end)) == [piece]
        assert piece in layout.pieces_of(layout.file_of(piece))
        assert layout.blocks_of(piece) == len(list(layout.blocks(start, end)))


joined_layouts = st.builds(
    Layout,
    st.lists(st.integers(0, 3 * BLOCK), max_size=6),
    st.sampled_from([BLOCK, 2 * BLOCK, 3 * BLOCK]),
    joined=st.just(True),
)


@given(joined_layouts)
def test_a_joined_row_has_no_gaps(layout: Layout) -> None:
    row = [(file, offset) for file, length in enumerate(layout.lengths) for offset in range(0, length, 1024)]
    assert layout.end == layout.length
    assert layout.piece_count == -(-layout.length // layout.piece_length)
    assert sum(map(layout.piece_size, range(layout.piece_count))) == layout.length
    for file, offset in row:
        position = layout.file_start(file) + offset
        (part,) = layout.segments(position, position + 1)
        assert (part.file, part.offset) == (file, offset)
        assert layout.piece_at(position) in layout.pieces_of(file)
        assert file in layout.files_of(layout.piece_at(position))


@given(joined_layouts, st.data())
def test_segments_and_blocks_of_a_joined_row_cover_it_once(layout: Layout, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, layout.end // BLOCK)) * BLOCK
    stop = data.draw(st.integers(start, max(layout.end, start)))
    at = start
    for part in layout.segments(start, stop):
        assert part.position == at
        assert layout.file_start(part.file) + part.offset == at
        assert part.offset + part.length <= layout.lengths[part.file]
        at += part.length
    assert at == min(stop, layout.end)
    assert sum(block.length for block in layout.blocks(start, stop)) == stop - start
    if start < stop:
        whole = layout.whole(start, stop)
        assert whole is not None
        assert (whole.position, whole.length) == (start, stop - start)


def test_a_run_in_one_piece_is_whole_in_a_joined_row_only() -> None:
    assert Layout([BLOCK, BLOCK], 2 * BLOCK, joined=True).whole(0, 2 * BLOCK) == Segment(0, 0, 2 * BLOCK, 0)
    assert Layout([BLOCK, BLOCK], BLOCK).whole(0, 2 * BLOCK) is None
    assert Layout([BLOCK, BLOCK], 2 * BLOCK).whole(0, 2 * BLOCK) is None


def test_pieces_of_a_joined_row_are_whole_blocks() -> None:
    assert Layout([BLOCK], 3 * BLOCK, joined=True).piece_size(0) == BLOCK
    with pytest.raises(ValueError, match="no multiple of 16384 bytes"):
        Layout([BLOCK], BLOCK + 1, joined=True)


def test_of_a_hybrid_also_what_fills_a_piece_may_be_asked_for() -> None:
    lengths = [BLOCK + 1, 5]
    assert [Layout(lengths, 2 * BLOCK, padded=True).asked_size(piece) for piece in (0, 1)] == [2 * BLOCK] * 2
    assert [Layout(lengths, 2 * BLOCK).asked_size(piece) for piece in (0, 1)] == lengths
