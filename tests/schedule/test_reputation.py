"""Whom does a bad piece cost its place?"""

import pytest

from p2sp.schedule.reputation import HOPELESS, Reputation
from p2sp.schedule.spans import Kind
from p2sp.storage.interfaces import Verdict

KINDS = {"s": Kind.SERVER, "t": Kind.SERVER, "p": Kind.PEER, "q": Kind.PEER, "n": Kind.SUPERNODE}

BAD, GOOD = False, True


def verdicts(*rows: tuple[bool, str]) -> list[Verdict]:
    return [Verdict(piece, good, frozenset(suspects)) for piece, (good, suspects) in enumerate(rows)]


@pytest.mark.parametrize(
    ("history", "banned"),
    [
        pytest.param([(BAD, "p")], "p", id="a peer alone with a bad piece"),
        pytest.param([(BAD, "n")], "n", id="a super node is a node like any"),
        pytest.param([(BAD, "pq")], "", id="one of two: nobody knows which"),
        pytest.param([(BAD, "pq"), (BAD, "pq"), (BAD, "pq")], "", id="not even when it repeats"),
        pytest.param([(BAD, "pq"), (BAD, "p")], "p", id="until one is alone"),
        pytest.param([(BAD, "s")], "", id="a server has a second chance"),
        pytest.param([(BAD, "s"), (BAD, "s")], "s", id="but no third"),
        pytest.param([(BAD, "s"), (BAD, "t")], "", id="each its own"),
        pytest.param([(GOOD, "")], "", id="a good piece harms nobody"),
        pytest.param([(GOOD, "p")], "p", id="shown to have given another block than the good one"),
        pytest.param([(GOOD, "pq")], "pq", id="both shown"),
        pytest.param([(GOOD, "sp"), (BAD, "s")], "ps", id="both kinds of proof count"),
        pytest.param([(BAD, "x")], "x", id="a source that has left meanwhile is no server"),
    ],
)
def test_who_is_banned(history: list[tuple[bool, str]], banned: str) -> None:
    reputation = Reputation()
    told = [fault for verdict in verdicts(*history) for fault in reputation.judge(verdict, KINDS)]
    assert sorted(fault.label for fault in told if fault.banned) == sorted(banned)
    assert all(fault.reason.startswith(fault.label) and "piece" in fault.reason for fault in told)
    assert all(reputation.is_at_fault(fault.label) for fault in told)
    assert {label for label in (*KINDS, "x") if reputation.is_banned(label)} == set(banned)


def faults(reputation: Reputation, verdict: Verdict) -> list[tuple[str, bool]]:
    return [(fault.label, fault.banned) for fault in reputation.judge(verdict, KINDS)]


def test_one_fault_is_not_counted_twice() -> None:
    reputation = Reputation()
    assert not reputation.is_at_fault("s")
    assert faults(reputation, Verdict(3, BAD, frozenset("s"))) == [("s", False)]
    assert reputation.is_at_fault("s")
    assert faults(reputation, Verdict(3, GOOD, frozenset("s"))) == [], "the proof of what was charged"
    assert faults(reputation, Verdict(4, GOOD, frozenset("s"))) == [("s", True)]


def test_a_server_that_spoils_one_piece_again_and_again_is_banned() -> None:
    reputation = Reputation()
    bad = Verdict(3, BAD, frozenset("s"))
    assert faults(reputation, bad) == [("s", False)]
    assert faults(reputation, bad) == [("s", True)]


def test_a_ban_is_told_once() -> None:
    reputation = Reputation()
    bad = Verdict(0, BAD, frozenset("p"))
    assert faults(reputation, bad) == [("p", True)]
    assert faults(reputation, bad) == []


def test_a_piece_that_fails_whatever_one_does_is_hopeless() -> None:
    reputation = Reputation()
    bad, other = Verdict(3, BAD, frozenset("pq")), Verdict(4, BAD, frozenset("pq"))
    for i in range(HOPELESS):
        assert not reputation.hopeless(bad), i
        list(reputation.judge(bad, KINDS))
    assert reputation.hopeless(bad)
    assert not reputation.hopeless(other)
