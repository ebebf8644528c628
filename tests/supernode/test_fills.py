"""Are the most valuable resources fetched first, no more at a time than may be?"""

from hypothesis import given
from hypothesis import strategies as st

from p2sp.supernode.fills import Fill, next_fills

FILLS = st.lists(
    st.builds(Fill, st.text("abcdef", min_size=1, max_size=3), st.floats(0, 100), st.booleans()),
    max_size=12,
    unique_by=lambda fill: fill.resource,
)


@given(FILLS, st.integers(0, 6))
def test_places_are_taken_by_value(fills: list[Fill], most: int) -> None:
    begun = next_fills(fills, most)
    moving = sum(fill.moving for fill in fills)
    by_name = {fill.resource: fill for fill in fills}
    assert len(begun) == len(set(begun)) == min(max(most - moving, 0), len(fills) - moving)
    assert not any(by_name[each].moving for each in begun)
    left = [fill.value for fill in fills if not fill.moving and fill.resource not in begun]
    assert all(by_name[each].value >= value for each in begun for value in left)


def test_of_equals_the_order_is_fixed() -> None:
    fills = [Fill(name, 1.0, moving=False) for name in "cab"]
    assert next_fills(fills, 2) == ["a", "b"]
