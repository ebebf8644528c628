"""Does the interval set behave as a set of positions?"""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from p2sp.schedule.spans import IntervalSet, Span

SIZE = 60

intervals = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
operations = st.lists(st.tuples(st.sampled_from(["add", "remove"]), intervals), max_size=30)


def build(steps: list[tuple[str, tuple[int, int]]]) -> tuple[IntervalSet, set[int]]:
    ours, model = IntervalSet(), set[int]()
    for what, (start, stop) in steps:
        if what == "add":
            ours.add(start, stop)
            model |= set(range(start, stop))
        else:
            ours.remove(start, stop)
            model -= set(range(start, stop))
    return ours, model


@given(operations)
def test_it_holds_what_a_set_of_integers_holds(steps: list[tuple[str, tuple[int, int]]]) -> None:
    ours, model = build(steps)
    assert {at for start, stop in ours for at in range(start, stop)} == model
    assert {at for at in range(-1, SIZE + 2) if at in ours} == model
    assert ours.total == len(model)
    assert bool(ours) == bool(model)


@given(operations)
def test_intervals_are_sorted_apart_and_never_empty(steps: list[tuple[str, tuple[int, int]]]) -> None:
    items = list(build(steps)[0])
    assert all(start < stop for start, stop in items)
    assert all(before[1] < after[0] for before, after in pairwise(items))
    assert len(build(steps)[0]) == len(items)


@given(operations, intervals)
def test_overlap_is_the_intersection(steps: list[tuple[str, tuple[int, int]]], run: tuple[int, int]) -> None:
    ours, model = build(steps)
    parts = ours.overlap(*run)
    assert [at for start, stop in parts for at in range(start, stop)] == sorted(model & set(range(*run)))
    assert all(start < stop for start, stop in parts)


@given(st.lists(intervals, max_size=10))
def test_made_of_a_list(runs: list[tuple[int, int]]) -> None:
    ours = IntervalSet(runs)
    assert list(ours) == list(build([("add", run) for run in runs])[0])
    assert repr(ours) == f"IntervalSet({list(ours)!r})"


def test_spans_are_told_apart_by_identity() -> None:
    one, other = Span(0, 10), Span(0, 10)
    assert one != other
    assert len({one, other}) == 2
    assert one.length == 10
