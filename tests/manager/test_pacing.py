"""Is a super node told of enough to do and never of much at once?"""

from hypothesis import given
from hypothesis import strategies as st

from p2sp.manager.pacing import AHEAD, INTERVALS, UNLIMITED, Budget, due
from p2sp.manager.placement import Decision
from tests.manager.support import MIB, decision, rid

TWO = Budget(2, 10 * MIB)


def placed(*lengths: int) -> list[Decision]:
    """Things of these MiB, by number."""
    return [decision(rid(number), length=length * MIB) for number, length in enumerate(lengths)]


def numbers(decisions: list[Decision]) -> list[int]:
    return [int(each.resource, 16) for each in decisions]


decisions = st.lists(st.integers(0, 30), max_size=30).map(lambda lengths: placed(*lengths))
shares = st.dictionaries(st.integers(0, 30).map(rid), st.sampled_from([0.0, 0.3, 1.0]))
troubled = st.frozensets(st.integers(0, 30).map(rid))
budgets = st.builds(Budget, st.integers(1, 5), st.integers(0, 50 * MIB).map(float))


def test_a_budget_is_what_is_fetched_until_the_report_after_next() -> None:
    assert Budget.of(4, 0, 30.0) == Budget(4 * AHEAD, UNLIMITED)
    assert Budget.of(3, 1000, 30.0) == Budget(3 * AHEAD, 1000 * INTERVALS * 30.0)


def test_an_empty_cache_is_filled_little_by_little() -> None:
    assert numbers(due(placed(64, 64, 64, 64), {}, (), TWO)) == [0, 1]
    assert numbers(due(placed(64, 64, 64, 64), {rid(0): 1.0, rid(1): 0.5}, (), TWO)) == [0, 1, 2]
    assert numbers(due(placed(64, 64, 64, 64), {rid(2): 0.0, rid(3): 0.5}, (), TWO)) == [2, 3]


def test_of_what_is_small_more_are_named() -> None:
    assert numbers(due(placed(*[1] * 20), {}, (), TWO)) == [*range(10)]
    assert numbers(due(placed(2, 8, 30, 1), {rid(1): 0.5}, (), TWO)) == [0, 1, 3]


def test_what_nobody_has_takes_no_turn() -> None:
    in_vain = {rid(0), rid(1), rid(2)}
    assert numbers(due(placed(64, 64, 64, 64, 64, 64), {rid(0): 0.2}, in_vain, TWO)) == [0, 1, 2, 3, 4]


def test_of_what_the_index_does_not_know_no_more_are_asked_for_either() -> None:
    everything = placed(*[64] * 9)
    assert numbers(due(everything, {}, {each.resource for each in everything}, TWO)) == [0, 1]


def test_who_is_being_stopped_keeps_what_it_has_and_gets_nothing_new() -> None:
    assert numbers(due(placed(1, 1, 1), {rid(1): 1.0, rid(2): 0.1}, (), None)) == [1, 2]


@given(decisions, shares, troubled, budgets)
def test_what_is_there_is_named_and_the_rest_within_the_budget(
    decisions: list[Decision], shares: dict[str, float], troubled: frozenset[str], budget: Budget
) -> None:
    named = due(decisions, shares, troubled, budget)
    assert named == [each for each in decisions if each in named], "in the same order"
    assert [each for each in decisions if each.resource in shares] == [
        each for each in named if each.resource in shares
    ]
    moving = [each for each in named if shares.get(each.resource, 0.0) < 1.0 and each.resource not in troubled]
    news = [each for each in moving if each.resource not in shares]
    missing = sum(each.length * (1.0 - shares.get(each.resource, 0.0)) for each in moving)
    assert not news or len(moving) <= budget.fills or missing <= budget.bytes + 30 * MIB * budget.fills
    assert len([each for each in named if each.resource in troubled - shares.keys()]) <= budget.fills


@given(decisions, budgets)
def test_whoever_fetches_what_it_is_told_has_everything_in_the_end(decisions: list[Decision], budget: Budget) -> None:
    shares: dict[str, float] = {}
    for _ in decisions:
        shares |= {each.resource: 1.0 for each in due(decisions, shares, (), budget)}
    assert due(decisions, shares, (), budget) == decisions
