"""Is a server left alone while who has it all nearby is being called, and not for longer?"""

from random import Random

from twisted.internet.task import Clock

from p2sp.download.company import EXPECT, LISTEN, Company
from p2sp.resource.layout import Layout
from p2sp.schedule.border import Myself
from p2sp.schedule.scheduler import BITE, Scheduler
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import Candidate

PIECE = 256 * 1024
NEAR = Candidate(Kind.SUPERNODE, "near", "192.0.2.1", 1, local=True, have=1.0)
FAR = Candidate(Kind.PEER, "far", "198.51.100.1", 1, have=1.0)


class Scene:
    """A download that has one server; `pumped` counts how often its sources were to be fed."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.scheduler = Scheduler(Layout([64 * PIECE], PIECE), rng=Random(1), myself=Myself("me", b"resource"))
        self.scheduler.add_source("server", Kind.SERVER, -1, 0.0)
        self.pumped = 0
        self.company = Company(self.clock, self.scheduler, self.pump)

    def pump(self) -> None:
        self.pumped += 1

    def asked(self) -> Span | None:
        """What the server is asked for now, and gives at once."""
        now = self.clock.seconds()
        assignment = self.scheduler.next_span("server", now)
        if assignment is None:
            return None
        self.scheduler.delivered(assignment.span, assignment.span.start, assignment.span.stop, now)
        self.scheduler.end(assignment.span, now)
        return assignment.span


def test_until_a_tracker_answers_there_is_a_bite() -> None:
    scene = Scene()
    scene.company.listen()
    first = scene.asked()
    assert first is not None
    assert first.length == BITE
    assert scene.asked() is None
    scene.company.answered()
    assert scene.pumped == 1
    assert scene.asked() is not None


def test_no_answer_is_waited_for_only_so_long() -> None:
    scene = Scene()
    scene.company.listen()
    assert scene.asked() is not None
    scene.clock.advance(LISTEN / 2)
    assert scene.asked() is None
    scene.clock.advance(LISTEN / 2)
    assert scene.asked() is not None


def test_a_neighbour_with_everything_is_waited_for_until_it_cannot_be_reached() -> None:
    scene = Scene()
    scene.company.called(NEAR)
    assert scene.asked() is None
    scene.company.unreachable(NEAR)
    assert scene.pumped == 1
    assert scene.asked() is not None


def test_nor_is_it_waited_for_longer_than_a_call_takes() -> None:
    scene = Scene()
    scene.company.called(NEAR)
    scene.clock.advance(EXPECT / 2)
    assert scene.asked() is None
    scene.clock.advance(EXPECT / 2)
    assert scene.asked() is not None


def test_nobody_far_away_is_waited_for() -> None:
    scene = Scene()
    scene.company.called(FAR)
    assert scene.asked() is not None
