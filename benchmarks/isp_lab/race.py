"""How is one race run: who starts when, who leaves when, what is measured, and when is it over?"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import attrs

from benchmarks.isp_lab.contenders import FILE, MIB, Client, Contender, start_origin
from benchmarks.isp_lab.network import Counts, Network
from benchmarks.isp_lab.plan import Plan
from benchmarks.isp_lab.processes import Group, LabError, Machine
from benchmarks.isp_lab.sandbox import WORK

LOOK_EVERY: Final = 0.05
SAMPLE_EVERY: Final = 1.0


@attrs.frozen
class Rules:
    """What makes a race: `starts` are seconds after which hosts begin (0 unless named), `leaves` the share of the file
    with which hosts leave (1: as soon as they are done), `within` the seconds after which it is given up.

    `watch` is called each second with the network and the seconds since the start.
    """

    size: int
    within: float
    starts: Mapping[str, float] = attrs.field(factory=dict)
    leaves: Mapping[str, float] = attrs.field(factory=dict)
    watch: Callable[[Network, float], None] = lambda network, now: None


@attrs.define
class Course:
    """How one client fared; seconds count from its own start, None where it did not get there."""

    host: str
    isp: int
    up: float
    seconds: float | None = None
    first: float | None = None
    """When the first bytes were on its disk."""

    left: float | None = None
    right: bool = False
    """Whether what it has is what it wanted, by SHA-256."""

    account: dict[str, Any] = attrs.field(factory=dict)


@attrs.define
class Result:
    """What one contender made of one race."""

    name: str
    size: int
    bound: float
    courses: list[Course]
    counts: Counts
    length: float
    """Seconds from the first start to the last end."""

    busy: float
    """Share of all cores that was busy between start and end."""

    cpu: dict[str, float]
    """Seconds of CPU since the start, by process."""

    samples: list[dict[str, float]]
    """Each second: what went over the links so far, in bytes of frames."""

    ends: list[dict[str, tuple[int, int]]]
    """With each sample: what each host and edge had sent and received."""

    failed: str | None = None

    @property
    def seconds(self) -> list[float]:
        """The times of who got there."""
        return sorted(course.seconds for course in self.courses if course.seconds is not None)

    @property
    def last(self) -> float | None:
        """When the last one was done."""
        return self.seconds[-1] if self.seconds else None

    @property
    def middle(self) -> float | None:
        """The median of all clients."""
        return median(self.seconds) if self.seconds else None

    @property
    def own_share(self) -> float:
        """The share of all cores that the race's own processes used, without what the kernel did for them unasked."""
        return sum(self.cpu.values()) / (self.length * (os.cpu_count() or 1))

    @property
    def origin_copies(self) -> float:
        """How many copies the origin gave, without headers."""
        return self.counts.origin.payload / self.size

    @property
    def imported(self) -> dict[str, float]:
        """How many copies came into each ISP, without headers."""
        return {name: count.payload / self.size for name, count in self.counts.imported.items()}


def make_file(path: Path, size: int) -> str:
    """A file of bytes that look like nothing, the same each time; its SHA-256."""
    rng, hasher = Random(5), sha256()
    with path.open("wb") as out:
        for start in range(0, size, MIB):
            part = rng.randbytes(min(MIB, size - start))
            hasher.update(part)
            out.write(part)
    return hasher.hexdigest()


class Race:
    """One contender on one plan, from the building of the network to the last check."""

    def __init__(self, plan: Plan, contender: Contender, rules: Rules, logs: Path) -> None:
        self._plan = plan
        self._contender = contender
        self._rules = rules
        self._logs = logs
        self._courses = {host.name: Course(host.name, host.isp, host.up) for host in plan.hosts}
        self._samples: list[dict[str, float]] = []
        self._ends: list[dict[str, tuple[int, int]]] = []
        self._began: dict[str, float] = {}

    def run(self, network: Network, bound: float) -> Result:
        """Race on a network that stands. What goes wrong is told in the result; LabError is about getting ready."""
        folder = WORK / "race"
        root = folder / "root"
        root.mkdir(parents=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        digest = make_file(root / FILE, self._rules.size)
        try:
            with Group(folder, self._logs) as group:
                start_origin(group, root, self._logs)
                self._contender.prepare(self._plan, group, root / FILE, self._logs)
                clients = [
                    self._contender.client(host, group, folder / "hosts" / host.name) for host in self._plan.hosts
                ]
                for client in clients:
                    client.process.wait_for("^ready$")
                used = {process.name: process.cpu for process in group.processes}
                before, machine = network.counts(), Machine()
                began = time.monotonic()
                failed = self._watch(network, clients)
                length = time.monotonic() - began
                busy, counts = machine.busy, network.counts().since(before)
                cpu = {process.name: process.cpu - used[process.name] for process in group.processes}
            for client in clients:
                self._judge(client, digest)
        finally:
            shutil.rmtree(folder)
        name = self._contender.name
        courses = list(self._courses.values())
        return Result(
            name, self._rules.size, bound, courses, counts, length, busy, cpu, self._samples, self._ends, failed
        )

    def _watch(self, network: Network, clients: list[Client]) -> str | None:
        """Let them go and see to it that all get there; why not, if they do not."""
        zero, clock = time.time(), time.monotonic()
        waiting = sorted(clients, key=lambda client: self._rules.starts.get(client.host.name, 0.0))
        running: list[Client] = []
        next_sample = 0.0
        try:
            while waiting or running:
                now = time.monotonic() - clock
                while waiting and self._rules.starts.get(waiting[0].host.name, 0.0) <= now:
                    client = waiting.pop(0)
                    self._began[client.host.name] = time.time()
                    client.process.go()
                    running.append(client)
                running = [client for client in running if not self._look(client)]
                if now >= next_sample:
                    self._sample(network, time.time() - zero)
                    next_sample = now + SAMPLE_EVERY
                    self._rules.watch(network, now)
                if now > self._rules.within:
                    names = ", ".join(client.host.name for client in running + waiting)
                    return f"given up after {self._rules.within:g} s; not done: {names}"
                time.sleep(LOOK_EVERY)
        except LabError as error:
            return str(error)
        return None

    def _look(self, client: Client) -> bool:
        """Whether there is nothing to wait for any more. Raises LabError."""
        course = self._courses[client.host.name]
        began = self._began[client.host.name]
        if course.first is None and client.written:
            course.first = time.time() - began
        if (end := client.finished_at) is not None:
            try:
                course.account = self._contender.account(client)
            except ValueError:
                # Half written: the next look will do.
                return False
            course.seconds = end - began
            if client.host.name in self._rules.leaves:
                self._leave(client, course, began)
            return True
        share = self._rules.leaves.get(client.host.name, 1.0)
        if share < 1.0 and client.written >= share * self._rules.size:
            self._leave(client, course, began)
            return True
        if not client.process.is_running:
            raise LabError(f"{client.process.name} ended with {client.process.code}:\n{client.process.tail()}")
        return False

    def _leave(self, client: Client, course: Course, began: float) -> None:
        course.left = time.time() - began
        client.process.send(signal.SIGTERM)

    def _sample(self, network: Network, now: float) -> None:
        counts, ends = network.counts(), network.ends()
        hosts = {host.name for host in self._plan.hosts}
        sample = {"seconds": now, "origin": float(counts.origin.bytes)}
        sample["hosts give"] = float(sum(sent for name, (sent, _) in ends.items() if name in hosts))
        sample["edges give"] = float(sum(sent for name, (sent, _) in ends.items() if name not in hosts))
        sample |= {f"into {name}": float(count.bytes) for name, count in counts.imported.items()}
        self._samples.append(sample)
        self._ends.append(ends)

    def _judge(self, client: Client, digest: str) -> None:
        course = self._courses[client.host.name]
        if course.seconds is not None:
            course.right = sha256(client.file.read_bytes()).hexdigest() == digest
