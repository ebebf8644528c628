"""How do several processes serve one port of a role, and stay as many as they shall be?"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

NUMBER: Final = "P2SP_WORKER"
"""The environment's variable that tells a process which worker it is."""

FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0
LASTING: Final = 60.0
"""Seconds after which a worker that ends counts as one that did well."""

END_WITHIN: Final = 8.0
_RUN: Final = "from twisted.scripts.twistd import run; run()"


def worker_number() -> int:
    """Which worker this process is; 0 is the one the operator started, which looks after the others."""
    text = os.environ.get(NUMBER, "0")
    return int(text) if text.isdecimal() else 0


def command(role: str, config: Path) -> list[str]:
    """What runs one more process of a role with the same configuration."""
    return [sys.executable, "-c", _RUN, "--nodaemon", "--pidfile=", f"p2sp-{role}", "--config", str(config)]


@attrs.define(eq=False)
class _Worker(ProcessProtocol):
    number: int
    ended: Callable[["_Worker"], None]
    began: float
    gone: "Deferred[None]" = attrs.field(factory=Deferred)
    waits: float = FIRST_WAIT

    def outReceived(self, data: bytes) -> None:
        sys.stdout.write(data.decode(errors="replace"))

    def errReceived(self, data: bytes) -> None:
        sys.stderr.write(data.decode(errors="replace"))

    def processEnded(self, reason: Failure) -> None:
        self.gone.callback(None)
        self.ended(self)


def watch_parent(reactor: Any) -> Callable[[], None]:
    """To be called now and then by a worker: it ends when the process that looks after it is gone."""
    parent = os.getppid()

    def look() -> None:
        if os.getppid() != parent:
            reactor.stop()

    return look


class Workers:
    """The processes of a role besides this one: started, started again when they end, and ended with this one."""

    log = Logger()

    def __init__(self, reactor: Any, role: str, config: Path, count: int, end_within: float = END_WITHIN) -> None:
        self._clock = IReactorTime(reactor)
        self._processes = IReactorProcess(reactor)
        self._role = role
        self._config = config
        self._count = count
        self._end_within = end_within
        self._running: dict[int, tuple[_Worker, Any]] = {}
        self._waiting: dict[int, IDelayedCall] = {}
        self._stopping = False

    def start(self) -> None:
        """Start them all."""
        self._stopping = False
        for number in range(1, self._count + 1):
            self._begin(number, FIRST_WAIT)

    def _begin(self, number: int, waits: float) -> None:
        self._waiting.pop(number, None)
        worker = _Worker(number, self._ended, self._clock.seconds(), waits=waits)
        environment = {**os.environ, NUMBER: str(number)}
        line = command(self._role, self._config)
        process = self._processes.spawnProcess(worker, line[0], line, env=environment)
        self._running[number] = (worker, process)

    def _ended(self, worker: _Worker) -> None:
        self._running.pop(worker.number, None)
        if self._stopping:
            return
        well = self._clock.seconds() - worker.began >= LASTING
        wait = FIRST_WAIT if well else worker.waits
        self.log.warn("worker {number} ended; it is started again in {wait} s", number=worker.number, wait=wait)
        later = min(2 * wait, LONGEST_WAIT)
        self._waiting[worker.number] = self._clock.callLater(wait, self._begin, worker.number, later)

    def dismiss(self) -> None:
        """Tell them all to end, and start none again."""
        if self._stopping:
            return
        self._stopping = True
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()
        for _, process in self._running.values():
            process.signalProcess("TERM")

    def stop(self) -> "Deferred[None]":
        """End them all, by SIGKILL those that take too long; fires when they are gone."""
        self.dismiss()
        running = list(self._running.values())

        def kill() -> None:
            for worker, process in running:
                if not worker.gone.called:
                    process.signalProcess("KILL")

        timer = self._clock.callLater(self._end_within, kill)

        def gone(_: object) -> None:
            if timer.active():
                timer.cancel()

        return DeferredList([worker.gone for worker, _ in running]).addCallback(gone)
