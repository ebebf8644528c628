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
    told = [pair for verdict in verdicts(*history) for pair in reputation.judge(verdict, KINDS)]
    assert sorted(label for label, _ in told) == sorted(banned)
    assert all(reason.startswith(label) and "piece" in reason for label, reason in told)
    assert {label for label in (*KINDS, "x") if reputation.is_banned(label)} == set(banned)


def test_one_fault_is_not_counted_twice() -> None:
    reputation = Reputation()
    assert list(reputation.judge(Verdict(3, BAD, frozenset("s")), KINDS)) == []
    assert list(reputation.judge(Verdict(3, GOOD, frozenset("s")), KINDS)) == [], "the proof of what was charged"
    assert [label for label, _ in reputation.judge(Verdict(4, GOOD, frozenset("s")), KINDS)] == ["s"]


def test_a_server_that_spoils_one_piece_again_and_again_is_banned() -> None:
    reputation = Reputation()
    bad = Verdict(3, BAD, frozenset("s"))
    assert list(reputation.judge(bad, KINDS)) == []
    assert [label for label, _ in reputation.judge(bad, KINDS)] == ["s"]


def test_a_ban_is_told_once() -> None:
    reputation = Reputation()
    bad = Verdict(0, BAD, frozenset("p"))
    assert len(list(reputation.judge(bad, KINDS))) == 1
    assert list(reputation.judge(bad, KINDS)) == []


def test_a_piece_that_fails_whatever_one_does_is_hopeless() -> None:
    reputation = Reputation()
    bad, other = Verdict(3, BAD, frozenset("pq")), Verdict(4, BAD, frozenset("pq"))
    for i in range(HOPELESS):
        assert not reputation.hopeless(bad), i
        list(reputation.judge(bad, KINDS))
    assert reputation.hopeless(bad)
    assert not reputation.hopeless(other)
