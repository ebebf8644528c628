"""How do requests, news and blocks travel from one node to another? First in, first out, through buffers."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
from twisted.internet.task import Clock

from benchmarks.swarm_simulation.flows import Route
from p2sp.net.sending import SendBuffer
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.http_hosts import Host
from p2sp.wire.pipeline import Pipeline

if TYPE_CHECKING:
    from benchmarks.swarm_simulation.node import Node

KIB = 1024

Message = Callable[[], None]
"""What is said, as what it brings about where it arrives."""


@attrs.frozen
class Friction:
    """What keeps a network from being a fluid, in seconds and bytes.

    `latency` is what queues on the way take, `kernel` what lies in the sender's socket, by default what the product
    allows there; `run` is what an uploader reads and writes at once, two of them when the socket asks for more: nothing
    of all that can be taken back. An answer of the tracker takes `announce` seconds, a call `dial`, each between the
    two numbers.
    """

    latency: float = 0.06
    kernel: int | None = None
    run: int = 256 * KIB
    announce: tuple[float, float] = (0.2, 0.5)
    dial: tuple[float, float] = (0.05, 0.25)


RUNS = 2
SERVER_BUFFER = 64 * KIB
"""What of a server's answer is under way when the connection is cut; the rest in its socket goes with it."""


@attrs.define(eq=False)
class Mail:
    """What is under way between nodes that does not wait behind blocks."""

    clock: Clock
    friction: Friction
    _letters: deque[tuple[float, Message]] = attrs.field(factory=deque)

    def send(self, message: Message) -> None:
        """It arrives one latency from now."""
        self._letters.append((self.clock.seconds() + self.friction.latency, message))

    def deliver(self) -> None:
        """Let arrive whatever is due."""
        now = self.clock.seconds()
        while self._letters and self._letters[0][0] <= now:
            self._letters.popleft()[1]()


@attrs.define(eq=False)
class Job:
    """A span under way: bytes before `came` have come, those before `asked` are asked for, it ends at `stop`."""

    span: Span
    asked: int
    came: int
    stop: int
    over: bool = False


@attrs.define
class Ask:
    """Blocks that are asked for, or on their way."""

    job: Job
    start: int
    stop: int


@attrs.define(eq=False)
class Link:
    """What one node is to another: a source for it, and the way on which everything it says goes.

    `choked` and `has` are what `to` has heard, `serves` and `wanted` what `owner` has: whether it is interested.
    """

    owner: "Node"
    to: "Node"
    route: Route
    mail: Mail
    choked: bool
    serves: bool
    pipeline: Pipeline = attrs.field(init=False)
    host: Host = attrs.field(factory=Host)
    buffer: SendBuffer = attrs.field(factory=SendBuffer)
    back: "Link | None" = None
    wanted: bool = False
    interest: bool = False
    has: int = 0
    given: int = 0
    sent: int = 0
    not_before: float = 0.0
    closed: bool = False
    jobs: list[Job] = attrs.field(factory=list)
    _asks: deque[Ask] = attrs.field(factory=deque)
    _queue: "deque[Ask | Message]" = attrs.field(factory=deque)
    queued: int = 0
    _credit: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.pipeline = Pipeline(self.mail.clock.seconds())

    @property
    def is_server(self) -> bool:
        """Whether it is a resource server's."""
        return self.owner.kind is Kind.SERVER

    # -- what the owner does ---------------------------------------------------------------------------------

    def say(self, message: Message) -> None:
        """Tell `to` something: behind all blocks that are under way."""
        if self.queued:
            self._queue.append(message)
        else:
            self.mail.send(message)

    def asked(self, asks: list[Ask]) -> None:
        """Requests arrive."""
        if self.serves and not self.closed:
            self._asks.extend(asks)
            self.fill()

    def cancelled(self, job: Job, stop: int) -> None:
        """What is asked for behind `stop` is not wanted any more, as far as it is still here."""
        kept = deque[Ask]()
        for ask in self._asks:
            if ask.job is job:
                ask.stop = min(ask.stop, stop)
            if ask.start < ask.stop:
                kept.append(ask)
        self._asks = kept

    def refuse(self) -> None:
        """Forget all requests: who chokes answers none."""
        self._asks.clear()

    def fill(self) -> None:
        """Give to the socket what it takes."""
        now, kernel = self.mail.clock.seconds(), self._kernel
        if self.queued <= kernel:
            self.buffer.drained(now)
        runs, run = (1, BLOCK) if self.is_server else (RUNS, max(min(self.mail.friction.run, kernel), BLOCK))
        while self._asks and self.queued <= kernel:
            for _ in range(runs):
                if self._asks:
                    self._take(run)
        if self.queued > kernel:
            self.buffer.filled(now)

    @property
    def _kernel(self) -> int:
        if self.is_server:
            return SERVER_BUFFER - 1
        return self.buffer.size if self.mail.friction.kernel is None else self.mail.friction.kernel

    def _take(self, run: int) -> None:
        ask = self._asks[0]
        part = Ask(ask.job, ask.start, min(ask.stop, ask.start + run))
        ask.start = part.stop
        if ask.start >= ask.stop:
            self._asks.popleft()
        self._queue.append(part)
        self.queued += part.stop - part.start

    def flow(self, count: float) -> None:
        """So many bytes go through; what has become whole blocks arrives."""
        self._credit += count
        while self._queue:
            head = self._queue[0]
            if not isinstance(head, Ask):
                self._queue.popleft()
                self.mail.send(head)
                continue
            size = min(head.stop - head.start, int(self._credit) // BLOCK * BLOCK)
            if not size:
                break
            self._credit -= size
            self.queued -= size
            self.sent += size
            start, head.start = head.start, head.start + size
            if head.start >= head.stop:
                self._queue.popleft()
            self.to.arrived(self, head.job, start, start + size)
        self.fill()
        if not self.queued:
            self._credit = 0.0

    def close(self) -> None:
        """The connection is gone, with all that was under way."""
        self.closed = True
        self._asks.clear()
        self._queue.clear()
        self.queued = 0

    # -- what the other side does ----------------------------------------------------------------------------

    def answer(self, message: Message) -> None:
        """Tell `owner` something."""
        if self.back is not None:
            self.back.say(message)
        else:
            self.mail.send(message)

    def ask(self) -> None:
        """Ask for blocks, as many as are to be under way; of a server all at once."""
        depth = self.pipeline.depth * BLOCK - sum(job.asked - job.came for job in self.jobs)
        asks = []
        for job in self.jobs:
            stop = job.stop if self.is_server else min(job.stop, job.asked + max(depth, 0))
            if stop > job.asked:
                asks.append(Ask(job, job.asked, stop))
                depth -= stop - job.asked
                job.asked = stop
        if asks:
            self.answer(lambda: self.asked(asks))

    def cancel(self, job: Job) -> None:
        """Take back what was asked for behind the end of a job."""
        stop = job.came if job.over else job.stop
        if job.asked > stop:
            job.asked = stop
            self.answer(lambda: self.cancelled(job, stop))
