"""Does the pipeline decide as it promises?"""

from p2sp.resource.merkle import BLOCK
from p2sp.wire.pipeline import (
    CEILING,
    FLOOR,
    LAN_FLOOR,
    LEAST_PATIENCE,
    MOST_PATIENCE,
    UNKNOWN,
    BlockTimes,
    Pipeline,
)


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


def test_who_is_snubbed_is_asked_for_one_block_until_it_comes() -> None:
    pipeline = Pipeline(0, LAN_FLOOR)
    assert pipeline.depth == LAN_FLOOR
    run(pipeline, 64 * BLOCK, 10)
    pipeline.snub()
    assert (pipeline.depth, pipeline.snubbed) == (1, True)
    pipeline.received(BLOCK, 30)
    assert not pipeline.snubbed
    assert LAN_FLOOR <= pipeline.depth <= 3 * 64


def test_patience_follows_the_times_of_blocks_within_bounds() -> None:
    times = BlockTimes()
    assert times.patience == UNKNOWN
    times.took(4.0)
    assert times.patience == 12.0
    for _ in range(60):
        times.took(4.0)
    assert 4.0 < times.patience < 4.1
    for _ in range(60):
        times.took(0.01)
    assert times.patience == LEAST_PATIENCE
    for _ in range(60):
        times.took(100.0)
    assert times.patience == MOST_PATIENCE
