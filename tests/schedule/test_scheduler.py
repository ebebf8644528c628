"""Does an idle source get the right thing to do?"""

from collections.abc import Collection
from typing import Any

import pytest

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.rescue import FIRST, GRACE, KEEP, KEEP_SECONDS, SETTLE
from p2sp.schedule.scheduler import DRY_WAIT, INNOCENT_FIRST, SERVER_MAX, Mode
from p2sp.schedule.spans import Kind
from tests.schedule.play import Fetch, Play

MIB = 1024 * 1024
PIECE = 256 * 1024


def play_of(length: int = 64 * MIB, **options: Any) -> Play:
    return Play.of(Layout([length], PIECE), **options)


def known(play: Play, key: str, rate: float, kind: Kind = Kind.SERVER, pieces: Collection[int] | None = None) -> None:
    """A source joins of which it is known what it can do."""
    play.join(key, kind, pieces)
    estimate = play.scheduler._sources[key].rate
    for i in range(200):
        estimate.add(round(rate * 0.1), i * 0.1)
    estimate.rest(20.0)
    play.now = max(play.now, 20.0)


def the_rest(play: Play, start: int, stop: int) -> None:
    """Only this is left to be fetched."""
    play.scheduler.free.remove(0, start)
    play.scheduler.free.remove(stop, play.layout.end)


def given(fetch: Fetch | None) -> Fetch:
    """A fetch that there must be."""
    assert fetch is not None, "nothing to do"
    return fetch


def flow(play: Play, fetch: Fetch, rate: float, seconds: float) -> None:
    """A fetch runs steadily for some time."""
    credit = 0.0
    for _ in range(round(seconds / 0.1)):
        play.now += 0.1
        credit += rate * 0.1
        credit -= play.deliver(fetch, int(credit) // BLOCK)


def length_of(fetch: Fetch) -> int:
    return fetch.stop - fetch.span.start


# -- free runs ---------------------------------------------------------------------------------------------------


def test_a_server_begins_small_and_then_gets_some_seconds_at_a_time() -> None:
    play = play_of()
    play.join("s")
    first = given(play.ask("s"))
    assert length_of(first) == FIRST
    flow(play, first, 1e6, 1.1)
    play.end(first)
    second = given(play.ask("s"))
    assert second.span.start == first.stop
    assert length_of(second) == pytest.approx(8e6, rel=0.1)


def test_a_run_has_a_largest_size() -> None:
    play = play_of(200 * MIB)
    play.join("s")
    first = given(play.ask("s"))
    flow(play, first, 1e9, 0.1)
    play.end(first)
    assert length_of(given(play.ask("s"))) == SERVER_MAX


def test_lanes_of_one_server_share_what_it_may_have() -> None:
    play = play_of()
    known(play, "s", 1e6)
    first, second = given(play.ask("s")), given(play.ask("s"))
    assert length_of(first) == pytest.approx(8e6, rel=0.1)
    assert length_of(second) == pytest.approx(4e6, rel=0.1)


def test_a_slow_source_gets_one_piece_at_least() -> None:
    play = play_of()
    play.join("p", Kind.PEER)
    fetch = given(play.ask("p"))
    assert length_of(fetch) == PIECE
    flow(play, fetch, 20_000, 15.0)
    play.end(fetch)
    assert length_of(given(play.ask("p"))) == PIECE


def test_who_had_nothing_to_do_is_not_slow() -> None:
    play = play_of()
    play.join("s")
    first = given(play.ask("s"))
    flow(play, first, 1e6, 1.1)
    play.end(first)
    play.now += 500.0
    assert length_of(given(play.ask("s"))) == pytest.approx(8e6, rel=0.1)


def test_verified_pieces_are_not_fetched() -> None:
    play = Play.of(Layout([4 * PIECE], PIECE), verified=[0, 2, 3])
    play.join("s")
    assert given(play.ask("s")).span.start == PIECE
    assert play.ask("s") is None


def test_a_server_brings_first_what_no_peer_has() -> None:
    play = play_of()
    play.join("s")
    play.join("p", Kind.PEER, set(range(256)) - {50, 52})
    assert {given(play.ask("s")).span.start for _ in range(2)} == {50 * PIECE, 52 * PIECE}
    assert length_of(given(play.ask("s"))) == FIRST


def test_servers_begin_elsewhere_for_each_of_many_who_fetch_the_same() -> None:
    starts = set()
    for seed in range(20):
        play = play_of(seed=seed)
        play.join("s")
        play.join("p", Kind.PEER, ())
        starts.add(given(play.ask("s")).span.start)
    assert len(starts) > 10


def test_in_order_comes_before_rareness() -> None:
    play = play_of(in_order=True)
    play.join("s")
    play.join("p", Kind.PEER, set(range(256)) - {50, 51})
    assert given(play.ask("s")).span.start == 0


# -- tails -------------------------------------------------------------------------------------------------------


def long_fetch(play: Play, key: str, rate: float, seconds: float = 2.0) -> Fetch:
    """A source that owns all the rest of a file, at a pace that is known."""
    known(play, key, rate)
    fetch = given(play.ask(key))
    assert not play.scheduler.free
    flow(play, fetch, rate, seconds)
    return fetch


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
    play.scheduler._budget = 0
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
    long_fetch(play, "s", 1e6, seconds=4.5)
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


# -- pieces that fail --------------------------------------------------------------------------------------------


def failed_piece(*others: str) -> Play:
    """Piece 0, which came from `bad`, turned out wrong; all the rest is out of the way."""
    play = play_of(2 * MIB)
    play.join("bad")
    for key in others:
        play.join(key)
    fetch = given(play.ask("bad"))
    play.deliver(fetch, PIECE // BLOCK)
    play.scheduler.free.remove(0, 2 * MIB)
    play.judge(0, good=False, suspects=["bad"])
    return play


def test_it_is_fetched_as_a_whole_from_another() -> None:
    play = failed_piece("good")
    assert play.ask("bad") is None
    mine = given(play.ask("good"))
    assert (mine.span.start, mine.stop) == (0, PIECE)


def test_from_the_same_if_there_is_no_other() -> None:
    play = failed_piece()
    assert given(play.ask("bad")).span.start == 0


def test_from_the_same_if_the_other_never_asks() -> None:
    play = failed_piece("choking")
    play.now += INNOCENT_FIRST - 0.1
    assert play.ask("bad") is None
    play.now += 0.1
    assert given(play.ask("bad")).span.start == 0


def test_the_bad_bytes_do_not_count_for_the_new_attempt() -> None:
    play = failed_piece("good")
    (first,) = play.fetches
    again = given(play.ask("good"))
    play.end(first)
    assert play.fetches == [again], "the new attempt is not redundant"
    assert play.scheduler.is_missing(again.span)


def test_who_breaks_off_in_the_midst_leaves_the_rest_to_others() -> None:
    play = failed_piece("good", "other")
    again = given(play.ask("good"))
    play.deliver(again, 3)
    play.leave("good")
    rest = given(play.ask("other"))
    assert (rest.span.start, rest.stop) == (3 * BLOCK, PIECE)


def test_it_is_shared_with_nobody_while_it_moves() -> None:
    play = failed_piece("good")
    play.end(play.fetches[0])
    the_rest(play, 0, PIECE)
    again = given(play.ask("good"))
    known(play, "other", 10e6)
    play.now = again.heard
    for _ in range(5):
        play.now += 1.0
        play.deliver(again, 1)
        assert play.ask("other") is None
    play.now += GRACE
    assert play.ask("bad") is None, "it is suspected"
    assert given(play.ask("other")).stop == PIECE


# -- sparing servers ---------------------------------------------------------------------------------------------


def test_servers_rest_while_peers_deliver() -> None:
    play = play_of(mode=Mode.OFFLOAD)
    play.join("s")
    play.join("p", Kind.PEER)
    fetch = given(play.ask("p"))
    assert play.ask("s") is not None, "nothing has come from the peer yet"
    play.leave("s")
    play.join("t")
    flow(play, fetch, 1e6, 0.2)
    assert play.ask("t") is None


def test_servers_bring_what_nobody_else_has() -> None:
    play = play_of(mode=Mode.OFFLOAD)
    play.join("s")
    play.join("p", Kind.PEER, set(range(256)) - {7})
    flow(play, given(play.ask("p")), 1e6, 0.2)
    fetch = given(play.ask("s"))
    assert (fetch.span.start, fetch.stop) == (7 * PIECE, 8 * PIECE)
    assert play.ask("s") is None


def test_servers_hold_the_floor() -> None:
    play = play_of(mode=Mode.OFFLOAD, floor_rate=2e6)
    play.join("s")
    play.join("p", Kind.PEER)
    flow(play, given(play.ask("p")), 1e6, 0.2)
    assert play.ask("s") is not None


def test_servers_help_when_peers_fall_silent() -> None:
    play = play_of(mode=Mode.OFFLOAD)
    play.join("s")
    play.join("p", Kind.PEER)
    flow(play, given(play.ask("p")), 1e6, 0.2)
    play.now += GRACE
    assert play.ask("s") is not None


def test_a_peer_that_comes_late_relieves_the_server() -> None:
    play = play_of(7 * MIB, mode=Mode.OFFLOAD)
    fetch = long_fetch(play, "s", 1e6)
    owed = fetch.stop
    play.join("p", Kind.PEER)
    mine = given(play.ask("p"))
    assert mine.span.start == fetch.stop <= fetch.at + KEEP + BLOCK
    assert length_of(mine) == FIRST
    assert list(play.scheduler.free) == [(mine.stop, owed)]


# -- trees -------------------------------------------------------------------------------------------------------


def test_a_tree_of_short_files_is_fetched_whole() -> None:
    layout = Layout([1, 0, PIECE + 1, 3 * PIECE, 7], PIECE)
    play = Play.of(layout)
    play.join("s")
    play.join("p", Kind.PEER)
    for key in ("s", "p") * 6:
        if (fetch := play.ask(key)) is not None:
            play.deliver(fetch, 1000)
            play.end(fetch)
    assert play.filled() == list(range(layout.piece_count))
