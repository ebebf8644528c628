"""Is the choice good, and does it fit?"""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.manager.knapsack import CORE, Item, choose

items = st.lists(st.tuples(st.integers(1, 60), st.floats(0.01, 100)), max_size=10).map(
    lambda rows: [Item(f"{n:03}", size, value) for n, (size, value) in enumerate(rows)]
)
many = st.lists(st.tuples(st.integers(1, 1000), st.floats(0.01, 100)), min_size=CORE + 1, max_size=120).map(
    lambda rows: [Item(f"{n:03}", size, value) for n, (size, value) in enumerate(rows)]
)


def worth(chosen: list[Item]) -> float:
    return sum(item.value for item in chosen)


@given(items, st.integers(0, 200))
def test_small_cases_are_solved_as_well_as_by_trying_everything(things: list[Item], room: int) -> None:
    best = max(
        worth(list(some))
        for count in range(len(things) + 1)
        for some in combinations(things, count)
        if sum(item.size for item in some) <= room
    )
    chosen = choose(things, room)
    assert sum(item.size for item in chosen) <= room
    assert worth(chosen) >= best * (1 - 1e-9)


@settings(max_examples=50)
@given(many, st.integers(1, 20_000))
def test_large_cases_come_near_to_the_bound_no_choice_can_pass(things: list[Item], room: int) -> None:
    chosen = choose(things, room)
    assert sum(item.size for item in chosen) <= room
    assert len({item.key for item in chosen}) == len(chosen)
    left, bound = room, 0.0
    largest = 0.0
    for item in sorted((item for item in things if item.size <= room), key=lambda item: -item.value / item.size):
        bound += item.value * min(1.0, left / item.size)
        largest = max(largest, item.value)
        left = max(left - item.size, 0)
    # Whole items cannot reach the fractional bound; they come within one item of it.
    assert worth(chosen) >= bound - largest - 1e-6


@given(items, st.integers(0, 200), st.data())
def test_what_is_kept_is_never_given_up_for_less(things: list[Item], room: int, data: st.DataObject) -> None:
    inside: list[Item] = []
    for item in data.draw(st.permutations(things)):
        if sum(each.size for each in inside) + item.size <= room:
            inside.append(item)
    chosen = choose(things, room, kept=frozenset(item.key for item in inside))
    assert worth(chosen) >= worth(inside) - 1e-9


def test_the_same_question_gets_the_same_answer_in_any_order() -> None:
    things = [Item(f"{n:02}", 10, 1.0) for n in range(30)]
    assert choose(things, 55) == choose(things[::-1], 55)


def test_greed_alone_would_fail_here() -> None:
    chosen = choose([Item("small", 1, 2.0), Item("large", 100, 100.0)], 100)
    assert [item.key for item in chosen] == ["large"]


def test_worthless_and_oversized_things_are_left_out() -> None:
    assert choose([Item("a", 1, 0.0), Item("b", 11, 5.0), Item("c", 1, -1.0)], 10) == []
