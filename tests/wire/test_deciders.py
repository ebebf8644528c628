"""Do choker and pipeline decide as they promise?"""

from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.merkle import BLOCK
from p2sp.wire.choker import TURN, Choker
from p2sp.wire.pipeline import CEILING, FLOOR, Pipeline


def test_free_slots_are_given_at_once() -> None:
    choker: Choker[str] = Choker(2)
    assert set(choker.decide(["a"], 0)) == {"a"}
    assert set(choker.decide(["a", "b", "c"], 1)) == {"a", "b"}
    assert set(choker.decide(["a", "c"], 2)) == {"a", "c"}
    assert set(choker.decide([], 3)) == set()


def test_the_longest_served_makes_room_for_the_longest_waiting() -> None:
    choker: Choker[str] = Choker(2)
    everybody = ["a", "b", "c", "d"]
    choker.decide(everybody, 0)
    assert set(choker.decide(everybody, TURN - 1)) == {"a", "b"}
    assert set(choker.decide(everybody, TURN)) == {"b", "c"}
    assert set(choker.decide(everybody, TURN + 1)) == {"b", "c"}
    assert set(choker.decide(everybody, 2 * TURN)) == {"c", "d"}
    assert set(choker.decide(everybody, 3 * TURN)) == {"d", "a"}


def test_a_turn_counts_from_when_somebody_waits() -> None:
    choker: Choker[str] = Choker(1)
    choker.decide(["a"], 0)
    assert set(choker.decide(["a", "b"], 1000)) == {"a"}
    assert set(choker.decide(["a", "b"], 1000 + TURN)) == {"b"}


@given(st.integers(1, 4), st.integers(1, 12))
def test_nobody_waits_for_ever(slots: int, peers: int) -> None:
    choker: Choker[int] = Choker(slots)
    served: set[int] = set()
    for turn in range(peers + 1):
        now = choker.decide(range(peers), turn * TURN)
        assert len(now) == min(slots, peers)
        served |= set(now)
    assert served == set(range(peers))


def test_without_slots_nobody_is_served() -> None:
    choker: Choker[str] = Choker(0)
    assert not choker.decide(["a"], 0)
    assert not choker.decide(["a"], TURN)


def run(pipeline: Pipeline, rate: float, seconds: int, start: int = 0) -> None:
    blocks = max(int(rate / BLOCK), 1)
    for second in range(start, start + seconds):
        for number in range(1, blocks + 1):
            pipeline.received(int(rate / blocks), second + number / blocks)


def test_slow_start_then_three_seconds_of_the_rate() -> None:
    pipeline = Pipeline(0)
    assert pipeline.depth == FLOOR
    for _ in range(5):
        pipeline.received(BLOCK, 0.1)
    assert pipeline.depth == FLOOR + 5
    run(pipeline, 64 * BLOCK, 20, start=1)
    assert abs(pipeline.depth - 3 * 64) <= 6
    assert abs(pipeline.rate / BLOCK - 64) <= 2


def test_floor_and_ceiling() -> None:
    slow, fast = Pipeline(0), Pipeline(0)
    run(slow, 1000, 10)
    assert slow.depth == FLOOR
    run(fast, 1000 * BLOCK, 5)
    assert fast.depth == CEILING


def test_time_without_requests_does_not_count() -> None:
    pipeline = Pipeline(0)
    run(pipeline, 64 * BLOCK, 10)
    before = pipeline.rate
    pipeline.idle(1000)
    run(pipeline, 64 * BLOCK, 2, start=1000)
    assert abs(pipeline.rate - before) < before / 20
