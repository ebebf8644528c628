"""Do answers share a turn of the event loop as they should?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from p2sp.supernode.turns import Turns


class Loop(Clock):
    """A clock of which one advance is one turn: what is called later within a turn comes in the next."""

    def turn(self) -> None:
        due, self.calls = self.calls, []
        for call in due:
            call.called = 1
            call.func(*call.args, **call.kw)


class Answer:
    """Writes portions of one size as often as it may, and says so."""

    def __init__(self, turns: Turns, name: str, heard: list[str], portions: int, size: int = 100) -> None:
        self.turns, self.name, self.heard, self.left, self.size = turns, name, heard, portions, size
        self.first = True
        self.waiting: Deferred[None] | None = None
        self.go()

    def go(self) -> None:
        if self.left:
            self.waiting = self.turns.take(self.size, first=self.first)
            self.waiting.addCallbacks(self.written, lambda failure: failure.trap(CancelledError) and None)

    def written(self, _: None) -> None:
        self.heard.append(self.name)
        self.first = False
        self.left -= 1
        self.go()


def test_a_turn_writes_no_more_than_its_budget_and_none_waits_for_ever() -> None:
    loop, heard = Loop(), list[str]()
    turns = Turns(loop, 250)
    for name in "abcd":
        Answer(turns, name, heard, 3)
    assert heard == ["a", "a", "a"]
    loop.turn()
    assert heard[3:] == ["b", "c", "d"]
    loop.turn()
    assert heard[6:] == ["b", "c", "d"]
    loop.turn()
    assert heard[9:] == ["b", "c", "d"]
    loop.turn()
    assert loop.calls == []


def test_who_has_nothing_yet_goes_first() -> None:
    loop, heard = Loop(), list[str]()
    turns = Turns(loop, 100)
    for name in "ab":
        Answer(turns, name, heard, 9)
    loop.turn()
    heard.clear()
    Answer(turns, "new", heard, 2)
    assert heard == []
    loop.turn()
    assert heard == ["new"]
    loop.turn()
    loop.turn()
    loop.turn()
    assert sorted(heard[1:]) == ["a", "b", "new"]


def test_a_portion_beyond_the_budget_has_a_turn_of_its_own() -> None:
    loop, heard = Loop(), list[str]()
    turns = Turns(loop, 10)
    Answer(turns, "large", heard, 2, size=1000)
    Answer(turns, "other", heard, 1)
    assert heard == ["large"]
    loop.turn()
    assert heard == ["large", "other"]
    loop.turn()
    assert heard == ["large", "other", "large"]


@pytest.mark.parametrize("begun", [True, False])
def test_a_place_that_is_given_up_is_nobodys(begun: bool) -> None:
    loop, heard = Loop(), list[str]()
    turns = Turns(loop, 100)
    Answer(turns, "a", heard, 3)
    leaving = turns.take(100, first=not begun)
    leaving.addErrback(lambda failure: failure.trap(CancelledError) and None)
    leaving.cancel()
    loop.turn()
    loop.turn()
    assert heard == ["a"] * 3


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 400)), max_size=8), st.integers(1, 500))
def test_everything_is_written_in_the_end_within_the_budget(answers: list[tuple[int, int]], budget: int) -> None:
    loop, heard = Loop(), list[str]()
    turns = Turns(loop, budget)
    for number, (portions, size) in enumerate(answers):
        Answer(turns, str(number), heard, portions, size)
    total = sum(portions for portions, _ in answers)
    largest = max((size for _, size in answers), default=0)
    for _ in range(total + 1):
        before = len(heard)
        loop.turn()
        assert sum(answers[int(name)][1] for name in heard[before:]) < budget + largest
    assert len(heard) == total
    assert loop.calls == []
