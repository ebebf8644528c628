"""Does the cache keep what is wanted, never more than it may, and nothing from under a reader?"""

from hypothesis import given
from hypothesis import strategies as st

from p2sp.supernode.cache import CachePlan, Entry, Wish, plan

resources = st.sampled_from("abcdefghij")
entries = st.lists(
    st.builds(
        Entry,
        resource=resources,
        size=st.integers(0, 50),
        idle_seconds=st.floats(0, 1e6),
        value=st.floats(0, 10),
        needed=st.booleans(),
        pinned=st.booleans(),
    ),
    max_size=10,
    unique_by=lambda entry: entry.resource,
)
wishes = st.lists(st.builds(Wish, resource=resources, size=st.integers(0, 60)), max_size=12)


@given(st.integers(0, 150), entries, wishes)
def test_the_promises_of_a_plan(capacity: int, inside: list[Entry], wanted: list[Wish]) -> None:
    found = plan(capacity, inside, wanted)
    held = {entry.resource: entry for entry in inside}
    sizes: dict[str, int] = {}
    for wish in wanted:
        sizes.setdefault(wish.resource, wish.size)
    for entry in inside:
        sizes[entry.resource] = entry.size if entry.fixed else max(entry.size, sizes.get(entry.resource, 0))
    fixed = sum(entry.size for entry in inside if entry.fixed)
    after = set(found.hold) | (held.keys() - set(found.evict))
    assert sum(sizes[resource] for resource in after) <= max(capacity, fixed)
    assert not any(held[resource].fixed for resource in found.evict)
    assert len(set(found.evict)) == len(found.evict)
    assert set(found.hold) | set(found.refused) == {wish.resource for wish in wanted}
    assert not set(found.hold) & set(found.refused)
    assert set(found.evict) | set(found.spare) | set(found.hold) >= held.keys()
    # Nobody's wish goes before everything nobody wishes for that may go.
    wished = {wish.resource for wish in wanted}
    flags = [resource in wished for resource in found.evict]
    assert flags == sorted(flags)


@given(st.integers(0, 150), entries, wishes)
def test_a_wish_is_refused_only_when_it_does_not_fit_beside_the_better_ones(
    capacity: int, inside: list[Entry], wanted: list[Wish]
) -> None:
    found = plan(capacity, inside, wanted)
    held = {entry.resource: entry for entry in inside}
    fixed = sum(entry.size for entry in inside if entry.fixed)
    taken = fixed
    first: dict[str, Wish] = {}
    for wish in wanted:
        first.setdefault(wish.resource, wish)
    for wish in first.values():
        entry = held.get(wish.resource)
        if entry is not None and entry.fixed:
            continue
        size = max(wish.size, entry.size if entry else 0)
        assert (wish.resource in found.refused) == (taken + size > capacity)
        if wish.resource in found.hold:
            taken += size


@given(st.integers(0, 150), entries, wishes)
def test_a_plan_carried_out_asks_for_nothing_more(capacity: int, inside: list[Entry], wanted: list[Wish]) -> None:
    # A resource has one size, whoever says it.
    sizes = {wish.resource: wish.size for wish in wanted} | {entry.resource: entry.size for entry in inside}
    wanted = [Wish(wish.resource, sizes[wish.resource]) for wish in wanted]
    first = plan(capacity, inside, wanted)
    kept = [entry for entry in inside if entry.resource not in first.evict]
    names = {entry.resource for entry in kept}
    added = [Entry(wish.resource, wish.size) for wish in wanted if wish.resource in first.hold]
    kept += {entry.resource: entry for entry in reversed(added) if entry.resource not in names}.values()
    assert plan(capacity, kept, wanted).evict == ()


def test_nothing_goes_while_there_is_room() -> None:
    inside = [Entry("a", 40, idle_seconds=1e9), Entry("b", 40)]
    assert plan(100, inside, [Wish("c", 20)]) == CachePlan(("c",), ("b", "a"), (), ())


def test_the_least_valuable_and_most_idle_go_first_and_only_as_far_as_needed() -> None:
    inside = [
        Entry("dear", 30, idle_seconds=999.0, value=5.0),
        Entry("idle", 30, idle_seconds=50.0),
        Entry("fresh", 30, idle_seconds=1.0),
    ]
    assert plan(100, inside, [Wish("new", 40)]).evict == ("idle",)
    assert plan(100, inside, [Wish("new", 70)]).evict == ("idle", "fresh")
    assert plan(100, inside, [Wish("new", 100)]).evict == ("idle", "fresh", "dear")


def test_what_is_needed_stays_and_the_wish_waits() -> None:
    inside = [Entry("needed", 80, needed=True)]
    assert plan(100, inside, [Wish("new", 40)]) == CachePlan((), ("needed",), (), ("new",))
    assert plan(100, [Entry("not", 80)], [Wish("new", 40)]).evict == ("not",)


def test_a_wish_held_gives_way_to_a_better_one_only() -> None:
    inside = [Entry("good", 60), Entry("spare", 40)]
    assert plan(100, inside, [Wish("best", 80), Wish("good", 60)]).evict == ("spare", "good")
    assert plan(100, inside, [Wish("good", 60), Wish("best", 80)]) == CachePlan(("good",), ("spare",), (), ("best",))


def test_a_pinned_resource_stays_when_the_capacity_shrinks_below_it() -> None:
    inside = [Entry("pinned", 80, pinned=True), Entry("other", 10)]
    assert plan(50, inside, [Wish("other", 10)]) == CachePlan((), ("pinned",), ("other",), ("other",))
