"""Does the rate estimate follow what a source does?"""

from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.schedule.rate import RateEstimate

steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "rest", "add", "rate"]),
        st.floats(0, 1e4, allow_nan=False),
        st.integers(0, 1 << 40),
    ),
    max_size=40,
)


@given(steps)
def test_it_is_finite_and_never_negative(history: list[tuple[str, float, int]]) -> None:
    estimate, now = RateEstimate(), 0.0
    for what, pause, count in history:
        now += pause
        if what == "start":
            estimate.start(now)
        elif what == "rest":
            estimate.rest(now)
        elif what == "add":
            estimate.add(count, now)
        assert 0.0 <= estimate.rate(now) < float("inf")
        assert estimate.age(now) >= 0.0


@given(st.floats(1.0, 1e9), st.floats(0.01, 0.5), st.floats(2.0, 40.0))
def test_a_steady_source_is_known_from_its_first_seconds_on(rate: float, every: float, seconds: float) -> None:
    estimate = RateEstimate()
    estimate.start(0.0)
    count = int(seconds / every)
    for i in range(1, count + 1):
        estimate.add(round(rate * every * 1000), i * every)
    assert isclose(estimate.rate(count * every), rate * 1000, rel_tol=0.2)


@pytest.mark.parametrize(("silence", "part"), [(0.0, 1.0), (3.0, 0.37), (10.0, 0.0357), (30.0, 0.000045)])
def test_it_fades_in_silence(silence: float, part: float) -> None:
    estimate = RateEstimate()
    for i in range(200):
        estimate.add(1000, i * 0.1)
    full = estimate.rate(19.9)
    assert full == pytest.approx(10_000, rel=0.05)
    assert estimate.rate(19.9 + silence) == pytest.approx(full * part, rel=0.2)


def test_it_follows_a_change_within_some_seconds() -> None:
    estimate = RateEstimate()
    for i in range(100):
        estimate.add(100, i * 0.1)
    for i in range(100, 200):
        estimate.add(10_000, i * 0.1)
    assert estimate.rate(19.9) == pytest.approx(100_000, rel=0.1)


def test_waiting_for_the_first_byte_counts() -> None:
    prompt, late = RateEstimate(), RateEstimate()
    late.start(0.0)
    prompt.start(2.0)
    for estimate in (prompt, late):
        estimate.add(50_000, 2.1)
    assert late.rate(2.1) < prompt.rate(2.1) / 5


def test_the_first_bytes_are_not_infinitely_fast() -> None:
    estimate = RateEstimate()
    estimate.add(1000, 5.0)
    assert 0 < estimate.rate(5.0) <= 1000 / 0.05 * 1.1


def test_who_never_delivered_has_no_rate() -> None:
    estimate = RateEstimate()
    assert estimate.rate(7.0) == 0.0
    estimate.rest(7.0)
    estimate.start(8.0)
    assert estimate.rate(9.0) == 0.0


@given(st.floats(0.1, 1e5))
def test_time_stands_still_while_nothing_is_asked(pause: float) -> None:
    worked, paused = RateEstimate(), RateEstimate()
    for i in range(50):
        worked.add(1000, i * 0.1)
        paused.add(1000, i * 0.1)
    paused.rest(4.9)
    assert paused.rate(4.9 + pause) == paused.rate(4.9) == worked.rate(4.9)
    paused.start(4.9 + pause)
    for i in range(50, 60):
        worked.add(1000, i * 0.1)
        paused.add(1000, i * 0.1 + pause)
    assert paused.rate(5.9 + pause) == pytest.approx(worked.rate(5.9), rel=1e-3)
    assert paused.age(5.9 + pause) == pytest.approx(5.9, rel=1e-3)


def test_bytes_that_come_after_all_wake_it() -> None:
    estimate = RateEstimate()
    estimate.add(1000, 0.0)
    estimate.rest(1.0)
    estimate.add(1000, 100.0)
    assert estimate.age(100.5) == pytest.approx(1.5)
    awake = estimate.rate(100.0)
    assert estimate.rate(103.0) < awake
