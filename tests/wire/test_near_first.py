"""Do nodes of our ISP have our upload slots first, and those outside some all the same?"""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from p2sp.wire.choker import Applicant
from p2sp.wire.near_first import KEPT, NearFirst

SLOTS = 8


def applicants(near: int, far: int, *, interested: bool = True, taken: int = 0) -> list[Applicant[str]]:
    here = [Applicant(f"near{n}", interested, taken=taken, near=True) for n in range(near)]
    return here + [Applicant(f"far{n}", interested, taken=taken) for n in range(far)]


def numbers(served: set[str]) -> tuple[int, int]:
    """How many near and far ones are served."""
    near = sum(key.startswith("near") for key in served)
    return near, len(served) - near


def decided(choker: NearFirst[str], all_of_them: list[Applicant[str]], now: float = 0.0) -> tuple[int, int]:
    return numbers(set(choker.decide(all_of_them, now, Random(1))))


def test_who_is_near_comes_first_and_some_slots_are_kept_for_others() -> None:
    assert decided(NearFirst(SLOTS), applicants(10, 10)) == (SLOTS - SLOTS // KEPT, SLOTS // KEPT)


def test_what_one_side_does_not_need_the_other_has() -> None:
    assert decided(NearFirst(SLOTS), applicants(3, 10)) == (3, SLOTS - 3)
    assert decided(NearFirst(SLOTS), applicants(10, 1)) == (SLOTS - 1, 1)
    assert decided(NearFirst(SLOTS), applicants(10, 0)) == (SLOTS, 0)
    assert decided(NearFirst(SLOTS), applicants(0, 10)) == (0, SLOTS)


def test_who_comes_near_displaces_who_is_far() -> None:
    choker = NearFirst[str](SLOTS)
    assert decided(choker, applicants(0, 10)) == (0, SLOTS)
    assert decided(choker, applicants(10, 10), 1.0) == (SLOTS - SLOTS // KEPT, SLOTS // KEPT)


def test_with_hardly_any_slots_all_are_alike() -> None:
    choker = NearFirst[str](1)
    served: set[str] = set()
    for turn in range(40):
        now = 150.0 * turn
        served.update(choker.decide(applicants(2, 2, taken=turn), now, Random(turn)))
    assert served == {"near0", "near1", "far0", "far1"}


@given(st.integers(4, 20), st.integers(0, 30), st.integers(0, 30), st.integers(0, 99))
def test_no_slot_is_given_twice_nor_left_empty(slots: int, near: int, far: int, seed: int) -> None:
    served = set(NearFirst[str](slots).decide(applicants(near, far), 0.0, Random(seed)))
    assert len(served) == min(slots, near + far)
    here, there = numbers(served)
    assert here >= min(near, slots - slots // KEPT)
    assert there >= min(far, slots // KEPT)


def test_nobody_who_wants_nothing_is_served() -> None:
    assert decided(NearFirst(SLOTS), applicants(5, 5, interested=False)) == (0, 0)
