"""What does one node of a simulated swarm do? It asks the product's scheduler, and serves whom its choker chooses."""

from collections.abc import Collection, Sequence
from functools import partial
from random import Random

import attrs

from benchmarks.swarm_simulation.flows import Pipe
from benchmarks.swarm_simulation.link import Job, Link, Mail
from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.border import Myself
from p2sp.schedule.reputation import Reputation
from p2sp.schedule.scheduler import Scheduler
from p2sp.schedule.spans import Kind, Mode, Span
from p2sp.sources.interfaces import Candidate
from p2sp.wire.choker import Applicant
from p2sp.wire.near_first import NearFirst

UPLOADS = 8
CONNECTIONS = 4
"""With a resource server, as a client has them unless told otherwise."""

FAST = 1024 * 1024
"""Bytes a second from which on a source takes four spans at a time, not two (see `p2sp.sources.peer`)."""

REFUSED = (0.25, 0.5)
"""Seconds after which a source that refused is asked again (see `p2sp.download.member`)."""

LISTEN = 1.0
EXPECT = 2.0

RESOURCE = b"simulated"


@attrs.frozen
class Verdict:
    """What became of a piece (see `p2sp.schedule.reputation.Judged`)."""

    piece: int
    good: bool
    suspects: frozenset[str]


class Node:
    """A node: what it has, whom it gives to and whom it gets from. `pieces` is a bit for each it has.

    `isp` is None for the origin. A `liar` gives nothing but wrong bytes. `sources` are those it gets from, `takers`
    the links by which it tells and gives.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        isp: int | None,
        layout: Layout,
        mail: Mail,
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
        self.started = 0.0
        self.finished: float | None = None
        self.gone = False
        self.wasted = 0
        self.by_source: dict[tuple[Kind, int | None], int] = {}
        self.sources: dict[str, Link] = {}
        self.takers: dict[str, Link] = {}
        self.near: set[str] = set()
        self.banned: set[str] = set()
        self.reconsiders = False
        """Whether somebody has changed his mind about being served."""

        self._layout = layout
        self._mail = mail
        self._once = once
        self._rng = rng
        self._choker: NearFirst[str] = NearFirst(UPLOADS)
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

    @property
    def _now(self) -> float:
        return self._mail.clock.seconds()

    # -- links -----------------------------------------------------------------------------------------------

    def joined(self, link: Link, *, inside: bool) -> None:
        """A link of ours with `link.owner` is up; `inside` says that we know it to be in our ISP."""
        if inside:
            self.near.add(link.owner.name)
        if self.complete or link.owner.name in self.banned:
            return
        self.sources[link.owner.name] = link
        self.scheduler.add_source(
            link.owner.name,
            link.owner.kind,
            -1 if link.is_server else link.has,
            self._now,
            inside=self._once and inside,
            node=link.owner.name if not link.is_server else "",
        )
        for span, stop in self.scheduler.recalled():
            self._cut(*self._running[span], stop)
        self._want(link)
        self.feed(link)

    def place(self, name: str, *, inside: bool) -> None:
        """It has turned out whether a node is in our ISP."""
        if inside:
            self.near.add(name)
            self.reconsiders = True
        if self._once and name in self.sources:
            self.scheduler.source_is(name, self._now, inside=inside)
            self.feed(self.sources[name])

    def listen(self) -> None:
        """Trackers are being asked."""
        self.scheduler.listen(self._now + LISTEN)

    def told(self, candidates: Sequence[Candidate]) -> None:
        """They have answered."""
        for candidate in candidates:
            if self._once and candidate.local and candidate.node_id not in self.takers:
                self.scheduler.expect(candidate.node_id, self._now, self._now + EXPECT, whole=candidate.have >= 1.0)
        self.scheduler.heard()
        self.feed_all()

    def part(self, name: str) -> None:
        """Let go of a source."""
        link = self.sources.pop(name, None)
        if link is None:
            return
        while link.jobs:
            self._end(link, link.jobs[0])
        self.scheduler.remove_source(name)

    def greet(self, link: Link) -> None:
        """Begin what we say on a link with what we have."""
        if self.pieces:
            link.say(partial(link.to.heard, link, self.pieces))

    def heard(self, link: Link, pieces: int) -> None:
        """A node has these pieces."""
        link.has |= pieces
        if self.sources.get(link.owner.name) is link:
            self.scheduler.source_has(link.owner.name, link.has, self._now)
            self._want(link)
            self.feed(link)

    def _want(self, link: Link) -> None:
        """Tell a node whether it has anything for us."""
        interest = not self.complete and bool(link.has & ~self.pieces)
        if interest is not link.interest and not link.is_server:
            link.interest = interest
            link.answer(partial(link.owner.was_told, link, interest=interest))

    # -- giving ----------------------------------------------------------------------------------------------

    def was_told(self, link: Link, *, interest: bool) -> None:
        """Somebody is interested in what we have, or is not any more."""
        link.wanted = interest
        self.reconsiders = True

    def choke(self) -> None:
        """Decide anew whom to serve."""
        self.reconsiders = False
        if self.kind is not Kind.PEER:
            return
        applicants = [
            Applicant(
                name,
                interested=link.wanted,
                trading=not self.complete,
                given=link.back.sent if link.back is not None else 0,
                taken=link.sent,
                near=name in self.near,
            )
            for name, link in self.takers.items()
        ]
        served = set(self._choker.decide(applicants, self._now, self._rng))
        for name, link in self.takers.items():
            was, link.serves = link.serves, name in served
            if link.serves is not was:
                if was:
                    link.refuse()
                link.say(partial(link.to.was_choked, link, choked=was))

    def was_choked(self, link: Link, *, choked: bool) -> None:
        """A source gives no more, or begins to."""
        link.choked = choked
        if choked and link.jobs:
            link.not_before = self._now + self._rng.uniform(*REFUSED)
            while link.jobs:
                self._end(link, link.jobs[0])
        elif self.sources.get(link.owner.name) is link:
            self.feed(link)

    # -- getting ---------------------------------------------------------------------------------------------

    def _slots(self, link: Link) -> int:
        if link.is_server:
            return min(max(link.host.allowed(CONNECTIONS, self._now), 1), CONNECTIONS if link.given else 1)
        if link.choked:
            return 0
        return 4 if link.pipeline.rate >= FAST else 2

    def feed(self, link: Link) -> None:
        """Ask a source for as much as it takes."""
        now = self._now
        while len(link.jobs) < self._slots(link) and now >= link.not_before and not self.complete and not self.gone:
            assignment = self.scheduler.next_span(link.owner.name, now)
            if assignment is None:
                break
            if assignment.victim is not None:
                self._cut(*self._running[assignment.victim], assignment.victim_stop)
            span = assignment.span
            job = Job(span, span.start, span.start, span.stop)
            if not link.jobs:
                link.pipeline.idle(now)
            link.jobs.append(job)
            link.host.busy = len(link.jobs)
            self._running[span] = (link, job)
        if link.jobs:
            link.ask()

    def feed_all(self) -> None:
        """Ask everybody, whose bytes cost least first."""
        if not self.complete and not self.gone:
            for link in sorted(self.sources.values(), key=_cost):
                self.feed(link)

    def arrived(self, link: Link, job: Job, start: int, stop: int) -> None:
        """Blocks came from a source."""
        now = self._now
        key = link.owner.kind, link.owner.isp
        self.by_source[key] = self.by_source.get(key, 0) + stop - start
        end = max(min(stop, job.stop), start) if not job.over else start
        self.wasted += stop - end
        if link.is_server:
            if not link.given:
                link.host.serves_parts()
            link.host.arrived(stop - start, now)
        while start < end and not job.over:
            piece = self._layout.piece_at(start)
            upto = min(end, self._layout.piece_end(piece))
            job.came = upto
            link.given += upto - start
            for _ in range(start, upto, BLOCK):
                link.pipeline.received(BLOCK, now)
            self._took(link, job, piece, start, upto)
            start = upto
        if not job.over and job.came >= job.stop:
            self._end(link, job)
        if self.sources.get(link.owner.name) is link:
            self.feed(link)

    def _took(self, link: Link, job: Job, piece: int, start: int, stop: int) -> None:
        self.scheduler.delivered(job.span, start, stop, self._now)
        low = (start - self._layout.piece_start(piece)) // BLOCK
        blocks = ((1 << (stop - start) // BLOCK) - 1) << low
        have = self._blocks.get(piece, 0)
        if self.pieces >> piece & 1:
            self.wasted += stop - start
            return
        self.wasted += (have & blocks).bit_count() * BLOCK
        self._blocks[piece] = have | blocks
        if link.owner.liar:
            for at in range(start, stop, BLOCK):
                self._givers[at] = link.owner.name
        if (have | blocks).bit_count() == self._layout.blocks_of(piece):
            self._judge(piece)

    def _judge(self, piece: int) -> None:
        """All of a piece is there: as leaf hashes tell, who gave wrong blocks is banned, and they are had anew."""
        start, stop = self._layout.piece_start(piece), self._layout.piece_end(piece)
        wrong = [at for at in range(start, stop, BLOCK) if at in self._givers]
        if not wrong:
            del self._blocks[piece]
            self._verified(piece)
            return
        guilty = frozenset(self._givers.pop(at) for at in wrong)
        self.wasted += len(wrong) * BLOCK
        for at in wrong:
            self._blocks[piece] &= ~(1 << (at - start) // BLOCK)
            self.scheduler.disowned(at, at + BLOCK)
        kinds = dict.fromkeys(guilty, Kind.PEER)
        for fault in self._reputation.judge(Verdict(piece, False, guilty), kinds, proven=True):
            self._ban(fault.label)

    def _verified(self, piece: int) -> None:
        """Everybody linked with us hears of it."""
        self.pieces |= 1 << piece
        self.scheduler.piece_verified(piece, self._now)
        for link in self.takers.values():
            link.say(partial(link.to.heard, link, 1 << piece))
        for link in self.sources.values():
            self._want(link)
        if self.complete:
            self.finished = self._now
            for name in list(self.sources):
                self.part(name)

    def _ban(self, name: str) -> None:
        self.banned.add(name)
        link = self.sources.get(name)
        if link is not None:
            self.part(name)
        for at in [at for at, giver in self._givers.items() if giver == name]:
            del self._givers[at]
            piece = self._layout.piece_at(at)
            self._blocks[piece] &= ~(1 << (at - self._layout.piece_start(piece)) // BLOCK)
            self.wasted += BLOCK
            self.scheduler.disowned(at, at + BLOCK)

    def _cut(self, link: Link, job: Job, stop: int) -> None:
        job.stop = min(job.stop, stop)
        if job.came >= job.stop:
            self._end(link, job)
        else:
            link.cancel(job)

    def _end(self, link: Link, job: Job) -> None:
        job.over = True
        link.jobs.remove(job)
        link.host.busy = len(link.jobs)
        link.cancel(job)
        del self._running[job.span]
        for other in self.scheduler.end(job.span, self._now):
            if other in self._running:
                self._end(*self._running[other])


def _cost(link: Link) -> int:
    """What its bytes cost compared with others' (see `p2sp.download.member`)."""
    if link.is_server:
        return 4
    if link.owner.kind is Kind.SUPERNODE:
        return 1
    return 2 if link.owner.isp == link.to.isp else 3


def taken(nodes: Collection[Node], kind: Kind) -> int:
    """Bytes that nodes had from sources of a kind."""
    return sum(count for node in nodes for (each, _), count in node.by_source.items() if each is kind)
