"""Does an operator's word come before the policy, where and as long as it was given?"""

import attrs
import pytest

from p2sp.manager.packing import Room
from p2sp.manager.placement import Limits, PlacementPolicy, Plan
from p2sp.manager.policies import POLICIES
from p2sp.manager.rules import Rule, RuleKind, in_force
from tests.manager.support import LIMITS, MIB, decide, decision, demand, rid

ROOM = Room("a" * 64, 100 * MIB)
PIN = Rule(3, RuleKind.PIN, rid(1), None, 64 * MIB, 0.0, None, "0" * 64, "exam week")
BLOCK = attrs.evolve(PIN, number=4, kind=RuleKind.BLOCK, note="")


@pytest.fixture(params=sorted(POLICIES))
def policy(request: pytest.FixtureRequest) -> PlacementPolicy:
    return POLICIES[request.param](LIMITS)


def test_a_pin_needs_no_demand_and_pushes_out_what_is_hot(policy: PlacementPolicy) -> None:
    hot = demand(rid(2), volume=1e12)
    standing = decide(policy, [hot], [ROOM], (), 1.0).placed
    plan = decide(policy, [hot], [ROOM], standing, 2.0, [PIN])
    assert [(each.resource, each.reason) for each in plan.placed] == [
        (rid(1), "pinned by an operator (rule 3: exam week)")
    ]
    (gone,) = plan.dropped
    assert gone.reason == "gave way to what an operator wants there"
    again = decide(policy, [hot], [ROOM], plan.placed, 3.0, [PIN])
    assert again == Plan(plan.placed, ())


def test_when_a_preheat_is_over_demand_decides(policy: PlacementPolicy) -> None:
    preheat = attrs.evolve(PIN, kind=RuleKind.PREHEAT, until=10.0)
    placed = decide(policy, [], [ROOM], (), 1.0, [preheat]).placed
    assert placed[0].reason == "preheated by an operator (rule 3: exam week)"
    assert decide(policy, [], [ROOM], placed, 9.9, [preheat]).placed == placed
    wanted = decide(policy, [demand()], [ROOM], placed, 10.0, [preheat])
    assert [each.resource for each in wanted.placed] == [rid(1)]
    (dropped,) = decide(policy, [], [ROOM], placed, 10.0, [preheat]).dropped
    assert dropped.reason == "demand fell to 0 B, below 4.0 MiB"


def test_a_block_keeps_out_and_throws_out(policy: PlacementPolicy) -> None:
    assert decide(policy, [demand()], [ROOM], (), 1.0, [BLOCK]) == Plan((), ())
    plan = decide(policy, [demand()], [ROOM], [decision()], 1.0, [PIN, BLOCK])
    assert plan.placed == ()
    assert plan.dropped[0].reason == "blocked by an operator (rule 4)"


def test_what_fits_nowhere_is_not_placed_even_when_pinned(policy: PlacementPolicy) -> None:
    large = attrs.evolve(PIN, length=101 * MIB)
    assert decide(policy, [], [ROOM], (), 1.0, [large]) == Plan((), ())
    unknown = attrs.evolve(PIN, length=0)
    assert decide(policy, [], [ROOM], (), 1.0, [unknown]) == Plan((), ())


def test_rules_hold_where_and_while_they_say() -> None:
    here = attrs.evolve(PIN, isp="campus")
    town = attrs.evolve(PIN, isp="town", number=1)
    over = attrs.evolve(PIN, until=5.0, number=2)
    assert in_force([here, town, over], "campus", 5.0) == {rid(1): here}
    assert in_force([here, over], "campus", 4.9) == {rid(1): over}
    assert in_force([PIN, BLOCK], "town", 4.9) == {rid(1): BLOCK}


def copies_of(policy: PlacementPolicy, rate: float, standing: Plan | None = None) -> Plan:
    """A decision about one resource wanted at `rate` bytes a second, with four super nodes."""
    volume = rate * LIMITS.half_life / 0.6931471805599453
    rooms = [Room(letter * 64, 1024 * MIB) for letter in "abcd"]
    before = () if standing is None else standing.placed
    return decide(policy, [demand(volume=volume)], rooms, before, 9.0)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_very_hot_is_on_several_super_nodes(name: str) -> None:
    policy = POLICIES[name](attrs.evolve(LIMITS, copy_rate=10e6))
    one, three, four = (copies_of(policy, rate) for rate in (9e6, 25e6, 99e6))
    assert [len(plan.placed) for plan in (one, three, four)] == [1, 3, 4]
    assert len({each.node_id for each in three.placed}) == 3
    assert sum("(copy 2: 25.0 MB/s, 10.0 MB/s per super node)" in each.reason for each in three.placed) == 1
    # A little less wanted takes nothing away, much less does, and says why.
    assert copies_of(policy, 16e6, three).placed
    assert copies_of(policy, 16e6, three).dropped == ()
    fewer = copies_of(policy, 9e6, three)
    assert [len(fewer.placed), len(fewer.dropped)] == [2, 1]
    assert fewer.dropped[0].reason == "2 of 3 copies are enough for what is wanted"


def test_without_a_limit_one_copy_is_enough() -> None:
    assert len(copies_of(POLICIES["value"](LIMITS), 1e12).placed) == 1
    assert Limits(1, 1.0, 1.0, 60.0).copy_volume == float("inf")
