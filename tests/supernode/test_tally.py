"""Is what the processes of a super node do added up?"""

from collections import Counter

from p2sp.supernode.tally import SILENT, Account, Tally


def test_answers_and_connections_of_all() -> None:
    now, own = 100.0, [Counter({"200": 3}), Counter({"206": 1})]
    tally = Tally(lambda: now, lambda: own, lambda: 7)
    assert (tally.answers, tally.connections) == ({"200": 3, "206": 1}, {"0": 7})
    tally.heard(Account(2, {}, {"200": 5, "404": 1}, 4))
    tally.heard(Account(1, {}, {"206": 2}, 0))
    tally.heard(Account(1, {}, {"206": 2}, 1))
    assert tally.answers == {"200": 8, "206": 5, "404": 1}
    assert tally.connections == {"0": 7, "1": 1, "2": 4}
    own[0]["200"] += 1
    assert tally.answers["200"] == 9


def test_the_connections_of_who_is_gone_are_gone_but_not_what_it_did() -> None:
    now = 100.0
    tally = Tally(lambda: now, list, lambda: 0)
    tally.heard(Account(1, {}, {"200": 5}, 4))
    now += SILENT
    assert (tally.answers, tally.connections) == ({"200": 5}, {"0": 0})
