"""Is a slow or silent fetch rescued by who can, and by nobody else?"""

import pytest

from p2sp.resource.merkle import BLOCK
from p2sp.schedule.rescue import FIRST, GRACE, KEEP, KEEP_SECONDS, SETTLE
from p2sp.schedule.spans import Kind
from p2sp.schedule.standing import DRY_WAIT
from tests.schedule.kit import MIB, PIECE, flow, given, known, length_of, long_fetch, play_of, the_rest

# -- tails -------------------------------------------------------------------------------------------------------


def test_the_tail_of_a_slow_fetch_is_taken() -> None:
    play = play_of(FIRST)
    play.join("slow")
    slow = given(play.ask("slow"))
    known(play, "fast", 10e6)
    flow(play, slow, 100e3, 3.0)
    taken = given(play.ask("fast"))
    assert (taken.span.start, taken.stop) == (slow.stop, FIRST)
    assert 0 < slow.stop - slow.at <= 100e3 * KEEP_SECONDS + BLOCK
    play.check()


@pytest.mark.parametrize(("kind", "helps"), [(Kind.SERVER, True), (Kind.PEER, False), (Kind.SUPERNODE, False)])
def test_a_node_takes_nothing_from_itself(kind: Kind, helps: bool) -> None:
    """A server answers two requests side by side, a node one after the other."""
    play = play_of(4 * MIB)
    known(play, "it", 50e3, kind)
    the_rest(play, 0, MIB)
    while play.scheduler.free:
        fetch = given(play.ask("it"))
    flow(play, fetch, 50e3, 1.0)
    assert (play.ask("it") is not None) is helps


def test_nobody_is_judged_before_his_pace_is_known() -> None:
    play = play_of(FIRST)
    known(play, "fast", 10e6)
    play.join("slow")
    slow = given(play.ask("slow"))
    flow(play, slow, 200e3, SETTLE - 0.2)
    assert play.ask("fast") is None
    flow(play, slow, 200e3, 0.3)
    assert play.ask("fast") is not None


def test_whose_pace_is_known_from_before_needs_no_time_to_settle() -> None:
    play = play_of(FIRST)
    known(play, "slow", 100e3)
    known(play, "fast", 10e6)
    the_rest(play, 0, PIECE * 3)
    slow = given(play.ask("slow"))
    flow(play, slow, 100e3, 0.2)
    assert play.ask("fast") is not None


def test_what_may_be_under_way_stays_with_a_fast_owner() -> None:
    play = play_of(6 * MIB)
    fetch = long_fetch(play, "s", 1e6)
    known(play, "fast", 1e9)
    given(play.ask("fast"))
    assert KEEP <= fetch.stop - fetch.at <= KEEP + BLOCK


def test_a_silent_fetch_loses_all_it_owes() -> None:
    play = play_of(FIRST)
    known(play, "good", 400e3)
    play.join("silent")
    victim = given(play.ask("silent"))
    play.deliver(victim, 3)
    play.now += GRACE
    taken = given(play.ask("good"))
    assert (taken.span.start, taken.stop) == (victim.at, victim.span.stop)
    assert victim.stop == victim.at


def test_before_the_grace_is_over_a_fetch_without_a_byte_keeps_its_tail() -> None:
    play = play_of(FIRST)
    known(play, "good", 1e6)
    play.join("late")
    late = given(play.ask("late"))
    play.scheduler._rescuer._budget = 0
    play.now += GRACE - 0.1
    assert play.ask("good") is None
    play.now += 0.1
    assert given(play.ask("good")).span.start == late.span.start


def test_a_stranger_begins_with_a_little_of_a_long_tail() -> None:
    play = play_of(7 * MIB)
    fetch = long_fetch(play, "s", 1e6)
    play.join("new")
    mine = given(play.ask("new"))
    assert mine.span.start == fetch.stop
    assert length_of(mine) == FIRST


def test_a_stranger_gets_nothing_of_what_is_nearly_done() -> None:
    play = play_of(7 * MIB)
    long_fetch(play, "s", 1e6, seconds=6.9)
    play.join("new")
    assert play.ask("new") is None


def test_who_is_much_slower_is_no_help() -> None:
    play = play_of(7 * MIB)
    known(play, "slow", 100e3)
    long_fetch(play, "s", 1e6)
    assert play.ask("slow") is None


def test_equal_halves_for_equal_servers() -> None:
    play = play_of(7 * MIB)
    known(play, "t", 1e6)
    fetch = long_fetch(play, "s", 1e6)
    left = fetch.stop - fetch.at
    assert length_of(given(play.ask("t"))) == pytest.approx(left / 2, rel=0.1)


def test_a_peer_takes_what_it_has_of_a_tail_and_the_rest_is_free() -> None:
    play = play_of(7 * MIB)
    fetch = long_fetch(play, "s", 1e6)
    known(play, "p", 10e6, Kind.PEER, range(20, 25))
    mine = given(play.ask("p"))
    assert (mine.span.start, mine.stop) == (20 * PIECE, 25 * PIECE)
    assert fetch.stop == 20 * PIECE
    assert list(play.scheduler.free) == [(25 * PIECE, 28 * PIECE)]
    play.check()


def test_who_kept_a_fetch_in_silence_takes_nothing_from_others_for_a_while() -> None:
    play = play_of(FIRST)
    play.join("dead")
    dead = given(play.ask("dead"))
    play.now += GRACE
    play.end(dead)
    play.join("slow")
    given(play.ask("slow"))
    play.now += GRACE
    assert play.ask("dead") is None
    play.now += DRY_WAIT
    assert play.ask("dead") is not None


def test_the_dead_do_not_take_from_each_other_for_ever() -> None:
    play = play_of(FIRST)
    taken = 0
    for key in "ab":
        play.join(key)
    for _ in range(3600):
        for fetch in [fetch for fetch in play.fetches if fetch.at >= fetch.stop or play.now - fetch.heard >= 10.0]:
            play.end(fetch)
        for key in "ab":
            if not any(fetch.source == key for fetch in play.fetches):
                free = bool(play.scheduler.free)
                taken += play.ask(key) is not None and not free
        play.now += 1.0
    assert taken < 60


# -- the end game ------------------------------------------------------------------------------------------------


def test_a_second_copy_of_what_would_take_long_and_no_third() -> None:
    play = play_of(FIRST)
    known(play, "slow", 20e3, Kind.PEER)
    known(play, "a", 10e6)
    known(play, "b", 10e6)
    the_rest(play, 0, 2 * BLOCK)
    slow = given(play.ask("slow"))
    copy = given(play.ask("a"))
    while copy.span.start >= slow.stop:
        copy = given(play.ask("a"))
    assert (copy.span.start, copy.stop) == (slow.at, slow.stop)
    assert play.ask("b") is None


def test_the_budget_for_copies_is_kept() -> None:
    play = play_of(12 * MIB)
    known(play, "fast", 100e6)
    for key in "abcdefgh":
        play.join(key)
        given(play.ask(key))
    the_rest(play, 0, 0)
    play.now += SETTLE
    copies = []
    while (copy := play.ask("fast")) is not None:
        copies.append(length_of(copy))
    assert sum(copies) == play.twice == FIRST


def test_who_loses_the_race_is_told_to_stop() -> None:
    play = play_of(PIECE)
    play.join("slow", Kind.PEER)
    play.join("fast")
    slow = given(play.ask("slow"))
    play.now = SETTLE
    copy = given(play.ask("fast"))
    play.deliver(copy, 1000)
    assert play.scheduler.end(copy.span, play.now) == [slow.span]


def test_what_the_loser_brought_is_not_asked_for_again() -> None:
    play = play_of(PIECE)
    play.join("slow", Kind.PEER)
    play.join("fast")
    slow = given(play.ask("slow"))
    play.now = SETTLE
    copy = given(play.ask("fast"))
    play.deliver(slow, 4)
    play.leave("slow")
    play.end(copy)
    assert list(play.scheduler.free) == [(4 * BLOCK, PIECE)]


# -- several who are silent --------------------------------------------------------------------------------------


def test_of_two_silent_owners_of_a_run_another_takes_the_place_of_one() -> None:
    play = play_of(PIECE)
    for key in ("one", "two"):
        play.join(key, Kind.PEER)
    first = given(play.ask("one"))
    play.now += SETTLE
    second = given(play.ask("two"))
    assert (second.span.start, second.span.stop) == (0, PIECE)
    play.join("good", Kind.PEER)
    play.now += 2 * GRACE
    taken = given(play.ask("good"))
    assert (taken.span.start, taken.stop) == (0, PIECE)
    assert sorted((first.stop, second.stop)) == [0, PIECE]
    play.check()


def test_a_run_shared_with_who_is_not_silent_is_left_to_him() -> None:
    play = play_of(PIECE)
    for key in ("silent", "slow"):
        play.join(key, Kind.PEER)
    given(play.ask("silent"))
    play.now += SETTLE
    slow = given(play.ask("slow"))
    play.join("good", Kind.PEER)
    play.now += GRACE - 1
    play.deliver(slow, 1)
    play.now += 1.5
    assert play.ask("good") is None


def test_who_is_known_to_deliver_takes_over_before_a_stranger() -> None:
    play = play_of(FIRST)
    known(play, "good", 400e3)
    play.join("silent")
    given(play.ask("silent"))
    play.join("stranger")
    play.now += GRACE
    assert play.ask("stranger") is None
    assert play.ask("good") is not None


def test_a_stranger_takes_over_when_who_delivers_does_not() -> None:
    play = play_of(FIRST)
    known(play, "good", 400e3)
    play.join("silent")
    given(play.ask("silent"))
    play.join("stranger")
    play.now += 2 * GRACE
    assert play.ask("stranger") is not None


def test_a_piece_that_failed_goes_to_who_is_known_to_deliver() -> None:
    play = play_of(FIRST)
    known(play, "good", 400e3)
    play.join("stranger")
    play.join("liar")
    the_rest(play, 0, PIECE)
    play.judge(0, good=False, suspects={"liar"})
    mine = play.ask("stranger")
    assert mine is None or mine.span.start >= PIECE
    assert given(play.ask("good")).span.start == 0
