"""Does a piece set behave like a set, before and after the number of pieces is known?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.layout import MAX_PIECES
from p2sp.wire.pieces import PieceSet

members = st.sets(st.integers(0, 40))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40))), st.booleans())
def test_like_a_set(steps: list[tuple[bool, int]], known: bool) -> None:
    real, model = PieceSet(41 if known else None), set[int]()
    for add, piece in steps:
        changed = (piece not in model) if add else (piece in model)
        assert (real.add(piece) if add else real.remove(piece)) == changed
        model = model | {piece} if add else model - {piece}
        assert (set(real), len(real), bool(real)) == (model, len(model), bool(model))
        assert all((piece in real) == (piece in model) for piece in range(-8, 60))


@given(members)
def test_bitfields_go_round(pieces: set[int]) -> None:
    copy = PieceSet(41)
    copy.load(PieceSet(41, pieces).bits())
    assert set(copy) == pieces
    early = PieceSet()
    early.load(PieceSet(41, pieces).bits())
    early.describe(41)
    assert (set(early), len(early)) == (pieces, len(pieces))


@given(members, members)
def test_beyond(mine: set[int], theirs: set[int]) -> None:
    assert PieceSet(41, mine).beyond(PieceSet(41, theirs)) == len(mine - theirs)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 41])
def test_full(count: int) -> None:
    pieces, early = PieceSet(count), PieceSet()
    pieces.fill()
    early.fill()
    assert not early.full
    assert 12345 in early
    early.describe(count)
    for each in (pieces, early):
        assert each.full
        assert (len(each), list(each)) == (count, list(range(count)))
        assert count not in each
        assert -1 not in each
    loaded = PieceSet(count)
    loaded.load(pieces.bits())
    assert loaded.full


def test_nothing_is_taken_out_of_everything_of_unknown_number() -> None:
    pieces = PieceSet()
    pieces.fill()
    assert not pieces.remove(3)
    assert 3 in pieces


@pytest.mark.parametrize(
    ("count", "bits"), [(9, b"\x00"), (9, b"\x00\x40"), (8, b"\x00\x00"), (9, b"\x00\x00\x80"), (0, b"\x80")]
)
def test_bitfields_that_do_not_fit(count: int, bits: bytes) -> None:
    with pytest.raises(ValueError, match="bitfield"):
        PieceSet(count).load(bits)


def test_bounds() -> None:
    with pytest.raises(ValueError, match="piece 9 of 9"):
        PieceSet(9).add(9)
    with pytest.raises(ValueError, match="piece -1"):
        PieceSet(9).add(-1)
    with pytest.raises(ValueError, match=f"piece {MAX_PIECES}"):
        PieceSet().add(MAX_PIECES)
    with pytest.raises(ValueError, match="bitfield"):
        PieceSet().load(bytes(MAX_PIECES // 8 + 1))
    early = PieceSet()
    early.add(20)
    with pytest.raises(ValueError, match="beyond the 20"):
        early.describe(20)
