"""Is it counted right with sets of pieces, and with the copies of each?"""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from p2sp.schedule import bits
from p2sp.wire.pieces import PieceSet

sets = st.sets(st.integers(0, 70))


def of(pieces: set[int]) -> int:
    return sum(1 << piece for piece in pieces)


@given(sets)
def test_a_bitfield_of_the_wire_becomes_a_number(pieces: set[int]) -> None:
    held = PieceSet(71, pieces)
    assert bits.of_bitfield(held.bits()) == held.number() == of(pieces)
    assert set(bits.each(of(pieces))) == pieces


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_run_has_what_lies_between(first: int, stop: int) -> None:
    assert list(bits.each(bits.run(first, stop))) == list(range(first, stop))


def test_anyone_is_any_of_them() -> None:
    pieces = {0, 3, 4, 40, 63, 64, 200}
    rng = Random(1)
    found = Counter(bits.anyone(of(pieces), rng) for _ in range(7000))
    assert set(found) == pieces
    assert min(found.values()) > 850


@given(st.lists(st.tuples(st.integers(0, 4), sets), max_size=30), sets)
def test_copies_are_counted_whatever_changes(changes: list[tuple[int, set[int]]], among: set[int]) -> None:
    nodes: dict[int, set[int]] = {}
    copies = bits.Copies()
    for node, pieces in changes:
        copies.change(of(nodes.get(node, set())), of(pieces))
        nodes[node] = pieces
    count = Counter(piece for pieces in nodes.values() for piece in pieces)
    assert copies.known == of(set(count))
    assert all(copies.of(piece) == count[piece] for piece in range(71))
    fewest = min((count[piece] for piece in among), default=0)
    assert copies.rarest(of(among)) == of({piece for piece in among if count[piece] == fewest})
