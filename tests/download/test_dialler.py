"""Whom does the dialler call, how many at once, and when again?"""

from itertools import pairwise
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2sp.download.dialler import (
    FIRST_WAIT,
    FORGET_AFTER,
    KEYS_OF_A_LIAR,
    LONGEST_WAIT,
    MAX_CALLS,
    MAX_KNOWN,
    MAX_NEIGHBOURS,
    Dialler,
)
from p2sp.schedule.spans import Kind
from p2sp.sources.interfaces import Candidate


def node(number: int, *, local: bool = False, port: int = 7000, kind: Kind = Kind.PEER, lan: bool = False) -> Candidate:
    return Candidate(kind, f"{number:064x}", "127.0.0.1", port, local or lan, lan)


class Rig:
    """A dialler whose calls the test answers."""

    def __init__(self, *, links: int = 40, started: bool = True) -> None:
        self.clock = Clock()
        self.calls: list[tuple[float, Candidate, Deferred[object]]] = []
        self.failed: list[tuple[Candidate, str]] = []
        self.dialler = Dialler(
            self.clock,
            self._call,
            Random(4),
            links=links,
            failed=lambda candidate, reason: self.failed.append((candidate, reason)),
        )
        if started:
            self.dialler.start()

    def _call(self, candidate: Candidate) -> "Deferred[object]":
        call: Deferred[object] = Deferred()
        self.calls.append((self.clock.seconds(), candidate, call))
        return call

    def open(self) -> list[tuple[Candidate, "Deferred[Any]"]]:
        """Calls that have no answer yet."""
        return [(candidate, call) for _, candidate, call in self.calls if not call.called]

    def answer(self, candidate: Candidate) -> None:
        """The node takes the call."""
        for called, call in self.open():
            if called.node_id == candidate.node_id:
                self.dialler.linked(candidate.node_id)
                call.callback(None)

    def refuse(self, candidate: Candidate) -> None:
        """Nobody is there."""
        for called, call in self.open():
            if called.node_id == candidate.node_id:
                call.errback(OSError("nobody is there"))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)


def test_a_node_is_called_as_soon_as_it_is_named() -> None:
    rig = Rig()
    rig.dialler.offer(node(1))
    assert [candidate for candidate, _ in rig.open()] == [node(1)]


def test_nobody_is_called_before_it_is_time() -> None:
    rig = Rig(started=False)
    rig.dialler.offer(node(1))
    assert rig.calls == []
    rig.dialler.start()
    assert len(rig.calls) == 1


def test_calls_at_the_same_time_are_bounded() -> None:
    rig = Rig()
    for i in range(30):
        rig.dialler.offer(node(i))
    assert len(rig.open()) == MAX_CALLS
    rig.answer(rig.open()[0][0])
    rig.run(1.0)
    assert len(rig.open()) == MAX_CALLS
    assert len(rig.calls) == MAX_CALLS + 1


def test_links_are_bounded() -> None:
    rig = Rig(links=5)
    for i in range(30):
        rig.dialler.offer(node(i))
    for _ in range(10):
        for candidate, _ in rig.open():
            rig.answer(candidate)
        rig.run(2.0)
    assert len(rig.calls) == 5
    gone = rig.calls[0][1]
    rig.dialler.lost(gone.node_id)
    rig.run(1.0)
    assert len(rig.calls) == 6
    assert rig.calls[5][1] != gone, "somebody else first"


def test_who_called_us_counts_and_is_not_called() -> None:
    rig = Rig(links=2, started=False)
    for i in range(5):
        rig.dialler.offer(node(i))
    for i in (0, 1):
        rig.dialler.linked(node(i).node_id)
    rig.dialler.start()
    rig.run(5.0)
    assert rig.calls == []


def test_the_near_ones_come_first() -> None:
    rig = Rig(started=False)
    for i in range(40):
        rig.dialler.offer(node(i, local=i % 5 == 0))
    rig.dialler.start()
    assert all(candidate.local for candidate, _ in rig.open())
    assert len(rig.open()) == 8


def test_the_order_of_equals_is_by_chance() -> None:
    rig = Rig(started=False)
    for i in range(40):
        rig.dialler.offer(node(i))
    rig.dialler.start()
    assert [candidate for candidate, _ in rig.open()] != [node(i) for i in range(MAX_CALLS)]


def test_who_does_not_answer_is_called_later_and_later_and_then_forgotten() -> None:
    rig = Rig()
    rig.dialler.offer(node(1))
    for _ in range(2000):
        rig.refuse(node(1))
        rig.clock.advance(0.5)
    times = [at for at, _, _ in rig.calls]
    assert len(times) == FORGET_AFTER
    for i, (before, after) in enumerate(pairwise(times)):
        longest = min(FIRST_WAIT * 2.0**i, LONGEST_WAIT)
        assert longest * 0.5 <= after - before <= longest + 1.5
    assert rig.dialler.find(node(1).node_id) is None
    assert rig.failed == [(node(1), "nobody is there")] * FORGET_AFTER
    rig.dialler.offer(node(1))
    assert len(rig.calls) == FORGET_AFTER + 1, "named anew"


def test_a_lost_link_is_called_again_after_a_moment() -> None:
    rig = Rig()
    rig.dialler.offer(node(1))
    rig.answer(node(1))
    rig.run(60.0)
    assert len(rig.calls) == 1
    rig.dialler.lost(node(1).node_id)
    rig.run(FIRST_WAIT + 1.5)
    assert len(rig.calls) == 2
    assert rig.failed == []


def test_a_link_makes_up_for_earlier_failures() -> None:
    rig = Rig()
    rig.dialler.offer(node(1))
    for _ in range(3):
        rig.refuse(node(1))
        rig.run(20.0)
    rig.answer(node(1))
    rig.dialler.lost(node(1).node_id)
    rig.run(FIRST_WAIT + 1.5)
    assert len(rig.open()) == 1


def test_the_banned_are_never_called() -> None:
    rig = Rig(started=False)
    rig.dialler.offer(node(1))
    rig.dialler.ban(node(1).node_id)
    rig.dialler.offer(node(1))
    rig.dialler.start()
    rig.run(10.0)
    assert rig.calls == []
    assert rig.dialler.is_banned(node(1).node_id)
    assert not rig.dialler.is_banned(node(2).node_id)
    assert rig.dialler.find(node(1).node_id) is None


def test_a_ban_during_the_call() -> None:
    rig = Rig()
    rig.dialler.offer(node(1))
    rig.dialler.ban(node(1).node_id)
    rig.refuse(node(1))
    rig.run(300.0)
    assert len(rig.calls) == 1


def test_nodes_without_a_port_cannot_be_called() -> None:
    rig = Rig()
    rig.dialler.offer(node(1, port=0))
    assert rig.calls == []
    assert rig.dialler.find(node(1).node_id) is None


def test_the_newest_word_about_a_node_counts() -> None:
    rig = Rig()
    rig.dialler.offer(node(1))
    rig.dialler.offer(node(1, port=7001, kind=Kind.SUPERNODE))
    assert rig.dialler.find(node(1).node_id) == node(1, port=7001, kind=Kind.SUPERNODE)
    rig.refuse(node(1))
    rig.run(4.0)
    assert rig.calls[1][1].port == 7001


def test_how_many_are_remembered_is_bounded() -> None:
    rig = Rig(started=False)
    for i in range(MAX_KNOWN + 100):
        rig.dialler.offer(node(i))
    known = [i for i in range(MAX_KNOWN + 100) if rig.dialler.find(node(i).node_id)]
    assert known == list(range(MAX_KNOWN))


@pytest.mark.parametrize("calls", [1, MAX_CALLS])
def test_stopping_gives_up_calls_and_tells_of_no_failure(calls: int) -> None:
    rig = Rig()
    for i in range(calls):
        rig.dialler.offer(node(i))
    ended: list[Any] = []
    for _, call in rig.open():
        call.addBoth(ended.append)
    rig.dialler.stop()
    assert rig.open() == []
    rig.run(300.0)
    assert len(rig.calls) == calls
    assert rig.failed == []
    assert rig.clock.getDelayedCalls() == []


def test_a_call_that_was_given_up_is_cancelled() -> None:
    rig = Rig()
    seen: list[Any] = []
    rig.dialler = Dialler(rig.clock, lambda candidate: Deferred(seen.append), Random(1))
    rig.dialler.start()
    rig.dialler.offer(node(1))
    rig.dialler.stop()
    assert len(seen) == 1


def test_nodes_of_our_own_network_come_first() -> None:
    rig = Rig(started=False)
    for number in range(1, 31):
        rig.dialler.offer(node(number, local=number % 3 == 1, lan=number % 3 == 2))
    rig.dialler.start()
    assert [candidate.lan for candidate, _ in rig.open()] == [True] * MAX_CALLS


def test_a_neighbour_is_called_where_it_was_heard() -> None:
    rig = Rig(started=False)
    rig.dialler.offer(node(1, port=7001, kind=Kind.SUPERNODE))
    rig.dialler.offer(node(1, port=7002, lan=True))
    rig.dialler.offer(node(1, port=7001, kind=Kind.SUPERNODE))
    assert rig.dialler.find(node(1).who) == node(1, port=7002, kind=Kind.SUPERNODE, lan=True)
    rig.dialler.start()
    rig.refuse(node(1))
    rig.dialler.offer(node(1, port=7001, kind=Kind.SUPERNODE))
    assert rig.dialler.find(node(1).who) == node(1, port=7001, kind=Kind.SUPERNODE)


def test_neighbours_that_call_themselves_many_are_bounded() -> None:
    rig = Rig(started=False)
    for number in range(2 * MAX_NEIGHBOURS):
        rig.dialler.offer(node(number, lan=True))
    known = [number for number in range(2 * MAX_NEIGHBOURS) if rig.dialler.find(node(number).who)]
    assert known == list(range(MAX_NEIGHBOURS))
    rig.dialler.offer(node(9999))
    assert rig.dialler.find(node(9999).who) is not None


def test_who_failed_makes_room_for_who_is_new() -> None:
    rig = Rig()
    for number in range(MAX_KNOWN):
        rig.dialler.offer(node(number))
    rig.dialler.offer(node(MAX_KNOWN))
    assert rig.dialler.find(node(MAX_KNOWN).who) is None
    failed, _ = rig.open()[0]
    rig.refuse(failed)
    rig.dialler.offer(node(MAX_KNOWN))
    assert rig.dialler.find(node(MAX_KNOWN).who) is not None
    assert rig.dialler.find(failed.who) is None


def test_foreign_clients_go_by_their_address() -> None:
    rig = Rig()
    one = Candidate(Kind.PEER, "", "192.0.2.1", 7000)
    other = Candidate(Kind.PEER, "", "192.0.2.1", 7001)
    for candidate in (one, other, one):
        rig.dialler.offer(candidate)
    assert [candidate for candidate, _ in rig.open()] == [one, other]
    assert (one.who, Candidate(Kind.PEER, "", "2001:db8::1", 7).who) == ("192.0.2.1:7000", "[2001:db8::1]:7")


def test_the_address_of_a_liar_without_a_key_is_banned() -> None:
    rig = Rig()
    rig.dialler.ban("192.0.2.1:7000", "192.0.2.1", foreign=True)
    assert rig.dialler.is_banned("192.0.2.1:9999", "192.0.2.1")
    assert not rig.dialler.is_banned("192.0.2.2:7000", "192.0.2.2")
    rig.dialler.offer(Candidate(Kind.PEER, "", "192.0.2.1", 7001))
    assert rig.calls == []


def test_an_address_with_many_lying_keys_is_banned_and_loopback_never() -> None:
    rig = Rig()
    for number in range(KEYS_OF_A_LIAR):
        assert not rig.dialler.is_banned(node(99).who, "2001:db8::9")
        rig.dialler.ban(node(number).who, f"2001:db8::{number:x}")
        rig.dialler.ban(node(10 + number).who, "127.0.0.1")
    assert rig.dialler.is_banned(node(99).who, "2001:db8::9")
    assert not rig.dialler.is_banned(node(99).who, "2001:db8:0:1::9")
    assert not rig.dialler.is_banned(node(99).who, "127.0.0.1")
    assert rig.dialler.is_banned(node(10).who, "127.0.0.1")
