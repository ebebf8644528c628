"""What is asked of whom when others in our ISP want the same?"""

from random import Random

import pytest

from p2sp.resource.layout import Layout
from p2sp.schedule.bits import run
from p2sp.schedule.border import Border, Myself
from p2sp.schedule.rescue import GRACE
from p2sp.schedule.scheduler import Scheduler
from p2sp.schedule.spans import Kind, Mode
from p2sp.schedule.standing import SourceState

PIECE = 256 * 1024
PIECES = 64
ALL = run(0, PIECES)
ME = Myself("me", b"resource")


class Scene:
    """A border, a server, peers inside and outside, and what we want."""

    def __init__(self, mode: Mode = Mode.FAST, *, inside: int = 3, outside: int = 3, floor: float = 0.0) -> None:
        self.border = Border(ME, PIECES, mode=mode, in_order=False, floor_rate=floor, rng=Random(1))
        self.border.begin(0.0)
        self.server = SourceState(Kind.SERVER, ALL)
        self.near = [SourceState(Kind.PEER, 0, inside=True, node=f"near{n}") for n in range(inside)]
        self.far = [SourceState(Kind.PEER, 0, node=f"far{n}") for n in range(outside)]
        self.wanted = ALL
        for source in (*self.near, *self.far):
            self.border.joined(source, 0.0)

    def has(self, source: SourceState, pieces: int, now: float = 0.0) -> None:
        before, source.pieces = source.pieces, pieces
        self.border.gained(source, before, now)

    def may(self, source: SourceState, now: float = 0.0, free: int | None = None) -> int:
        sources = [self.server, *self.near, *self.far]
        union = 0
        for tier in self.border.tiers(source, sources, self.wanted, self.wanted if free is None else free, PIECE, now):
            union |= tier
        return union

    def moves(self, source: SourceState, rate: float, now: float) -> None:
        """Bytes come steadily for some seconds, until now."""
        source.running, source.heard = 1, now
        for tenth in range(50):
            at = now - 5.0 + tenth / 10
            source.rate.add(int(rate / 10), at)
            self.border.delivered(source, at)
        self.border.delivered(source, now)


def test_alone_there_is_no_border() -> None:
    scene = Scene(inside=0)
    assert not scene.border.guarded
    assert scene.may(scene.server) == scene.may(scene.far[0]) == ALL


def test_a_server_brings_our_share_and_whatever_nobody_else_brings_comes_first() -> None:
    scene = Scene()
    share = scene.may(scene.server)
    assert 5 < share.bit_count() < 30
    first = next(iter(scene.border.tiers(scene.server, [scene.server, *scene.near, *scene.far], ALL, ALL, PIECE, 0.0)))
    assert first & ~share == 0
    assert 0 < first.bit_count() < share.bit_count()


def test_others_outside_bring_our_share_and_those_inside_anything() -> None:
    scene = Scene()
    scene.has(scene.near[0], run(0, 40))
    share = scene.may(scene.server)
    assert share & run(0, 40) == 0
    assert scene.may(scene.far[0]) == share
    assert scene.may(scene.near[0]) == ALL


def test_when_nothing_comes_from_inside_anybody_may_bring_it() -> None:
    scene = Scene()
    scene.has(scene.near[0], ALL)
    assert scene.may(scene.server, GRACE - 0.1) == 0
    assert scene.may(scene.server, GRACE) == scene.may(scene.far[0], GRACE) == ALL


@pytest.mark.parametrize(("outside", "may"), [(2e6, ALL), (0.3e6, 0)])
def test_what_is_inside_is_fetched_from_outside_by_who_is_clearly_faster(outside: float, may: int) -> None:
    scene = Scene()
    scene.has(scene.near[0], ALL)
    scene.moves(scene.near[0], 1e6, 10.0)
    scene.moves(scene.far[0], outside, 10.0)
    assert scene.may(scene.far[0], 10.0) == may


def test_as_long_as_the_isp_lacks_something_only_that_crosses() -> None:
    scene = Scene()
    scene.has(scene.near[0], ALL & ~1)
    scene.moves(scene.near[0], 1e6, 10.0)
    scene.moves(scene.server, 9e6, 10.0)
    assert scene.may(scene.server, 10.0) & ~1 == 0
    scene.has(scene.near[0], ALL, 10.0)
    assert scene.may(scene.server, 10.0) == ALL


def test_spared_servers_give_what_nobody_has_and_each_piece_to_one_of_all() -> None:
    scene = Scene(Mode.OFFLOAD)
    share = scene.may(scene.server)
    assert 3 < share.bit_count() < 20
    scene.has(scene.far[0], run(0, 32))
    assert scene.may(scene.server) == share & ~run(0, 32)
    # What others outside have they give, to whoever is to bring it.
    assert scene.may(scene.far[0]) & run(0, 32)


def test_spared_servers_hold_the_floor() -> None:
    scene = Scene(Mode.OFFLOAD, floor=1e6)
    scene.has(scene.near[0], ALL)
    scene.moves(scene.near[0], 2e6, 10.0)
    assert scene.may(scene.server, 10.0) == 0
    scene = Scene(Mode.OFFLOAD, floor=1e6)
    scene.has(scene.near[0], ALL)
    scene.moves(scene.near[0], 0.5e6, 10.0)
    assert scene.may(scene.server, 10.0) == ALL


def test_the_share_of_who_leaves_falls_to_others() -> None:
    scene = Scene(inside=1)
    share = scene.may(scene.server)
    scene.border.left(scene.near.pop())
    assert share != ALL
    assert scene.may(scene.server) == ALL


def test_whoever_brings_nothing_is_not_waited_for_for_ever() -> None:
    scene = Scene()
    mine = scene.may(scene.server)
    for at, piece in enumerate(piece for piece in range(PIECES) if mine >> piece & 1):
        scene.border.verified(piece, 1.0 + at)
        scene.wanted &= ~(1 << piece)
    assert scene.may(scene.server, 500.0) == scene.wanted != 0


def test_the_clock_may_begin_anywhere() -> None:
    long_ago = 1.7e9
    scheduler = Scheduler(Layout([PIECES * PIECE], PIECE), rng=Random(1), myself=ME)
    scheduler.add_source("server", Kind.SERVER, -1, long_ago)
    scheduler.add_source("near", Kind.PEER, 0, long_ago, inside=True, node="near")
    now, brought = long_ago, 0
    while brought < PIECES and now < long_ago + 600.0:
        now += 1.0
        assignment = scheduler.next_span("server", now)
        if assignment is not None:
            scheduler.delivered(assignment.span, assignment.span.start, assignment.span.stop, now)
            scheduler.end(assignment.span, now)
            for piece in range(assignment.span.start // PIECE, assignment.span.stop // PIECE):
                scheduler.piece_verified(piece, now)
                brought += 1
    assert brought == PIECES, "who brings nothing holds us up for ever"


def test_of_the_same_layout_the_scheduler_knows_the_border() -> None:
    scheduler = Scheduler(Layout([PIECES * PIECE], PIECE), rng=Random(1), myself=ME)
    scheduler.add_source("server", Kind.SERVER, -1, 0.0)
    first = scheduler.next_span("server", 0.0)
    assert first is not None
    assert first.span.length == PIECE
    scheduler.add_source("near", Kind.PEER, 0, 0.0, inside=True, node="near")
    assert scheduler.recalled() == []
    scheduler.source_has("near", 1 << 5, 1.0)
    found = scheduler.next_span("near", 1.0)
    assert found is not None
    assert found.span.start == 5 * PIECE
    scheduler.source_is("near", 2.0, inside=False)
    assert scheduler.next_span("server", 2.0) is not None
