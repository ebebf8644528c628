"""Is the right thing put into the right place, does it stay there, and is it said why?"""

from collections.abc import Sequence

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.manager.demand import Demand
from p2sp.manager.packing import Room, rendezvous
from p2sp.manager.placement import Decision, Plan, Situation
from p2sp.manager.policies import POLICIES, ThresholdPolicy, ValuePolicy
from p2sp.manager.rounds import ADVANTAGE, CHANCE, RETURN, RETURN_AFTER
from tests.manager.support import LIMITS, MIB, decide, decision, demand, rid

A, B, C = (Room(letter * 64, 256 * MIB) for letter in "abc")
VALUE = ValuePolicy(LIMITS)

demands = st.builds(
    demand,
    length=st.integers(1, 300 * MIB),
    volume=st.floats(0, 1e12),
    clients=st.integers(0, 9),
    imported=st.floats(0, 1),
    speed=st.floats(0, 1e9),
)
worlds = st.lists(demands, max_size=20).map(
    lambda found: [attrs.evolve(each, resource=rid(n)) for n, each in enumerate(found)]
)
fleets = st.lists(st.integers(0, 500 * MIB), max_size=4).map(
    lambda sizes: [Room(f"{n:064x}", size) for n, size in enumerate(sizes)]
)


def names(decisions: Sequence[Decision]) -> list[str]:
    return [each.resource for each in decisions]


def value(
    demands: Sequence[Demand], rooms: Sequence[Room], standing: Sequence[Decision] = (), now: float = 9.0
) -> Plan:
    return decide(VALUE, demands, rooms, standing, now)


def test_what_is_hot_and_slow_is_placed_and_the_reason_is_for_people() -> None:
    plan = value([demand()], [A])
    (placed,) = plan.placed
    assert placed.node_id == A.node_id
    assert placed.since == 9.0
    assert placed.need == pytest.approx(0.71 + 1 - 0.9 / 8)
    assert placed.value == pytest.approx(96 / 64 * placed.need)
    assert placed.reason == (
        "hot: 96 MiB by 3 clients, half-life 60 s; slow: 900 kB/s against 8.0 MB/s; 71% from outside the ISP"
    )


@pytest.mark.parametrize(
    "lacking",
    [
        demand(clients=1),
        demand(volume=15.9 * MIB),
        demand(imported=0.0, speed=9e6),
        demand(length=0),
        demand(length=257 * MIB),
    ],
    ids=["one client alone", "too little", "fast and from inside", "length unknown", "larger than the cache"],
)
def test_what_is_not_admitted(lacking: Demand) -> None:
    assert value([lacking], [A]) == Plan((), ())


def test_fast_but_imported_and_slow_but_local_are_both_worth_a_place() -> None:
    fast = demand(rid(1), imported=1.0, speed=1e9)
    slow = demand(rid(2), imported=0.0, speed=0.0)
    assert sorted(names(value([fast, slow], [A]).placed)) == [rid(1), rid(2)]


def test_caching_cures_slowness_and_that_is_no_reason_to_evict() -> None:
    first = value([demand()], [A])
    cured = demand(speed=50e6, imported=0.0, clients=1)
    second = value([cured], [A], first.placed, now=99.0)
    assert second.dropped == ()
    assert second.placed == first.placed


def test_demand_that_fades_evicts_with_a_reason() -> None:
    standing = value([demand()], [A]).placed
    still = value([demand(volume=4.1 * MIB)], [A], standing)
    assert names(still.placed) == [rid(1)]
    gone = value([demand(volume=3.9 * MIB)], [A], standing, now=50.0)
    assert gone.placed == ()
    assert gone.dropped[0].reason == "demand fell to 3.9 MiB, below 4.0 MiB"
    assert gone.dropped[0].since == 50.0
    assert value([], [A], standing).dropped[0].reason == "demand fell to 0 B, below 4.0 MiB"


def test_a_newcomer_must_be_clearly_better() -> None:
    room = Room("a" * 64, 64 * MIB)
    # Sixteen downloads are known within a quarter, which counts for the one that is there.
    old = demand(rid(1), volume=16 * 64 * MIB, imported=1.0, speed=8e6)
    bar = ADVANTAGE * (1 + CHANCE / 4)
    standing = value([old], [room]).placed
    slightly = demand(rid(2), volume=old.volume * (bar - 0.01), imported=1.0, speed=8e6)
    assert names(value([old, slightly], [room], standing).placed) == [rid(1)]
    clearly = attrs.evolve(slightly, volume=old.volume * (bar + 0.01))
    plan = value([old, clearly], [room], standing)
    assert names(plan.placed) == [rid(2)]
    assert plan.dropped[0].reason == "gave way to what is worth more: 16.00 against up to 31.36 per byte of cache"


def test_what_gave_way_comes_back_only_when_it_is_worth_more_than_then() -> None:
    room = Room("a" * 64, 64 * MIB)
    tiny = demand(rid(3), length=MIB, volume=64 * MIB, imported=1.0, speed=8e6)
    gone = attrs.evolve(decision(rid(3), length=MIB), value=64.0, since=100.0)
    full = decision(rid(1), length=62 * MIB)
    large = demand(rid(1), length=62 * MIB, volume=1e12)

    def back(volume: float, now: float, standing: Sequence[Decision] = (full,)) -> bool:
        again = attrs.evolve(tiny, volume=volume * MIB)
        plan = decide(VALUE, [large, again], [room], standing, now, (), [gone])
        return rid(3) in names(plan.placed)

    assert not back(RETURN * 64 - 1, 101.0)
    assert back(RETURN * 64 + 1, 101.0)
    # It is forgotten in time, and where there is room anyway nobody asks.
    assert back(64, 101.0 + RETURN_AFTER * LIMITS.half_life)
    assert back(64, 101.0, [attrs.evolve(full, resource=rid(9))])


def test_a_young_history_moves_little_and_is_remembered_for_what_it_was() -> None:
    room = Room("a" * 64, 64 * MIB)
    old = demand(rid(1), volume=16 * 64 * MIB, imported=1.0, speed=8e6)
    standing = value([old], [room]).placed
    better = attrs.evolve(old, resource=rid(2), volume=10 * old.volume)
    young = Situation("campus", [old, better], [room], standing, 9.0, ripe=0.25)
    assert names(VALUE.decide(young).placed) == [rid(1)]
    plan = VALUE.decide(attrs.evolve(young, ripe=0.5))
    assert names(plan.placed) == [rid(2)]
    # Half a history shows half of what a long one would.
    assert plan.dropped[0].value == 2 * 16.0


@given(st.lists(st.lists(st.floats(0.9, 1.1), min_size=8, max_size=8), min_size=1, max_size=8))
def test_noise_moves_nothing(rounds: list[list[float]]) -> None:
    base = [demand(rid(n), length=(40 + n) * MIB, volume=(60 + 2 * n) * MIB) for n in range(8)]
    rooms = [Room("a" * 64, 130 * MIB), Room("b" * 64, 130 * MIB)]
    standing = value(base, rooms).placed
    where = {(each.resource, each.node_id) for each in standing}
    for factors in rounds:
        noisy = [attrs.evolve(each, volume=each.volume * f) for each, f in zip(base, factors, strict=True)]
        plan = value(noisy, rooms, standing)
        standing = plan.placed
        assert plan.dropped == ()
        assert where <= {(each.resource, each.node_id) for each in standing}
        where = {(each.resource, each.node_id) for each in standing}


@settings(max_examples=60)
@given(st.sampled_from(sorted(POLICIES)), worlds, worlds, fleets, fleets)
def test_whatever_happens_everything_fits_and_is_accounted_for(
    name: str, before: list[Demand], after: list[Demand], rooms: list[Room], later: list[Room]
) -> None:
    policy = POLICIES[name](LIMITS)
    first = decide(policy, before, rooms, (), 1.0)
    second = decide(policy, after, later, first.placed, 2.0)
    for plan, fleet in ((first, rooms), (second, later)):
        assert len(set(names(plan.placed))) == len(plan.placed)
        assert all(each.reason and each.isp == "campus" for each in (*plan.placed, *plan.dropped))
        for room in fleet:
            assert sum(each.length for each in plan.placed if each.node_id == room.node_id) <= room.capacity
        if fleet:
            assert {each.node_id for each in plan.placed} <= {room.node_id for room in fleet}
    assert set(names(first.placed)) <= set(names(second.placed)) | set(names(second.dropped))
    assert not set(names(second.placed)) & set(names(second.dropped))
    assert decide(policy, after[::-1], later, first.placed, 2.0) == second


def test_several_nodes_share_and_a_silent_one_hands_over() -> None:
    wanted = [demand(rid(n), length=4 * MIB) for n in range(60)]
    plan = value(wanted, [A, B, C])
    shares = [sum(each.node_id == room.node_id for each in plan.placed) for room in (A, B, C)]
    assert sum(shares) == 60
    assert min(shares) >= 10
    after = value(wanted, [A, C], plan.placed, now=77.0)
    assert after.dropped == ()
    stayed = {each.resource: each for each in plan.placed if each.node_id != B.node_id}
    for each in after.placed:
        if each.resource in stayed:
            assert each == stayed[each.resource]
        else:
            assert each.since == 77.0
            assert each.reason.endswith("(moved: bbbbbbbb is silent)")
    again = value(wanted, [C], after.placed)
    assert all(each.reason.count("moved") <= 1 for each in again.placed)


def test_a_new_node_moves_nothing() -> None:
    wanted = [demand(rid(n), length=4 * MIB) for n in range(20)]
    standing = value(wanted, [A]).placed
    assert value(wanted, [A, B], standing).placed == standing


def test_while_no_node_is_alive_placements_wait() -> None:
    waiting = value([demand(speed=50e6, imported=0.0)], [], [decision()])
    assert waiting == Plan((decision(),), ())
    assert value([], [], [decision()]).dropped[0].reason.startswith("demand fell")


def test_what_a_smaller_cache_cannot_hold_is_dropped() -> None:
    small = Room("a" * 64, 63 * MIB)
    assert value([demand()], [small], [decision()]).dropped[0].reason == (
        "its 64 MiB fit into no super node of the ISP any more"
    )
    two = [demand(rid(1)), demand(rid(2), volume=500 * MIB)]
    plan = value(two, [Room("a" * 64, 100 * MIB)], [decision(rid(1)), decision(rid(2))])
    assert names(plan.placed) == [rid(2)]
    assert plan.dropped[0].reason == "the super nodes of the ISP have less room than before"


def test_the_first_choice_being_full_the_second_holds_it() -> None:
    wanted = [demand(rid(n), length=100 * MIB) for n in range(4)]
    plan = value(wanted, [A, B])
    assert len(plan.placed) == 4


def test_rendezvous_follows_capacity_and_moves_little() -> None:
    large, small = Room("a" * 64, 3000), Room("b" * 64, 1000)
    firsts = [rendezvous(rid(n), [large, small])[0] for n in range(2000)]
    assert 0.7 < firsts.count(large) / 2000 < 0.8
    more = [rendezvous(rid(n), [large, small, C])[0] for n in range(2000)]
    assert all(new in (old, C) for old, new in zip(firsts, more, strict=True))


def test_the_plain_rule_asks_for_volume_and_slowness_alone() -> None:
    policy = ThresholdPolicy(LIMITS)
    hot_and_slow = demand(rid(1), clients=1, imported=0.0)
    fast = demand(rid(2), speed=8_000_001.0)
    cold = demand(rid(3), volume=1.0)
    plan = decide(policy, [hot_and_slow, fast, cold], [A], (), 1.0)
    assert names(plan.placed) == [rid(1)]
    assert plan.placed[0].reason == "volume 96 MiB is at least 16 MiB and speed 900 kB/s at most 8.0 MB/s"
    cured = decide(policy, [demand(rid(1), speed=9e9)], [A], plan.placed, 2.0)
    assert cured.placed == plan.placed
