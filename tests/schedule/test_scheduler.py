"""Does an idle source get the right thing to do?"""

import pytest

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.rescue import FIRST, GRACE, KEEP
from p2sp.schedule.retries import INNOCENT_FIRST
from p2sp.schedule.spans import Kind, Mode
from p2sp.schedule.standing import SERVER_MAX
from tests.schedule.kit import MIB, PIECE, flow, given, known, length_of, long_fetch, play_of, the_rest
from tests.schedule.play import Play

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
    assert play.ask("s") is None
    flow(play, fetch, 1e6, 0.2)
    assert play.ask("s") is None
    play.now += GRACE
    assert play.ask("s") is not None, "the peer has fallen silent"


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


# -- who has still to prove itself -------------------------------------------------------------------------------


def on_trial(*others: str) -> Play:
    """A server `s`, beside others that are proven."""
    play = play_of(trials=True)
    for key in (*others, "s"):
        play.join(key)
    for number, key in enumerate(others):
        fetch = given(play.ask(key))
        assert length_of(fetch) == PIECE
        play.deliver(fetch, PIECE // BLOCK)
        play.end(fetch)
        play.judge(play.filled()[0], good=True)
        assert len(play.verified) == number + 1
    return play


def test_a_new_server_gets_one_piece_and_more_once_that_is_good() -> None:
    play = on_trial("proven")
    first = given(play.ask("s"))
    assert length_of(first) == PIECE
    assert play.ask("s") is None
    play.deliver(first, PIECE // BLOCK)
    play.end(first)
    assert play.ask("s") is None, "its piece is not judged yet"
    play.judge(play.filled()[0], good=True)
    assert length_of(given(play.ask("s"))) >= FIRST
    assert play.ask("s") is not None


def test_a_server_alone_need_not_prove_itself() -> None:
    play = play_of(trials=True)
    play.join("s")
    assert length_of(given(play.ask("s"))) == FIRST
    assert play.ask("s") is not None


def test_who_is_distrusted_starts_anew() -> None:
    play = on_trial("one", "two")
    long = given(play.ask("one"))
    play.deliver(long, 3)
    play.disown("one")
    assert long.span.start in play.scheduler.free, "what it gave is to be had anew"
    assert length_of(given(play.ask("one"))) == PIECE
    assert play.ask("one") is None


def test_a_verdict_that_does_not_come_is_not_waited_for_for_ever() -> None:
    play = on_trial("proven")
    first = given(play.ask("s"))
    play.deliver(first, PIECE // BLOCK)
    play.end(first)
    play.now += GRACE
    assert length_of(given(play.ask("s"))) == PIECE


def test_who_breaks_off_on_trial_may_go_on_with_that_piece() -> None:
    play = on_trial("proven")
    first = given(play.ask("s"))
    play.deliver(first, 3)
    play.end(first)
    assert given(play.ask("s")).span.start == first.span.start + 3 * BLOCK


def test_a_piece_is_shared_with_who_is_on_trial_only_where_it_takes_long() -> None:
    for seconds, shared in ((1.0, False), (8.0, True)):
        play = on_trial("owner")
        the_rest(play, 8 * MIB, 8 * MIB + PIECE)
        fetch = given(play.ask("owner"))
        flow(play, fetch, PIECE / seconds, seconds * 0.3)
        assert (play.ask("s") is not None) == shared


def test_servers_get_no_more_than_their_share_at_once() -> None:
    play = play_of()
    for key in ("a", "b", "c"):
        known(play, key, 4e6)
    known(play, "slow", 1e5)
    fetch = given(play.ask("a"))
    assert length_of(fetch) == pytest.approx(64 * MIB / 3 / 2, rel=0.1)
    assert length_of(given(play.ask("slow"))) <= FIRST
