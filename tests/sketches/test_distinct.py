"""Are different names counted, however they come?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.sketches.distinct import MOST_BYTES, SIZE, count, merge, sketch_of

names = st.lists(st.text(max_size=4), max_size=60)


@given(st.lists(names, max_size=5))
def test_merged_sketches_are_the_sketch_of_all(parts: list[list[str]]) -> None:
    everything = [name for part in parts for name in part]
    merged = merge(sketch_of(part) for part in parts)
    assert merged == sketch_of(reversed(everything))
    if len(set(everything)) < SIZE:
        assert count(merged) == len(set(everything))


@pytest.mark.parametrize("many", [SIZE, 1000, 50_000])
def test_many_are_estimated_in_bounded_room(many: int) -> None:
    sketch = merge(sketch_of(f"node {n}" for n in range(first, many, 3)) for first in range(3))
    assert len(sketch) == MOST_BYTES
    assert abs(count(sketch) - many) < 0.25 * many


@pytest.mark.parametrize("bad", [b"1234567", b"x" * (MOST_BYTES + 8)])
def test_what_is_no_sketch_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="a sketch of distinct names has whole hashes"):
        count(bad)
    with pytest.raises(ValueError, match="a sketch of distinct names has whole hashes"):
        merge([bad])
