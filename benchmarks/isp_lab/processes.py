"""How are programs started in their namespaces, listened to, measured and ended?"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, Self

from benchmarks.isp_lab.network import in_namespace

READY_WITHIN: Final = 60.0
STOPPED_WITHIN: Final = 20.0
_LOOK_EVERY: Final = 0.02
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class LabError(Exception):
    """Something in the lab did not come about; the text says what, with the end of the log of who is to blame."""


class Process:
    """A program in a namespace; all it says goes to a log. It reads commands from its standard input."""

    def __init__(self, name: str, namespace: str, command: Sequence[str], folder: Path, log: Path) -> None:
        self.name = name
        self.log = log
        # What clients remember from one run to the next is theirs alone, as on machines of their own.
        environment = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "remembered")}
        for proxy in ("http_proxy", "https_proxy", "all_proxy"):
            environment.pop(proxy, None)
            environment.pop(proxy.upper(), None)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                in_namespace(namespace, command),
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._cpu = 0.0

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def code(self) -> int | None:
        """What it ended with; None while it runs."""
        return self._process.poll()

    @property
    def cpu(self) -> float:
        """Seconds of CPU it has used so far, as of the last look while it ran."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            return self._cpu
        self._cpu = max(self._cpu, (int(fields[11]) + int(fields[12])) / _TICKS)
        return self._cpu

    def wait_for(self, pattern: str, within: float = READY_WITHIN) -> re.Match[str]:
        """Wait until the log matches. Raises LabError."""
        wanted = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + within
        while True:
            ended = not self.is_running
            if found := wanted.search(self.log.read_text(errors="replace")):
                return found
            if ended or time.monotonic() > deadline:
                state = f"ended with {self.code}" if ended else f"said nothing like it in {within:g} s"
                raise LabError(f"{self.name} {state}, waiting for {pattern!r}:\n{self.tail()}")
            time.sleep(_LOOK_EVERY)

    def wait(self, within: float) -> None:
        """Wait until it has ended well. Raises LabError."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end in {within:g} s:\n{self.tail()}") from None
        if code != 0:
            raise LabError(f"{self.name} ended with {code}:\n{self.tail()}")

    def go(self) -> None:
        """Let one that waits for it begin."""
        assert self._process.stdin is not None
        _write(self._process.stdin, b"go\n")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.is_running:
            self._process.send_signal(number)

    def reap(self, within: float = STOPPED_WITHIN) -> None:
        """Wait for its end, and kill it when that takes too long."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])


class Group:
    """Processes that end together, with the `with` block."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self._logs = logs
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, namespace: str, command: Sequence[str], folder: Path | None = None) -> Process:
        """Run a command in a namespace, in a folder (the group's, unless given)."""
        place = self.folder if folder is None else folder
        place.mkdir(parents=True, exist_ok=True)
        process = Process(name, namespace, command, place, self._logs / f"{name}.log")
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End all: SIGTERM, then SIGKILL; the last started are asked first."""
        stopping, self.processes = self.processes[::-1], []
        for process in stopping:
            process.send(signal.SIGTERM)
        for process in stopping:
            process.reap()


def _write(pipe: IO[bytes], data: bytes) -> None:
    try:
        pipe.write(data)
        pipe.flush()
    except BrokenPipeError:
        # It has ended, which its exit code tells better.
        pass


class Machine:
    """How busy all cores are from now on, with whatever runs on them but what is niced, which gives way."""

    def __init__(self) -> None:
        self._before = _ticks()

    @property
    def busy(self) -> float:
        """The share of all cores' time that was neither idle nor to be had, 0 to 1."""
        now = _ticks()
        idle, total = now[0] - self._before[0], now[1] - self._before[1]
        return 1.0 - idle / total if total else 0.0


def _ticks() -> tuple[int, int]:
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    _, nice, _, idle, waiting, *_ = fields
    return nice + idle + waiting, sum(fields)
