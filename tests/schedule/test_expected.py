"""Is what others are about to bring left to them, for a while?"""

from random import Random

from p2sp.resource.layout import Layout
from p2sp.schedule.border import AHEAD, AT_ONCE, Myself
from p2sp.schedule.expected import Expected
from p2sp.schedule.scheduler import BITE, Scheduler
from p2sp.schedule.spans import Kind

PIECE = 256 * 1024
PIECES = 64
ME = Myself("me", b"resource")


def begun() -> Scheduler:
    """A download that has one server."""
    scheduler = Scheduler(Layout([PIECES * PIECE], PIECE), rng=Random(1), myself=ME)
    scheduler.add_source("server", Kind.SERVER, -1, 0.0)
    return scheduler


def test_a_server_gives_a_bite_until_trackers_have_answered() -> None:
    scheduler = begun()
    scheduler.listen(1.0)
    bite = scheduler.next_span("server", 0.0)
    assert bite is not None
    assert bite.span.length == BITE
    assert scheduler.next_span("server", 0.1) is None
    scheduler.delivered(bite.span, bite.span.start, bite.span.stop, 0.2)
    scheduler.end(bite.span, 0.2)
    assert scheduler.next_span("server", 0.2) is None
    scheduler.heard()
    more = scheduler.next_span("server", 0.3)
    assert more is not None
    assert more.span.length > BITE


def test_trackers_that_do_not_answer_are_not_waited_for() -> None:
    scheduler = begun()
    scheduler.listen(1.0)
    bite = scheduler.next_span("server", 0.0)
    assert bite is not None
    scheduler.delivered(bite.span, bite.span.start, bite.span.stop, 0.2)
    scheduler.end(bite.span, 0.2)
    assert scheduler.next_span("server", 0.9) is None
    assert scheduler.next_span("server", 1.0) is not None


def test_who_has_everything_in_our_isp_is_waited_for() -> None:
    scheduler = begun()
    scheduler.expect("near", 0.0, 2.0, whole=True)
    assert scheduler.next_span("server", 1.9) is None
    # It is there, and says at once, or a moment later, what it has.
    scheduler.add_source("near", Kind.SUPERNODE, 0, 1.9, inside=True, node="near")
    assert scheduler.next_span("server", 1.9) is None
    scheduler.source_has("near", -1, 1.9)
    assert scheduler.next_span("server", 1.9) is None
    assert scheduler.next_span("near", 1.9) is not None


def test_who_does_not_come_is_not_waited_for() -> None:
    for given_up in (True, False):
        scheduler = begun()
        scheduler.expect("near", 0.0, 2.0, whole=True)
        assert scheduler.next_span("server", 1.0) is None
        if given_up:
            scheduler.expect_no_more("near")
        assert scheduler.next_span("server", 1.0 if given_up else 2.0) is not None


def pieces_brought(scheduler: Scheduler) -> set[int]:
    """What the server is asked for, piece by piece, without waiting."""
    brought = set()
    while (assignment := scheduler.next_span("server", 0.5)) is not None:
        piece = assignment.span.start // PIECE
        scheduler.delivered(assignment.span, assignment.span.start, assignment.span.stop, 0.5)
        scheduler.end(assignment.span, 0.5)
        scheduler.piece_verified(piece, 0.5)
        brought.add(piece)
    return brought


def test_who_is_expected_has_its_share_as_if_it_were_there() -> None:
    expected, there = begun(), begun()
    for number in range(3):
        expected.expect(f"near{number}", 0.0, 2.0, whole=False)
        there.add_source(f"near{number}", Kind.PEER, 0, 0.0, inside=True, node=f"near{number}")
    share = pieces_brought(expected)
    assert 5 < len(share) < 30
    assert share == pieces_brought(there)


def test_who_turns_out_to_be_elsewhere_has_no_share() -> None:
    scheduler, alone = begun(), begun()
    scheduler.expect("far", 0.0, 2.0, whole=False)
    for each in (scheduler, alone):
        each.add_source("near", Kind.PEER, 0, 0.0, inside=True, node="near")
        each.add_source("far", Kind.PEER, 0, 0.0, node="far")
    assert pieces_brought(scheduler) == pieces_brought(alone)


def test_only_so_much_is_brought_in_at_a_time() -> None:
    scheduler = begun()
    scheduler.add_source("near", Kind.PEER, 0, 0.0, inside=True, node="near")
    for number in range(2 * AT_ONCE):
        scheduler.add_source(f"far{number}", Kind.PEER, -1, 0.0, node=f"far{number}")
    asked = [scheduler.next_span(f"far{number}", 0.0) for number in range(2 * AT_ONCE)]
    running = [each.span for each in asked if each is not None]
    assert len(running) == AT_ONCE
    # As pieces come in, more are on their way: those of some seconds.
    for span in running:
        scheduler.delivered(span, span.start, span.stop - 1, 1.0)
    assert scheduler.next_span(f"far{AT_ONCE}", 1.0) is not None
    assert AHEAD > 0


def test_each_is_expected_until_its_own_time() -> None:
    expected = Expected()
    assert not expected
    expected.add("soon", 1.0, whole=True)
    expected.add("later", 2.0, whole=False)
    assert list(expected.overdue(0.9)) == []
    assert list(expected.overdue(1.0)) == ["soon"]
    assert expected.whole
    assert expected.is_whole("soon")
    assert not expected.is_whole("nobody")
    assert expected.drop("soon")
    assert not expected.drop("soon")
    assert not expected.whole
    assert "later" in expected
