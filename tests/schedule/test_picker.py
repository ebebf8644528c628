"""Which free run is picked for a server, and which for a peer?"""

from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.bits import each
from p2sp.schedule.picker import free_pieces, largest_gap, rarest_run
from p2sp.schedule.spans import IntervalSet

PIECE = 2 * BLOCK
LAYOUT = Layout([16 * PIECE], PIECE)
TREE = Layout([5, 0, PIECE + 1, 3 * PIECE, BLOCK + 7], PIECE)


def everything(piece: int) -> bool:
    return True


def whole(layout: Layout) -> IntervalSet:
    return IntervalSet([(layout.piece_start(p), layout.piece_end(p)) for p in range(layout.piece_count)])


def gap(
    free: IntervalSet,
    size: int,
    *,
    allowed: Callable[[int], bool] = everything,
    in_order: bool = False,
    resume_at: int = -1,
    busy_ends: tuple[int, ...] = (),
    layout: Layout = LAYOUT,
) -> tuple[int, int] | None:
    return largest_gap(free, layout, size, allowed=allowed, in_order=in_order, resume_at=resume_at, busy_ends=busy_ends)


def rare(
    free: IntervalSet,
    size: int = PIECE,
    *,
    allowed: Callable[[int], bool] = everything,
    in_order: bool = False,
    copies: Callable[[int], int] = lambda piece: 1,
    seed: int = 0,
    layout: Layout = LAYOUT,
) -> tuple[int, int] | None:
    may = sum(1 << piece for piece in range(layout.piece_count) if allowed(piece))
    all_free, begun = free_pieces(free, layout)

    def rarest(among: int) -> int:
        fewest = min(map(copies, each(among)))
        return sum(1 << piece for piece in each(among) if copies(piece) == fewest)

    return rarest_run(
        free,
        layout,
        size,
        whole=all_free & may,
        begun=begun & may,
        in_order=in_order,
        rarest=rarest,
        rng=Random(seed),
    )


def pieces(*runs: tuple[int, int]) -> IntervalSet:
    return IntervalSet([(start * PIECE, stop * PIECE) for start, stop in runs])


def test_a_server_begins_the_largest_gap() -> None:
    assert gap(pieces((0, 2), (4, 9), (10, 16)), 2 * PIECE) == (10 * PIECE, 12 * PIECE)


def test_of_equal_gaps_the_first() -> None:
    assert gap(pieces((1, 4), (6, 9)), PIECE) == (PIECE, 2 * PIECE)


def test_a_server_goes_on_where_it_was() -> None:
    assert gap(pieces((0, 2), (4, 16)), PIECE, resume_at=PIECE) == (PIECE, 2 * PIECE)
    assert gap(pieces((0, 2), (4, 16)), PIECE, resume_at=3 * PIECE) == (4 * PIECE, 5 * PIECE)


def test_a_gap_somebody_will_arrive_at_is_entered_in_its_middle() -> None:
    assert gap(pieces((4, 14)), 2 * PIECE, busy_ends=(4 * PIECE,)) == (9 * PIECE, 11 * PIECE)
    assert gap(pieces((4, 6)), 2 * PIECE, busy_ends=(4 * PIECE,)) == (4 * PIECE, 6 * PIECE)


def test_the_middle_may_be_out_of_bounds() -> None:
    only_front = gap(pieces((4, 14)), 2 * PIECE, busy_ends=(4 * PIECE,), allowed=lambda piece: piece < 9)
    assert only_front == (4 * PIECE, 6 * PIECE)


def test_in_order_means_the_first() -> None:
    free = pieces((1, 2), (4, 16))
    assert gap(free, 5 * PIECE, in_order=True, resume_at=8 * PIECE) == (PIECE, 2 * PIECE)
    assert rare(free, 5 * PIECE, in_order=True, copies=lambda piece: piece) == (PIECE, 2 * PIECE)
    assert rare(free, 2 * PIECE, in_order=True, allowed=lambda piece: piece > 5) == (6 * PIECE, 8 * PIECE)


def test_nothing_allowed_is_nothing_to_do() -> None:
    assert gap(pieces((0, 16)), PIECE, allowed=lambda piece: False) is None
    assert rare(pieces((0, 16)), allowed=lambda piece: False) is None
    assert gap(IntervalSet(), PIECE) is None
    assert rare(IntervalSet()) is None


def test_a_peer_gets_the_rarest() -> None:
    for seed in range(20):
        assert rare(pieces((0, 16)), copies=lambda piece: abs(piece - 11), seed=seed) == (11 * PIECE, 12 * PIECE)


def test_equally_rare_ones_are_spread() -> None:
    assert len({rare(pieces((0, 16)), seed=seed) for seed in range(200)}) == 16


def test_a_begun_piece_comes_before_a_rare_one() -> None:
    free = pieces((0, 8))
    free.remove(3 * PIECE, 3 * PIECE + BLOCK)
    assert rare(free, 4 * PIECE, copies=lambda piece: piece) == (3 * PIECE + BLOCK, 4 * PIECE)


def test_a_begun_piece_the_peer_lacks_is_left() -> None:
    free = pieces((0, 8))
    free.remove(3 * PIECE, 3 * PIECE + BLOCK)
    assert rare(free, allowed=lambda piece: piece == 6) == (6 * PIECE, 7 * PIECE)


def test_a_peer_with_one_piece_of_very_many_is_not_overlooked() -> None:
    layout = Layout([1000 * PIECE], PIECE)
    for seed in range(5):
        assert rare(whole(layout), allowed=lambda piece: piece == 777, seed=seed, layout=layout) == (
            777 * PIECE,
            778 * PIECE,
        )


def test_short_pieces_of_a_tree_end_a_run() -> None:
    starts = [TREE.piece_start(piece) for piece in range(TREE.piece_count)]
    assert gap(whole(TREE), 100 * PIECE, in_order=True, layout=TREE) == (0, 5)
    assert gap(whole(TREE), 100 * PIECE, resume_at=starts[2], layout=TREE) == (starts[2], starts[2] + 1)
    assert gap(whole(TREE), 100 * PIECE, layout=TREE) == (starts[3], starts[5] + PIECE + BLOCK + 7)


free_sets = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 31)), max_size=8)


def free_of(layout: Layout, runs: list[tuple[int, int]]) -> IntervalSet:
    """Any whole blocks of a layout, as the scheduler leaves them."""
    free = whole(layout)
    for start, stop in runs:
        free.remove(start * BLOCK, stop * BLOCK)
    return free


@given(
    st.sampled_from([LAYOUT, TREE]),
    free_sets,
    st.sets(st.integers(0, 15)),
    st.integers(1, 20 * PIECE),
    st.booleans(),
    st.integers(-1, 31),
    st.sets(st.integers(0, 31)),
    st.integers(0, 5),
)
def test_what_is_picked_is_free_and_allowed(
    layout: Layout,
    taken: list[tuple[int, int]],
    held: set[int],
    size: int,
    in_order: bool,
    resume: int,
    ends: set[int],
    seed: int,
) -> None:
    free = free_of(layout, taken)
    allowed = held.__contains__
    possible = any(allowed(piece) for start, stop in free for piece in layout.pieces_in(start, stop))
    at = tuple(end * BLOCK for end in ends)
    for run in (
        gap(free, size, allowed=allowed, in_order=in_order, resume_at=resume * BLOCK, busy_ends=at, layout=layout),
        rare(free, size, allowed=allowed, in_order=in_order, seed=seed, layout=layout),
    ):
        assert (run is not None) == possible
        if run is None:
            continue
        start, stop = run
        assert start < stop
        assert free.overlap(start, stop) == [(start, stop)]
        assert all(allowed(piece) for piece in layout.pieces_in(start, stop))
        assert start % BLOCK == 0
        assert stop - start <= size + layout.piece_length
        if in_order:
            first = min(
                max(low, layout.piece_start(piece))
                for low, high in free
                for piece in layout.pieces_in(low, high)
                if allowed(piece)
            )
            assert start == first
