"""Does the choker serve who gives, let nobody wait for ever, and keep its slots?"""

from collections import Counter
from collections.abc import Iterable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from p2sp.wire.choker import ASLEEP, LONGEST_TURN, NEW, OPTIMISTIC, QUOTA, ROUND, TURN, Applicant, Choker


class Room:
    """Links with their books, and a choker that looks at them every five seconds."""

    def __init__(self, slots: int, *, seed: int = 1) -> None:
        self.choker: Choker[str] = Choker(slots)
        self.rng = Random(seed)
        self.now = 0.0
        self.served: set[str] = set()
        self.given: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.time: Counter[str] = Counter()
        self.gives: dict[str, float] = {}
        self.takes = 1.0

    def look(self, takers: Iterable[str] = (), traders: Iterable[str] = (), idle: Iterable[str] = ()) -> set[str]:
        applicants = [Applicant(key, True, False, self.given[key], self.taken[key]) for key in takers]
        applicants += [Applicant(key, True, True, self.given[key], self.taken[key]) for key in traders]
        applicants += [Applicant(key, False, True, self.given[key], self.taken[key]) for key in idle]
        self.served = set(self.choker.decide(applicants, self.now, self.rng))
        return self.served

    def run(
        self, seconds: float, takers: Iterable[str] = (), traders: Iterable[str] = (), idle: Iterable[str] = ()
    ) -> None:
        for _ in range(round(seconds / 5)):
            for key in self.served:
                self.taken[key] += round(self.takes * 5)
                self.time[key] += 5
            for key, rate in self.gives.items():
                self.given[key] += round(rate * 5)
            self.now += 5
            self.look(takers, traders, idle)


def names(count: int, first: int = 0) -> list[str]:
    return [f"n{number:03}" for number in range(first, first + count)]


def test_free_slots_are_given_at_once() -> None:
    room = Room(2)
    assert room.look(["a"]) == {"a"}
    assert room.look(["a"], ["b"]) == {"a", "b"}
    assert room.look(["a"], idle=["b"]) == {"a"}
    assert room.look() == set()


def test_without_slots_nobody_is_served() -> None:
    room = Room(0)
    assert room.look(["a"], ["b"]) == set()
    room.run(300, ["a"], ["b"])
    assert room.time == {}


def test_a_turn_ends_when_its_quota_is_taken_and_somebody_waits() -> None:
    room = Room(1)
    room.takes = QUOTA / TURN
    assert room.look(["a"]) == {"a"}
    room.run(10 * LONGEST_TURN, ["a"])
    assert room.served == {"a"}
    room.look(["a", "b"])
    assert room.served == {"b"}
    room.run(TURN - 5, ["a", "b"])
    assert room.served == {"b"}
    room.run(5, ["a", "b"])
    assert room.served == {"a"}


def test_who_takes_little_keeps_his_slot_longer_but_not_for_ever() -> None:
    room = Room(1)
    room.takes = 1000.0
    room.look(["a", "b"])
    room.run(LONGEST_TURN - 5, ["a", "b"])
    assert room.served == {"a"}
    room.run(5, ["a", "b"])
    assert room.served == {"b"}


def test_who_gives_most_is_served() -> None:
    room = Room(4)
    everybody = names(12)
    room.gives = {key: 1000.0 * place for place, key in enumerate(everybody)}
    room.look(traders=everybody)
    room.run(600, traders=everybody)
    assert set(names(3, 9)) <= room.served
    first = room.time["n011"]
    room.gives["n011"] = 0.0
    room.run(600, traders=everybody)
    assert set(names(3, 8)) <= room.served
    assert room.time["n011"] - first < 150


def test_a_pause_of_one_round_costs_no_slot() -> None:
    room = Room(3)
    everybody = names(6)
    room.gives = dict.fromkeys(everybody[:2], 100_000.0) | dict.fromkeys(everybody[2:], 10_000.0)
    room.look(traders=everybody)
    room.run(120, traders=everybody)
    room.gives[everybody[0]] = 0.0
    room.run(ROUND, traders=everybody)
    assert everybody[0] in room.served


def test_there_is_always_one_on_trial() -> None:
    room = Room(4)
    everybody = names(30)
    room.gives = dict.fromkeys(names(3), 1_000_000.0)
    room.look(traders=everybody)
    room.run(60, traders=everybody)
    room.run(300 * OPTIMISTIC, traders=everybody)
    assert all(room.time[key] >= OPTIMISTIC for key in everybody)
    assert room.time["n000"] > 290 * OPTIMISTIC


def test_newcomers_are_tried_more_often() -> None:
    tried: Counter[str] = Counter()
    old, new = names(10), names(10, 10)
    for seed in range(200):
        room = Room(2, seed=seed)
        room.gives = {"n000": 1_000_000.0}
        room.look(traders=old)
        room.run(2 * NEW, traders=old)
        room.run(OPTIMISTIC, traders=old + new)
        tried.update(room.served - {"n000"})
    assert 2.0 < sum(tried[key] for key in new) / sum(tried[key] for key in old) < 5.0


def test_traders_and_takers_share_the_slots() -> None:
    room = Room(8)
    room.gives = dict.fromkeys(names(30), 100_000.0)
    takers = names(10, 100)
    room.look(takers, names(30))
    room.run(1200, takers, names(30))
    assert sum(room.time[key] for key in names(30)) > 3.5 * 1200
    assert all(room.time[key] > 60 for key in takers)


def test_those_who_give_nothing_alike_take_turns() -> None:
    room = Room(3)
    room.look(traders=names(12))
    room.run(1800, traders=names(12))
    assert min(room.time[key] for key in names(12)) > 200


people = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=0, max_size=25)


@given(st.integers(0, 9), st.lists(people, min_size=1, max_size=12), st.integers(0, 9))
def test_slots_are_kept_and_none_is_free_while_somebody_waits(
    slots: int, moments: list[list[tuple[bool, bool]]], seed: int
) -> None:
    choker: Choker[int] = Choker(slots)
    rng = Random(seed)
    for moment, links in enumerate(moments):
        applicants = [
            Applicant(key, interested, trading, key * moment, moment * QUOTA)
            for key, (interested, trading) in enumerate(links)
        ]
        served = set(choker.decide(applicants, moment * 17.0, rng))
        interested = {each.key for each in applicants if each.interested}
        assert served <= interested
        assert len(served) == min(slots, len(interested))


@given(st.integers(1, 3), st.integers(1, 7), st.booleans())
def test_nobody_waits_for_ever(slots: int, peers: int, trading: bool) -> None:
    room = Room(slots)
    everybody = names(peers)
    seconds = LONGEST_TURN * peers * 2
    room.run(seconds, *([], everybody) if trading else (everybody, []))
    assert set(room.time) == set(everybody)


@given(st.integers(1, 40))
def test_nobody_is_choked_while_slots_last(peers: int) -> None:
    room = Room(40)
    room.takes = QUOTA
    room.run(2 * TURN, names(peers))
    assert room.served == set(names(peers))


def test_who_takes_nothing_keeps_nobody_from_a_slot() -> None:
    room = Room(2)
    room.takes = 0.0
    room.look(traders=["a", "b"])
    assert room.look(traders=["a", "b", "c"]) == {"a", "b"}
    room.now += ASLEEP
    assert room.look(traders=["a", "b", "c"]) == {"a", "b", "c"}
    room.taken["a"] += 1
    room.taken["b"] += 1
    assert len(room.look(traders=["a", "b", "c"])) == 2
