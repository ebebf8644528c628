"""Do super nodes know each other in a Via field?"""

import pytest

from p2sp.supernode.via import MAX_HOPS, hops, name_of, through

A, B = name_of("ab" * 32), name_of("cd" * 32)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, set()),
        ("", set()),
        (f"1.1 {A}", {A}),
        (f"1.0 squid.example (a, b), HTTP/1.1 {A} (p2sp),1.1\t{B}", {A, B}),
        (f"1.1 other-{A}", set()),
        (f"1.1 {A}0", set()),
        (f"{A}", set()),
        ("1.1 p2sp-short", set()),
    ],
)
def test_names_are_found_among_others(header: str | None, found: set[str]) -> None:
    assert hops(header) == found


def test_a_fetch_names_those_who_ask_at_the_time_and_us_last() -> None:
    asking: list[str] = []
    field = through(A, lambda: asking)
    assert field() == f"1.1 {A}"
    asking += [B, A]
    assert field() == f"1.1 {B}, 1.1 {A}"
    assert hops(field()) == {A, B}


def test_a_long_chain_stays_bounded() -> None:
    names = [name_of(f"{number:064x}"[::-1]) for number in range(3 * MAX_HOPS)]
    field = through(A, lambda: names)()
    assert len(hops(field)) == MAX_HOPS
    assert field.endswith(A)
    assert len(hops(", ".join(f"1.1 {each}" for each in names))) == MAX_HOPS
