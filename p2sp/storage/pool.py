"""Who does the disk work and the hashing, off the reactor's thread?"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from p2sp.storage.interfaces import StorageError
from p2sp.storage.malloc import keep_freed

T = TypeVar("T")

MAX_QUEUED = 64 * 1024 * 1024
"""Bytes waiting for the disk at which sources are to be paused."""


class ReactorWithThreads(IReactorFromThreads, IReactorCore):
    """What the pool needs of a reactor."""


class Pool(Protocol):
    """What stores and scans need: jobs away from the reactor, and a measure of how far the disk is behind.

    Jobs may run beside each other and end in any order; who needs an order waits for the first job before giving the
    second. Cancelling a job's Deferred lets go of its result; the job itself runs to its end.
    """

    @property
    def queued_bytes(self) -> int:
        """Weight of the jobs that have not ended."""

    @property
    def full(self) -> bool:
        """Whether producers should pause: `drained` says until when."""

    def run(self, job: Callable[..., T], *args: Any, weight: int = 0) -> "Deferred[T]":
        """Run `job(*args)`; fires with its result or its exception, on the reactor's thread."""

    def drained(self) -> "Deferred[None]":
        """Fires once the queue is at most half full; at once when it is."""


def detached(inner: "Deferred[T]") -> "Deferred[T]":
    """A Deferred that follows `inner`, but cancelling it does not touch what `inner` stands for."""
    outer: Deferred[T] = Deferred()

    def settle(result: T | Failure) -> None:
        if not outer.called:
            outer.callback(result)

    inner.addBoth(settle)
    return outer


class _Queue:
    """Counts what waits, and wakes who waits for less."""

    def __init__(self, max_queued: int) -> None:
        self.queued_bytes = 0
        self._max_queued = max_queued
        self._waiting: list[Deferred[None]] = []

    @property
    def full(self) -> bool:
        return self.queued_bytes >= self._max_queued

    def drained(self) -> "Deferred[None]":
        if self.queued_bytes <= self._max_queued // 2:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def left(self, weight: int) -> None:
        self.queued_bytes -= weight
        if self.queued_bytes <= self._max_queued // 2:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)


class DiskPool(_Queue):
    """A small thread pool of its own, so that a slow disk never holds up name resolution in the reactor's pool."""

    def __init__(self, reactor: ReactorWithThreads, threads: int = 2, max_queued: int = MAX_QUEUED) -> None:
        super().__init__(max_queued)
        self._reactor = reactor
        self._threads = ThreadPool(0, threads, "disk")
        self._jobs = 0
        self._running = False
        self._trigger: Any = None
        self._idle: list[Deferred[None]] = []

    def start(self) -> None:
        """Take jobs from now on. The pool ends with the reactor if nobody stops it before."""
        if self._running:
            return
        self._running = True
        keep_freed()
        self._threads.start()
        self._trigger = self._reactor.addSystemEventTrigger("during", "shutdown", self._end)

    def run(self, job: Callable[..., T], *args: Any, weight: int = 0) -> "Deferred[T]":
        """See `Pool.run`. Fails with StorageError when the pool does not run."""
        if not self._running:
            return fail(StorageError("the disk pool is stopped"))
        result: Deferred[T] = Deferred()

        def ended(success: bool, value: T | Failure) -> None:
            self._jobs -= 1
            self.left(weight)
            if not result.called:
                result.callback(value)
            if not self._jobs:
                idle, self._idle = self._idle, []
                for waiter in idle:
                    waiter.callback(None)

        self._jobs += 1
        self.queued_bytes += weight
        self._threads.callInThreadWithCallback(
            lambda success, value: self._reactor.callFromThread(ended, success, value), job, *args
        )
        return detached(result)

    async def _stop(self) -> None:
        self._running = False
        while self._jobs:
            waiter: Deferred[None] = Deferred()
            self._idle.append(waiter)
            await waiter
        if self._trigger is not None:
            trigger, self._trigger = self._trigger, None
            self._reactor.removeSystemEventTrigger(trigger)
            self._threads.stop()

    def stop(self) -> "Deferred[None]":
        """Refuse new jobs; fires when those accepted have ended and the threads are gone."""
        return Deferred.fromCoroutine(self._stop())

    def _end(self) -> None:
        self._running = False
        self._trigger = None
        self._threads.stop()


class InlinePool(_Queue):
    """For tests: runs every job at once, or, while `held`, when `release` is called."""

    def __init__(self, max_queued: int = MAX_QUEUED) -> None:
        super().__init__(max_queued)
        self.held = False
        self._jobs: deque[Callable[[], None]] = deque()

    @property
    def jobs(self) -> int:
        """How many jobs are held back."""
        return len(self._jobs)

    def run(self, job: Callable[..., T], *args: Any, weight: int = 0) -> "Deferred[T]":
        """See `Pool.run`."""
        if not self.held:
            return execute(job, *args)
        result: Deferred[T] = Deferred()

        def start() -> None:
            ended: Deferred[T] = execute(job, *args)
            self.left(weight)
            ended.addBoth(lambda value: result.callback(value))

        self.queued_bytes += weight
        self._jobs.append(start)
        return detached(result)

    def release(self, count: int | None = None, *, newest_first: bool = False) -> None:
        """Run held jobs (all of them, or so many), oldest first unless said otherwise."""
        for _ in range(len(self._jobs) if count is None else count):
            (self._jobs.pop if newest_first else self._jobs.popleft)()()
