"""Is most of the value packed, does it fit, and does little move?"""

import itertools

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.manager.packing import Load, Room, pack, rendezvous
from tests.manager.support import rid

values = st.floats(0.01, 100)
small_rooms = st.lists(st.integers(1, 40), min_size=1, max_size=3).map(
    lambda sizes: [Room(f"{n:064x}", size) for n, size in enumerate(sizes)]
)
small_loads = st.lists(st.tuples(st.integers(1, 30), values), max_size=6).map(
    lambda rows: [Load(f"{n}", rid(n), size, value) for n, (size, value) in enumerate(rows)]
)
rooms_of_three = [Room(letter * 64, 10_000) for letter in "abc"]


def worth(loads: list[Load], where: dict[str, str]) -> float:
    return sum(load.value for load in loads if load.key in where)


def check(loads: list[Load], rooms: list[Room], where: dict[str, str]) -> None:
    """Everything fits, and nobody holds the same twice."""
    by_key = {load.key: load for load in loads}
    for room in rooms:
        here = [by_key[key] for key, node_id in where.items() if node_id == room.node_id]
        assert sum(load.size for load in here) <= room.capacity
        assert len({load.resource for load in here}) == len(here)
    assert set(where.values()) <= {room.node_id for room in rooms}


def exact(loads: list[Load], rooms: list[Room]) -> float:
    """The most that can be packed, by trying everything."""
    best = 0.0
    for places in itertools.product([None, *rooms], repeat=len(loads)):
        chosen = [(load, room) for load, room in zip(loads, places, strict=True) if room is not None]
        used = {room.node_id: 0 for room in rooms}
        for load, room in chosen:
            used[room.node_id] += load.size
        if all(used[room.node_id] <= room.capacity for room in rooms):
            best = max(best, sum(load.value for load, _ in chosen))
    return best


@settings(max_examples=150)
@given(small_loads, small_rooms)
def test_small_cases_are_within_a_tenth_of_the_best(loads: list[Load], rooms: list[Room]) -> None:
    where = pack(loads, rooms)
    check(loads, rooms, where)
    assert worth(loads, where) >= 0.9 * exact(loads, rooms)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 1000), values), min_size=1, max_size=150),
    st.lists(st.integers(8000, 30_000), min_size=1, max_size=4),
)
def test_large_cases_are_within_a_tenth_of_what_no_choice_can_pass(
    rows: list[tuple[int, float]], sizes: list[int]
) -> None:
    loads = [Load(f"{n}", rid(n), size, value) for n, (size, value) in enumerate(rows)]
    rooms = [Room(f"{n:064x}", size) for n, size in enumerate(sizes)]
    where = pack(loads, rooms)
    check(loads, rooms, where)
    left, bound = float(sum(sizes)), 0.0
    for load in sorted(loads, key=lambda each: -each.density):
        bound += load.value * min(1.0, left / load.size)
        left = max(left - load.size, 0.0)
    assert worth(loads, where) >= 0.9 * bound


@settings(max_examples=50)
@given(small_loads, small_rooms, st.data())
def test_the_order_of_questions_does_not_matter(loads: list[Load], rooms: list[Room], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(loads))
    assert pack(shuffled, rooms[::-1]) == pack(loads, rooms)


def test_what_is_certain_comes_before_all_value() -> None:
    loads = [Load("pinned", rid(1), 60, 0.0, certain=True), Load("hot", rid(2), 50, 1e9)]
    assert pack(loads, [Room("a" * 64, 100)]) == {"pinned": "a" * 64}
    assert set(pack(loads, [Room("a" * 64, 110)])) == {"pinned", "hot"}
    at_home = [attrs.evolve(loads[1], home="a" * 64), loads[0]]
    assert pack(at_home, [Room("a" * 64, 100)]) == {"pinned": "a" * 64}


def test_copies_of_one_resource_are_on_different_nodes() -> None:
    loads = [Load(f"1/{copy}", rid(1), 10, 9.0 - copy) for copy in range(5)]
    where = pack(loads, rooms_of_three)
    assert sorted(where) == ["1/0", "1/1", "1/2"]
    assert len(set(where.values())) == 3


def test_a_newcomer_goes_where_it_is_held_already() -> None:
    for number in range(20):
        ranked = rendezvous(rid(number), rooms_of_three)
        holder = attrs.evolve(ranked[-1], holds={rid(number): 1.0})
        (where,) = pack([Load("x", rid(number), 10, 1.0)], [*ranked[:-1], holder]).values()
        assert where == holder.node_id


def test_who_is_at_home_stays_and_a_newcomer_takes_the_room_that_is_free() -> None:
    for number in range(20):
        first = rendezvous(rid(number), rooms_of_three)[0]
        settled = Load("old", rid(99), 9_500, 1.0, home=first.node_id)
        where = pack([settled, Load("new", rid(number), 1000, 50.0)], rooms_of_three)
        assert where["old"] == first.node_id
        assert where["new"] != first.node_id


@pytest.mark.parametrize("count", [13, 40])
def test_what_was_pushed_out_moves_to_who_has_room(count: int) -> None:
    rooms = [Room("a" * 64, count * 10), Room("b" * 64, 10)]
    old = [Load(f"old {n}", rid(n), 10, 1.0 + n, home="a" * 64) for n in range(count)]
    where = pack([*old, Load("large", rid(1000), 20, 500.0)], rooms)
    assert where["large"] == "a" * 64
    assert where["old 1"] == "b" * 64
    assert "old 0" not in where
