"""What does one node of a simulated swarm do? It asks the product's scheduler, and serves whom its choker chooses."""

from collections.abc import Collection
from random import Random

import attrs

from benchmarks.swarm_simulation.flows import Pipe, Route
from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.border import Myself
from p2sp.schedule.reputation import Reputation
from p2sp.schedule.scheduler import Scheduler
from p2sp.schedule.spans import Kind, Mode, Span
from p2sp.wire.choker import Applicant, Choker

SLOTS = 2
"""Spans that are asked of one source at a time, as over the wire."""

UPLOADS = 8
RESOURCE = b"simulated"


@attrs.define(eq=False)
class Job:
    """A span under way."""

    span: Span
    at: int
    stop: int


@attrs.frozen
class Verdict:
    """What became of a piece (see `p2sp.schedule.reputation.Judged`)."""

    piece: int
    good: bool
    suspects: frozenset[str]


@attrs.define(eq=False)
class Link:
    """What one node is to another: a source that answers one span after another."""

    owner: "Node"
    to: "Node"
    route: Route
    choked: bool = True
    given: float = 0.0
    credit: float = 0.0
    jobs: list[Job] = attrs.field(factory=list)


class Node:
    """A node: what it has, whom it gives to and whom it gets from. `pieces` is a bit for each it has.

    `isp` is None for the origin. A `liar` gives nothing but wrong bytes.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        isp: int | None,
        layout: Layout,
        *,
        up: float,
        down: float,
        mode: Mode,
        once: bool,
        complete: bool,
        liar: bool = False,
        rng: Random,
    ) -> None:
        self.name = name
        self.kind = kind
        self.isp = isp
        self.up = Pipe(up)
        self.down = Pipe(down)
        self.liar = liar
        self.everything = (1 << layout.piece_count) - 1
        self.pieces = self.everything if complete else 0
        self.told = self.pieces
        self.started = 0.0
        self.finished: float | None = None
        self.gone = False
        self.wasted = 0
        self.by_source: dict[tuple[Kind, int | None], int] = {}
        self.sources: dict[str, Link] = {}
        self.takers: dict[str, Link] = {}
        self.banned: set[str] = set()
        self._layout = layout
        self._once = once
        self._rng = rng
        self._choker: Choker[str] = Choker(UPLOADS)
        self._blocks: dict[int, int] = {}
        self._givers: dict[int, str] = {}
        self._running: dict[Span, tuple[Link, Job]] = {}
        self._reputation = Reputation()
        self.scheduler = Scheduler(
            layout,
            range(layout.piece_count) if complete else (),
            rng=rng,
            mode=mode,
            floor_rate=0.0,
            myself=Myself(name, RESOURCE),
            trials=True,
        )

    @property
    def complete(self) -> bool:
        """Whether it has everything."""
        return self.pieces == self.everything

    # -- links -----------------------------------------------------------------------------------------------

    def meet(self, other: "Node", route: Route, now: float) -> Link:
        """`other` becomes a source of ours."""
        link = Link(other, self, route, choked=other.kind is Kind.PEER)
        self.sources[other.name] = other.takers[self.name] = link
        self.scheduler.add_source(
            other.name,
            other.kind,
            -1 if other.kind is Kind.SERVER else other.told,
            now,
            inside=self._once and other.isp is not None and other.isp == self.isp,
            node=other.name if other.kind is not Kind.SERVER else "",
        )
        for span, stop in self.scheduler.recalled():
            self._cut(*self._running[span], stop, now)
        return link

    def part(self, other: "Node", now: float) -> None:
        """`other` is no source of ours any more."""
        link = self.sources.pop(other.name, None)
        if link is None:
            return
        other.takers.pop(self.name, None)
        for job in list(link.jobs):
            if job in link.jobs:
                self._end(link, job, now)
        self.scheduler.remove_source(other.name)

    def choke(self, now: float) -> list[Link]:
        """Decide anew whom to serve; those that may begin to ask."""
        if self.kind is not Kind.PEER:
            return []
        applicants = [
            Applicant(
                name,
                interested=bool(self.told & ~link.to.pieces),
                trading=not self.complete and name in self.sources and bool(link.to.told & ~self.pieces),
                given=int(self.sources[name].given) if name in self.sources else 0,
                taken=int(link.given),
            )
            for name, link in self.takers.items()
        ]
        served = set(self._choker.decide(applicants, now, self._rng))
        fresh = []
        for name, link in self.takers.items():
            was, link.choked = link.choked, name not in served
            if was and not link.choked:
                fresh.append(link)
            elif link.choked and not was:
                for job in list(link.jobs):
                    if job in link.jobs:
                        link.to._end(link, job, now)
        return fresh

    # -- getting ---------------------------------------------------------------------------------------------

    def feed(self, link: Link, now: float) -> None:
        """Ask a source for as much as it takes."""
        slots = 1 if link.owner.kind is Kind.SERVER and not link.given else SLOTS
        while len(link.jobs) < slots and not link.choked and not self.complete and not self.gone:
            assignment = self.scheduler.next_span(link.owner.name, now)
            if assignment is None:
                return
            if assignment.victim is not None:
                self._cut(*self._running[assignment.victim], assignment.victim_stop, now)
            job = Job(assignment.span, assignment.span.start, assignment.span.stop)
            link.jobs.append(job)
            self._running[assignment.span] = (link, job)

    def take(self, link: Link, count: float, now: float) -> bool:
        """Bytes came from a source; whether it can be asked for more."""
        link.credit += count
        link.given += count
        ended = False
        while link.jobs and link.credit >= BLOCK:
            job = link.jobs[0]
            piece = self._layout.piece_at(job.at)
            stop = min(job.stop, self._layout.piece_end(piece), job.at + int(link.credit) // BLOCK * BLOCK)
            if stop > job.at:
                start, job.at = job.at, stop
                link.credit -= stop - start
                self._took(link, job, piece, start, stop, now)
            if job in link.jobs and job.at >= job.stop:
                self._end(link, job, now)
            ended = ended or job not in link.jobs
        if not link.jobs:
            link.credit = 0.0
        return ended

    def _took(self, link: Link, job: Job, piece: int, start: int, stop: int, now: float) -> None:
        source = link.owner
        self.scheduler.delivered(job.span, start, stop, now)
        key = source.kind, source.isp
        self.by_source[key] = self.by_source.get(key, 0) + stop - start
        low = (start - self._layout.piece_start(piece)) // BLOCK
        blocks = ((1 << (stop - start) // BLOCK) - 1) << low
        have = self._blocks.get(piece, 0)
        if self.pieces >> piece & 1:
            self.wasted += stop - start
            return
        self.wasted += (have & blocks).bit_count() * BLOCK
        self._blocks[piece] = have | blocks
        if source.liar:
            for at in range(start, stop, BLOCK):
                self._givers[at] = source.name
        if (have | blocks).bit_count() == self._layout.blocks_of(piece):
            self._judge(piece, now)

    def _judge(self, piece: int, now: float) -> None:
        """All of a piece is there: as leaf hashes tell, who gave wrong blocks is banned, and they are had anew."""
        start, stop = self._layout.piece_start(piece), self._layout.piece_end(piece)
        wrong = [at for at in range(start, stop, BLOCK) if at in self._givers]
        if not wrong:
            del self._blocks[piece]
            self.pieces |= 1 << piece
            self.scheduler.piece_verified(piece, now)
            return
        guilty = frozenset(self._givers.pop(at) for at in wrong)
        self.wasted += len(wrong) * BLOCK
        for at in wrong:
            self._blocks[piece] &= ~(1 << (at - start) // BLOCK)
            self.scheduler.disowned(at, at + BLOCK)
        kinds = dict.fromkeys(guilty, Kind.PEER)
        for fault in self._reputation.judge(Verdict(piece, False, guilty), kinds, proven=True):
            self._ban(fault.label, now)

    def _ban(self, name: str, now: float) -> None:
        self.banned.add(name)
        link = self.sources.get(name)
        if link is not None:
            self.part(link.owner, now)
            link.owner.part(self, now)
        for at in [at for at, giver in self._givers.items() if giver == name]:
            del self._givers[at]
            piece = self._layout.piece_at(at)
            self._blocks[piece] &= ~(1 << (at - self._layout.piece_start(piece)) // BLOCK)
            self.wasted += BLOCK
            self.scheduler.disowned(at, at + BLOCK)

    def _cut(self, link: Link, job: Job, stop: int, now: float) -> None:
        job.stop = min(job.stop, stop)
        if job.at >= job.stop:
            self._end(link, job, now)

    def _end(self, link: Link, job: Job, now: float) -> None:
        link.jobs.remove(job)
        del self._running[job.span]
        for other in self.scheduler.end(job.span, now):
            if other in self._running:
                self._end(*self._running[other], now)


def taken(nodes: Collection[Node], kind: Kind) -> int:
    """Bytes that nodes had from sources of a kind."""
    return sum(count for node in nodes for (each, _), count in node.by_source.items() if each is kind)
