"""How are the demonstration's processes started, listened to, and ended whatever happens?"""

import os
import re
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from p2sp.cli.outcome import UserError

READY_WITHIN = 30.0
STOPPED_WITHIN = 12.0


def free_port(address: str) -> int:
    """A TCP port that nobody uses at this address just now."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


class Running(ProcessProtocol):
    """A process of ours: its lines go to a log file and to `on_line`; `ended` fires with its exit code."""

    def __init__(self, name: str, log: Path, on_line: Callable[[str], None]) -> None:
        self.name = name
        self.log = log
        self._file = log.open("ab")
        self._on_line = on_line
        self._rest = b""
        self._waiting: list[tuple[re.Pattern[str], Deferred[re.Match[str]]]] = []
        self.ended: Deferred[int] = Deferred()
        self.code: int | None = None

    def outReceived(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for raw in lines:
            line = raw.decode(errors="replace")
            for entry in list(self._waiting):
                if match := entry[0].search(line):
                    self._waiting.remove(entry)
                    entry[1].callback(match)
            self._on_line(line)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.code = 0 if reason.check(ProcessDone) else (getattr(reason.value, "exitCode", None) or 1)
        self._file.close()
        waiting, self._waiting = self._waiting, []
        for _, waiter in waiting:
            waiter.errback(Failure(UserError(f"{self.name} ended with code {self.code}; its log: {self.tail()}")))
        self.ended.callback(self.code)

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-8:])

    def says(self, pattern: str, reactor: Any, within: float = READY_WITHIN) -> "Deferred[re.Match[str]]":
        """Fires with the match of the next line that has it. Fails when the process ends or takes too long."""
        waiter: Deferred[re.Match[str]] = Deferred()
        self._waiting.append((re.compile(pattern), waiter))

        def too_late(result: object, timeout: float) -> re.Match[str]:
            raise UserError(f"{self.name} is not ready after {timeout:g} s; its log: {self.tail()}")

        return waiter.addTimeout(within, reactor, onTimeoutCancel=too_late)


class Processes:
    """Starts processes with this Python and ends every one of them, by its id."""

    def __init__(self, reactor: Any, folder: Path) -> None:
        self._reactor = reactor
        self._folder = folder
        self._running: list[Running] = []

    def start(self, name: str, arguments: Sequence[str], on_line: Callable[[str], None] = lambda line: None) -> Running:
        """Run `python -m ...` with these arguments."""
        running = Running(name, self._folder / f"{name.replace(' ', '-')}.log", on_line)
        command = [sys.executable, "-m", *arguments]
        # What clients remember from run to run is not for the demonstration's to leave behind.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "XDG_STATE_HOME": str(self._folder / "remembered")}
        self._reactor.spawnProcess(running, command[0], command, env=environment, path=str(self._folder))
        self._running.append(running)
        return running

    def twistd(self, role: str, config: str) -> Running:
        """Run a role in the foreground."""
        return self.start(
            Path(config).stem, ["p2sp.cli.twistd", "-n", "--pidfile=", f"p2sp-{role}", "--config", config]
        )

    async def stop_all(self) -> None:
        """Ask all to stop, and end those that do not; last started, first asked."""
        alive = [running for running in reversed(self._running) if running.code is None]
        _signal_all(alive, "TERM")
        kill = self._reactor.callLater(STOPPED_WITHIN, _signal_all, alive, "KILL")
        await gatherResults([_quietly(running.ended) for running in alive])
        if kill.active():
            kill.cancel()


def _signal_all(processes: Sequence[Running], name: str) -> None:
    for running in processes:
        if running.code is None and running.transport is not None:
            with suppress(ProcessExitedAlready):
                running.transport.signalProcess(name)


def _quietly(ended: "Deferred[int]") -> "Deferred[None]":
    done: Deferred[None] = Deferred()

    def pass_on(code: int) -> int:
        done.callback(None)
        return code

    ended.addCallback(pass_on)
    return done
