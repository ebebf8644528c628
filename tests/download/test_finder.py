"""Does a transfer announce itself to the right trackers, at the right times?"""

from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.iweb import IResponse

from p2sp.download.finder import FIRST_RETRY, GOODBYE, LONGEST_RETRY, MAX_TRACKERS
from p2sp.net.api_client import CLOSING
from p2sp.schedule.spans import Kind
from p2sp.sources.interfaces import Candidate
from p2sp.tracker.schema import AnnounceAnswer, Event, Node, Scope, TrackerRef
from tests.download.trackers import INTERVAL, Hunt, TrackerAgent
from tests.storage.kit import now

OTHER, SUPER = "22" * 32, "33" * 32


def test_it_announces_at_once_and_then_in_the_rhythm_asked_for() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(4 * INTERVAL)
    assert tracker.events[0] is Event.STARTED
    assert set(tracker.events[1:]) == {Event.PROGRESS}
    assert tracker.times[0] <= 0.1
    assert all(INTERVAL * 0.8 <= after - before <= INTERVAL * 1.11 for before, after in pairwise(tracker.times))
    assert hunt.finder.answered
    assert hunt.news == []
    hunt.stop()


def test_nodes_are_handed_on_with_what_is_known_of_them() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    now(tracker.knows(OTHER, port=7001))
    now(tracker.knows(SUPER, port=7002, supernode=True))
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    assert sorted(hunt.found, key=lambda candidate: candidate.port) == [
        Candidate(Kind.PEER, OTHER, "127.0.0.2", 7001, have=0.5),
        Candidate(Kind.SUPERNODE, SUPER, "127.0.0.2", 7002, have=0.5),
    ]
    hunt.run(INTERVAL * 1.2)
    assert len(hunt.found) == 4, "each time they are named"
    hunt.stop()


def test_whether_a_node_is_near_is_what_the_tracker_says() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    tracker.answer = lambda: AnnounceAnswer(30.0, "e", "::1", isp="isp-7", nodes=[Node(OTHER, "::2", 9, local=True)])
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    assert hunt.found == [Candidate(Kind.PEER, OTHER, "::2", 9, local=True)]
    assert hunt.finder.isp == "isp-7"
    hunt.stop()


def test_completed_does_not_wait_for_its_turn() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(5.0)
    hunt.finder.announce(Event.COMPLETED)
    hunt.run(1.0)
    assert tracker.events == [Event.STARTED, Event.COMPLETED]
    hunt.run(INTERVAL * 1.2)
    assert tracker.events[2:] == [Event.PROGRESS]
    hunt.stop()


def test_completed_during_an_announce_comes_right_after_it() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    waiting: Deferred[AnnounceAnswer] = Deferred()
    tracker.answer = lambda: waiting
    tracker.hangs = True
    hunt.finder.announce(Event.PROGRESS)
    hunt.run(0.5)
    hunt.finder.announce(Event.COMPLETED)
    tracker.hangs, tracker.answer = False, None
    hunt.run(60.0)
    assert tracker.events.count(Event.COMPLETED) == 1
    hunt.stop()


# -- home --------------------------------------------------------------------------------------------------------


def test_the_first_tracker_is_home_and_no_other() -> None:
    clock = Clock()
    first, second = TrackerAgent(clock), TrackerAgent(clock)
    hunt = Hunt("first", "second", clock=clock, first=first, second=second)
    hunt.run(3 * INTERVAL)
    assert set(first.homes) == {True}
    assert set(second.homes) == {False}
    hunt.stop()


def with_local() -> tuple[Hunt, TrackerAgent, TrackerAgent]:
    clock = Clock()
    first = TrackerAgent(clock, others=(TrackerRef("https://local", Scope.LOCAL),))
    local = TrackerAgent(clock, scope=Scope.LOCAL)
    return Hunt("first", clock=clock, first=first, local=local), first, local


def test_a_local_tracker_that_is_handed_out_becomes_home() -> None:
    hunt, first, local = with_local()
    now(local.knows(OTHER))
    hunt.run(4 * INTERVAL)
    assert local.events[0] is Event.STARTED
    assert first.homes[0]
    assert not any(first.homes[1:])
    assert all(local.homes[1:])
    assert hunt.found[0].node_id == OTHER
    hunt.stop()


def test_home_goes_back_while_the_local_tracker_is_away() -> None:
    hunt, first, local = with_local()
    hunt.run(2 * INTERVAL)
    local.down = True
    hunt.run(3 * INTERVAL)
    assert first.homes[-1]
    local.down = False
    hunt.run(5 * INTERVAL)
    assert not first.homes[-1]
    assert local.homes[-1]
    assert hunt.news == [
        "tracker https://local does not answer: https://local/v1/announce cannot be reached: "
        "Connection was refused by other side",
        "tracker https://local answers again",
    ]
    hunt.stop()


def test_the_second_is_home_while_the_first_is_away() -> None:
    clock = Clock()
    first, second = TrackerAgent(clock), TrackerAgent(clock)
    first.down = True
    hunt = Hunt("first", "second", clock=clock, first=first, second=second)
    hunt.run(3 * INTERVAL)
    assert set(second.homes[1:]) == {True}
    hunt.stop()


# -- trackers that come and go -----------------------------------------------------------------------------------


class Attempts(TrackerAgent):
    """Notes when it was called although it is down."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.tries: list[float] = []
        self.down = True

    def request(self, *args: Any, **kwargs: Any) -> "Deferred[IResponse]":
        self.tries.append(self._clock.seconds())
        return super().request(*args, **kwargs)


def test_one_that_is_away_is_tried_later_and_later() -> None:
    clock = Clock()
    tracker = Attempts(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(900.0)
    waits = [after - before for before, after in pairwise(tracker.tries)]
    for i, wait in enumerate(waits):
        longest = min(FIRST_RETRY * 2.0**i, LONGEST_RETRY)
        assert longest * 0.5 <= wait <= longest + 0.2
    assert len(waits) > 8
    assert not hunt.finder.answered
    assert len(hunt.news) == 1, "told once"
    hunt.stop()


def test_one_that_says_nothing_is_given_up_in_time() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    tracker.hangs = True
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(11.0)
    assert "no answer within 10 s" in hunt.news[0]
    tracker.hangs = False
    hunt.run(5.0)
    assert tracker.events == [Event.STARTED]
    assert hunt.news[1] == "tracker https://a answers again"
    hunt.stop()


def test_one_that_lost_its_memory_hears_us_again_within_seconds_not_all_at_once() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(2 * INTERVAL)
    count = len(tracker.heard)
    tracker.forget()
    hunt.run(1.2 * INTERVAL)
    assert tracker.events[count : count + 2] == [Event.PROGRESS, Event.STARTED]
    assert 0.4 <= tracker.times[count + 1] - tracker.times[count] <= 4.2
    hunt.run(INTERVAL)
    assert tracker.events[count + 2] is Event.PROGRESS
    hunt.stop()


def test_one_that_was_away_for_long_hears_us_within_its_interval_after_it_is_back() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(INTERVAL)
    tracker.down = True
    hunt.run(20 * INTERVAL)
    tracker.down = False
    tracker.forget()
    count = len(tracker.heard)
    hunt.run(1.1 * INTERVAL)
    assert len(tracker.heard) > count
    hunt.stop()


def test_a_refusal_is_news_and_not_the_end() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)

    def refuse() -> AnnounceAnswer:
        raise ValueError

    tracker.answer = refuse
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    assert "refused (500 internal)" in hunt.news[0]
    tracker.answer = None
    hunt.run(5.0)
    assert hunt.finder.answered
    hunt.stop()


def test_nonsense_is_news_and_not_the_end() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    tracker.answer = lambda: {"interval": -5}
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    assert "cannot be used" in hunt.news[0]
    hunt.stop()


def test_an_interval_is_bounded() -> None:
    clock = Clock()
    hasty, lazy = TrackerAgent(clock), TrackerAgent(clock)
    hasty.answer = lambda: AnnounceAnswer(0.001, "e", "::1")
    lazy.answer = lambda: AnnounceAnswer(86400.0, "e", "::1")
    hunt = Hunt("hasty", "lazy", clock=clock, hasty=hasty, lazy=lazy)
    hunt.run(20.0)
    assert 15 <= len(hasty.heard) <= 25
    hasty.down = True
    hunt.run(3700.0, step=1.0)
    assert len(lazy.heard) == 2
    hunt.stop()


def test_trackers_named_by_others_are_bounded_and_may_be_nonsense() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    refs = [TrackerRef(url, Scope.LOCAL) for url in ("nonsense", "ftp://x", *(f"https://t{i}" for i in range(14)))]
    tracker.answer = lambda: AnnounceAnswer(30.0, "e", "::1", trackers=refs, nodes=[Node(OTHER, "::2", 9)])
    others = {f"t{i}": TrackerAgent(clock) for i in range(14)}
    hunt = Hunt("a", clock=clock, a=tracker, **others)
    hunt.run(INTERVAL * 1.2)
    assert sum(bool(agent.heard) for agent in others.values()) == MAX_TRACKERS - 1
    assert hunt.found[0].node_id == OTHER
    assert hunt.news[0].startswith("tracker 'nonsense' cannot be used")
    assert len(tracker.heard) == 2, "the one that named them is asked on"
    hunt.stop()


# -- leaving -----------------------------------------------------------------------------------------------------


def test_leaving_is_told_to_those_that_answer() -> None:
    clock = Clock()
    here, away = TrackerAgent(clock), Attempts(clock)
    hunt = Hunt("here", "away", clock=clock, here=here, away=away)
    hunt.run(3.0)
    tries = len(away.tries)
    assert hunt.stop() <= 1.0
    assert here.events == [Event.STARTED, Event.STOPPED]
    assert here.homes[-1]
    assert len(away.tries) == tries


def test_a_tracker_that_does_not_hear_the_goodbye_holds_nobody_up() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    tracker.hangs = True
    assert GOODBYE <= hunt.stop() + 0.1 <= GOODBYE + CLOSING + 0.5


def test_leaving_in_the_midst_of_an_announce() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    tracker.hangs = True
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    assert hunt.stop() <= CLOSING + 0.5
    assert hunt.news == []


def test_the_last_counters_go_to_two_trackers_home_first() -> None:
    clock = Clock()
    trackers = [TrackerAgent(clock) for _ in range(3)]
    hunt = Hunt("a", "b", "c", clock=clock, a=trackers[0], b=trackers[1], c=trackers[2])
    hunt.run(1.0)
    hunt.stop()
    assert [each.events for each in trackers] == [[Event.STARTED, Event.STOPPED]] * 3
    assert [each.homes[-1] for each in trackers] == [True, True, False]


def test_the_last_counters_survive_a_home_that_has_just_died() -> None:
    clock = Clock()
    home, other = TrackerAgent(clock), TrackerAgent(clock)
    hunt = Hunt("home", "other", clock=clock, home=home, other=other)
    hunt.run(1.0)
    assert home.homes[-1]
    assert not other.homes[-1]
    home.down = True
    hunt.stop()
    assert (other.events[-1], other.homes[-1]) == (Event.STOPPED, True)


def test_who_is_done_before_the_first_answer_tells_its_counters_all_the_same() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.stop()
    assert tracker.events[-1] is Event.STOPPED
    assert tracker.homes[-1]


def test_a_tracker_that_has_come_back_unnoticed_hears_the_last_counters() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    tracker.down = True
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(40.0)
    assert not hunt.finder.answered
    tracker.down = False
    assert hunt.stop() <= 1.0
    assert tracker.events == [Event.STOPPED]
    assert tracker.homes == [True]


def test_who_does_not_want_to_wait_for_the_goodbye_just_goes() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    tracker.hangs = True
    over: list[object] = []
    leaving = hunt.finder.stop().addBoth(over.append)
    assert over == []
    leaving.cancel()
    assert over == [None]
    hunt.run(CLOSING + 0.5)
    assert clock.getDelayedCalls() == []


def test_nothing_is_announced_after_leaving() -> None:
    clock = Clock()
    tracker = TrackerAgent(clock)
    hunt = Hunt("a", clock=clock, a=tracker)
    hunt.run(1.0)
    hunt.stop()
    hunt.finder.announce(Event.COMPLETED)
    hunt.run(2 * INTERVAL)
    assert tracker.events == [Event.STARTED, Event.STOPPED]


def test_without_trackers_there_is_nobody_to_tell() -> None:
    hunt = Hunt()
    hunt.run(5.0)
    assert not hunt.finder.answered
    assert hunt.stop() <= 0.1
