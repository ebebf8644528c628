"""Does a token bucket keep its rate, whatever is taken when?"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.net.throttle import TokenBucket

RATES = st.floats(1, 1e9)
STEPS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 10**9)), max_size=40)


@given(rate=RATES, burst=RATES, steps=STEPS)
def test_who_waits_as_told_never_exceeds_the_rate(rate: float, burst: float, steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate, burst)
    now, sent = 0.0, 0.0
    for pause, size in steps:
        now += pause
        wait = bucket.take(size, now)
        assert wait >= 0
        sent += size
        now += wait
        assert sent <= (burst + rate * now) * (1 + 1e-6) + 1e-3


@given(rate=RATES, burst=RATES, steps=STEPS)
def test_try_take_never_goes_into_debt(rate: float, burst: float, steps: list[tuple[float, int]]) -> None:
    bucket = TokenBucket(rate, burst)
    now, sent = 0.0, 0.0
    for pause, size in steps:
        now += pause
        if bucket.try_take(size, now) == 0.0:
            sent += size
        assert sent <= (burst + rate * now) * (1 + 1e-6) + 1e-3


def test_a_burst_is_free_and_then_the_rate_holds() -> None:
    bucket = TokenBucket(100, 50)
    assert bucket.take(50, 0.0) == 0.0
    assert bucket.take(100, 0.0) == pytest.approx(1.0)
    assert bucket.take(0, 1.0) == pytest.approx(0.0)


def test_more_than_the_burst_works_by_debt() -> None:
    bucket = TokenBucket(10, 5)
    assert bucket.take(105, 0.0) == pytest.approx(10.0)
    assert bucket.take(10, 10.0) == pytest.approx(1.0)


def test_try_take_tells_when_to_come_back() -> None:
    bucket = TokenBucket(2, 4)
    assert [bucket.try_take(2, 0.0), bucket.try_take(2, 0.0)] == [0.0, 0.0]
    assert bucket.try_take(1, 0.0) == pytest.approx(0.5)
    assert bucket.try_take(1, 0.5) == 0.0


def test_rest_does_not_save_up_beyond_the_burst() -> None:
    bucket = TokenBucket(1000, 10)
    bucket.take(10, 0.0)
    assert bucket.take(10, 1e6) == 0.0
    assert bucket.take(10, 1e6) > 0


def test_a_clock_that_jumps_back_does_not_stop_the_flow() -> None:
    bucket = TokenBucket(10, 10)
    bucket.take(10, 1000.0)
    assert bucket.take(0, 5.0) == 0.0
    assert bucket.take(10, 6.0) == pytest.approx(0.0)


def test_given_back_tokens_can_be_taken_again() -> None:
    bucket = TokenBucket(1, 10)
    bucket.take(10, 0.0)
    bucket.give_back(10)
    assert bucket.take(10, 0.0) == 0.0
    bucket.give_back(1000)
    assert bucket.take(20, 0.0) == pytest.approx(10.0)


def test_the_rate_can_change() -> None:
    bucket = TokenBucket(1, 1)
    bucket.take(1, 0.0)
    bucket.set_rate(10, 0.0)
    assert bucket.take(1, 0.0) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="positive"):
        bucket.set_rate(0, 0.0)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1), (math.nan, 1)])
def test_senseless_rates_are_refused(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        TokenBucket(rate, burst)
