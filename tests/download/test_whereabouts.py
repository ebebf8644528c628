"""Is it told from what trackers said of others whether a node is in our ISP?"""

from random import Random

import pytest
from twisted.internet.task import Clock

from p2sp.download.whereabouts import MOST, QUESTIONS, Whereabouts


def silent() -> Whereabouts:
    return Whereabouts(Clock(), Random(1), lambda: None)


@pytest.mark.parametrize(
    ("told", "asked", "local"),
    [
        ([], "198.51.100.7", False),
        ([("198.51.100.7", True)], "198.51.100.7", True),
        ([("198.51.100.7", True)], "198.51.100.200", True),
        ([("198.51.100.7", True)], "198.51.101.7", False),
        ([("198.51.100.7", False)], "198.51.100.200", False),
        ([("198.51.100.7", True), ("198.51.100.8", False)], "198.51.100.200", False),
        ([("198.51.100.7", True), ("198.51.100.8", False)], "198.51.100.7", True),
        ([("198.51.100.7", True), ("198.51.100.8", False)], "198.51.100.8", False),
        ([("2001:db8:1::1", True)], "2001:db8:1:ffff::2", True),
        ([("2001:db8:1::1", True)], "2001:db8:2::1", False),
        ([("a.example", True)], "b.example", False),
    ],
)
def test_neighbours_are_where_the_others_are(told: list[tuple[str, bool]], asked: str, local: bool) -> None:
    where = silent()
    for host, said in told:
        where.told(host, local=said)
    assert where.is_local(asked) is local


def test_no_more_is_remembered_than_it_may_be() -> None:
    where = silent()
    for number in range(MOST + 10):
        where.told(f"host{number}.example", local=True)
    assert where.is_local(f"host{MOST - 1}.example")
    assert not where.is_local(f"host{MOST}.example")


def test_trackers_are_asked_about_who_called_us_a_few_times() -> None:
    clock, asked = Clock(), []
    where = Whereabouts(clock, Random(1), lambda: asked.append(clock.seconds()))
    where.met("198.51.100.7")
    where.met("198.51.100.8")
    clock.pump([0.1] * 2)
    assert len(asked) == 1
    where.told("198.51.100.7", local=True)
    clock.pump([0.5] * 200)
    assert len(asked) == QUESTIONS


def test_nobody_is_asked_about_who_is_known() -> None:
    clock, asked = Clock(), []
    where = Whereabouts(clock, Random(1), lambda: asked.append(clock.seconds()))
    where.told("198.51.100.7", local=False)
    where.met("198.51.100.7")
    assert not clock.getDelayedCalls()
    where.met("198.51.100.8")
    where.told("198.51.100.8", local=True)
    clock.pump([1.0] * 20)
    assert not asked
    where.met("198.51.100.9")
    where.stop()
    assert not clock.getDelayedCalls()
