"""Are percentiles near the truth, and do histograms add up?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.sketches.rates import BUCKETS, LOWEST, MOST, MOST_BYTES, bucket_of, merge, pack, percentile, rate_of, unpack

histograms = st.dictionaries(st.integers(0, BUCKETS - 1), st.integers(0, MOST))


@given(st.floats(LOWEST, 2.0**34))
def test_a_bucket_stands_for_its_rates_within_13_percent(rate: float) -> None:
    assert rate_of(bucket_of(rate)) == pytest.approx(rate, rel=0.13)


@given(st.floats(0, 1e18), st.floats(0, 1e18))
def test_faster_is_never_in_a_lower_bucket(one: float, other: float) -> None:
    assert 0 <= bucket_of(min(one, other)) <= bucket_of(max(one, other)) < BUCKETS


@given(st.lists(st.tuples(st.floats(LOWEST, 1e9), st.integers(1, 1000)), min_size=1, max_size=40), st.floats(0.01, 1))
def test_percentiles_are_those_of_the_bytes(moved: list[tuple[float, int]], share: float) -> None:
    found = percentile(merge({bucket_of(rate): volume} for rate, volume in moved), share)
    below, wanted = 0, share * sum(volume for _, volume in moved)
    for rate, volume in sorted(moved):
        below += volume
        if below >= wanted:
            assert found == pytest.approx(rate, rel=0.13)
            break


def test_nothing_has_no_rate() -> None:
    assert percentile({}, 0.2) == 0.0
    assert percentile({7: 0}, 0.2) == 0.0


@given(histograms, histograms)
def test_merging_and_packing_keep_all_within_bounds(one: dict[int, int], other: dict[int, int]) -> None:
    total = merge([one, other])
    assert total == merge([other, one])
    assert max(total.values(), default=0) <= MOST
    assert len(pack(total)) <= MOST_BYTES
    assert unpack(pack(total)) == total


@pytest.mark.parametrize("bad", [b"12345678", b"x" * (MOST_BYTES + 9)])
def test_what_is_no_histogram_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="a histogram of rates has whole entries"):
        unpack(bad)
