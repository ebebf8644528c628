"""Are a source's wishes heard: what it suggests first, and nothing else from one that serves nothing else?"""

from random import Random

from p2sp.resource.layout import Layout
from p2sp.schedule.scheduler import RANDOM_FIRST, Scheduler
from p2sp.schedule.spans import Kind
from p2sp.schedule.standing import Hints

PIECE = 256 * 1024
LAYOUT = Layout([64 * PIECE], PIECE)


def test_what_a_peer_suggests_comes_first() -> None:
    scheduler = Scheduler(LAYOUT, rng=Random(1))
    scheduler.add_source("peer", Kind.PEER, -1, 0.0, hints=lambda: Hints((40, 7)))
    spans = []
    for _ in range(2):
        assignment = scheduler.next_span("peer", 0.0)
        assert assignment is not None
        spans.append(assignment.span)
    assert [(span.start // PIECE, span.stop // PIECE) for span in spans] == [(40, 41), (7, 8)]


def test_who_chokes_us_is_asked_for_what_it_allows_alone() -> None:
    scheduler = Scheduler(LAYOUT, rng=Random(1))
    scheduler.add_source("peer", Kind.PEER, -1, 0.0, hints=lambda: Hints((9,), only=True))
    first = scheduler.next_span("peer", 0.0)
    assert first is not None
    assert (first.span.start, first.span.stop) == (9 * PIECE, 10 * PIECE)
    assert scheduler.next_span("peer", 0.0) is None


def test_a_piece_that_failed_is_not_asked_of_who_does_not_serve_it() -> None:
    scheduler = Scheduler(LAYOUT, rng=Random(1))
    scheduler.add_source("peer", Kind.PEER, -1, 0.0, hints=lambda: Hints((), only=True))
    scheduler.piece_failed(3, frozenset({"other", "another"}), 0.0)
    assert scheduler.next_span("peer", 0.0) is None


def test_the_first_pieces_are_random_then_the_rarest_come() -> None:
    def chosen(verified: int, seed: int) -> int:
        scheduler = Scheduler(LAYOUT, range(verified), rng=Random(seed))
        scheduler.add_source("one", Kind.PEER, -1, 0.0)
        for number in range(5):
            scheduler.add_source(f"most{number}", Kind.PEER, ~(1 << 50), 0.0)
        assignment = scheduler.next_span("one", 0.0)
        assert assignment is not None
        return assignment.span.start // PIECE

    assert len({chosen(RANDOM_FIRST - 1, seed) for seed in range(20)}) > 5
    assert {chosen(RANDOM_FIRST, seed) for seed in range(20)} == {50}
