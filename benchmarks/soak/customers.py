"""What do those do who download all the time: real `p2sp get` processes that stay, are interrupted, die and resume?"""

import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs

from benchmarks.soak.site import Site
from benchmarks.soak.wares import Shelf, Ware
from tests.integration.lab import MIB, NORTH, SOUTH
from tests.integration.processes import Process

WITHIN: Final = 240.0
"""Seconds a download may take before it counts as failed."""

INTERRUPTED: Final = 7
_LOOK: Final = 0.1


@attrs.define
class Books:
    """What all customers together saw.

    `received` is all bytes that came, by kind of source, as their own accounts have it, `wasted` what of it was of no
    use; `untold` is of clients that were killed, who told their trackers less.
    """

    begun: int = 0
    finished: int = 0
    wrong: int = 0
    interrupted: int = 0
    killed: int = 0
    seeded: int = 0
    received: Counter[str] = attrs.field(factory=Counter)
    wasted: int = 0
    untold: Counter[str] = attrs.field(factory=Counter)
    uploaded: int = 0
    failed: int = 0
    lock: threading.Lock = attrs.field(factory=threading.Lock)


@attrs.frozen
class Habit:
    """How one download goes: how often it is interrupted, how long it is served afterwards (seconds), how fast it is
    (bytes a second, None for no limit), and in which mode.
    """

    interruptions: int
    seed: float
    rate: int | None
    mode: str

    @classmethod
    def drawn(cls, rng: Random) -> "Habit":
        """One by lot."""
        return cls(
            interruptions=rng.choices((0, 1, 2), (70, 20, 10))[0],
            seed=rng.choice((0.0, 0.0, 0.0, rng.uniform(5.0, 40.0), rng.uniform(5.0, 40.0))),
            rate=None if rng.random() < 0.4 else int(rng.uniform(0.8, 3.0) * MIB),
            mode=rng.choices(("fast", "offload"), (3, 1))[0],
        )


class Customer:
    """One of those who come: at an address of its own, one download after another."""

    def __init__(
        self, site: Site, shelf: Shelf, books: Books, number: int, seed: int, trouble: Callable[[str], None]
    ) -> None:
        self._site = site
        self._trouble = trouble
        self._shelf = shelf
        self._books = books
        self._rng = Random(f"{seed} {number}")
        self._address = (NORTH, SOUTH)[number % 2] + str(20 + number)
        self._folder = site.folder / "customers" / str(number)
        self._folder.mkdir(parents=True)
        self._process: Process | None = None
        self._left = False

    def live(self, over: threading.Event) -> None:
        """Come again and again until it is over."""
        over.wait(self._rng.uniform(0.0, 5.0))
        while not over.is_set():
            with self._shelf.one(self._rng) as ware:
                self._download(ware, Habit.drawn(self._rng), over)
            over.wait(self._rng.uniform(0.5, 3.0))

    def leave(self) -> None:
        """Go at once, and do not come back."""
        self._left = True
        self.strike(signal.SIGKILL)

    def strike(self, number: signal.Signals) -> bool:
        """Kill the process that runs, as somebody from outside would; whether there was one."""
        process = self._process
        if process is None or not process.is_running:
            return False
        process.send(number)
        return True

    def _download(self, ware: Ware, habit: Habit, over: threading.Event) -> None:
        books = self._books
        path, summary = self._folder / ware.name, self._folder / "summary.json"
        with books.lock:
            books.begun += 1
        plan = [ware.size * self._rng.uniform(0.1, 0.8) for _ in range(habit.interruptions)]
        deadline = time.monotonic() + WITHIN
        try:
            while not self._run(ware, habit, path, summary, plan, deadline, over):
                if self._left:
                    return
                assert time.monotonic() < deadline, f"not done in {WITHIN:g} s"
            self._judge(path, ware)
        except AssertionError as error:
            with books.lock:
                books.failed += 1
            self._trouble(f"the download of {ware.name} at {self._address} failed: {error}")
        finally:
            for left in self._folder.iterdir():
                left.unlink()

    def _start(self, ware: Ware, habit: Habit, path: Path, summary: Path) -> Process:
        summary.unlink(missing_ok=True)
        arguments = ["get", ware.id, "-o", str(path), "--summary", str(summary), "--progress", "json"]
        arguments += ["--site", "site.toml", "--no-lan", "--address", self._address, "--mode", habit.mode]
        arguments += ["--max-upload", str(2 * MIB)]
        arguments += ["--max-download", str(habit.rate)] if habit.rate else []
        arguments += ["--seed", f"{habit.seed:.0f}"] if habit.seed else []
        root = str(Path(__file__).resolve().parents[2])
        environment = {"PYTHONPATH": root, "XDG_STATE_HOME": str(self._site.folder / "remembered")}
        return Process([sys.executable, "-m", "p2sp.cli", *arguments], self._site.folder, environment)

    def _run(
        self,
        ware: Ware,
        habit: Habit,
        path: Path,
        summary: Path,
        plan: list[float],
        deadline: float,
        over: threading.Event,
    ) -> bool:
        """One process, from start to end, interrupted when there is as much as the plan says; whether all is there."""
        process = self._process = self._start(ware, habit, path, summary)
        part = path.with_name(path.name + ".part")
        left_alone = True
        while process.is_running:
            if time.monotonic() > deadline + habit.seed:
                process.kill()
                raise AssertionError(f"not done in {WITHIN:g} s:\n{process.log[-6000:]}")
            # Before it has said anything it is Python that is interrupted.
            began = bool(plan) and '"progress"' in process.log
            reached = began and part.exists() and part.stat().st_blocks * 512 >= plan[0]
            if left_alone and (reached or (over.is_set() and summary.exists())):
                left_alone = False
                del plan[:1]
                process.send(signal.SIGINT)
            time.sleep(_LOOK)
        code = process.wait(30)
        self._process = None
        self._site.forget(process, "p2sp get")
        books = self._books
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            # By SIGTERM only before it could take notice.
            self._mourn(process, summary)
            return path.exists()
        # By SIGINT itself when it was leaving already.
        assert code in (0, INTERRUPTED, -signal.SIGINT), f"ended with {code}:\n{process.log[-6000:]}"
        told: dict[str, Any] = json.loads(summary.read_text())
        with books.lock:
            books.received.update(_by_kind(told))
            books.wasted += sum(source.get("wasted", 0) for source in told["sources"])
            books.uploaded += told["uploaded"]
            books.interrupted += code == INTERRUPTED
            books.seeded += told["ok"] and habit.seed > 0
        return bool(told["ok"])

    def _mourn(self, process: Process, summary: Path) -> None:
        """What one that was killed had received, by the last it said of it; it told its trackers less."""
        lines = [line for line in process.log.splitlines() if line.startswith('{"event": "progress"')]
        by_kind = json.loads(lines[-1])["by_kind"] if lines else {}
        if summary.exists():
            by_kind = _by_kind(json.loads(summary.read_text()))
        with self._books.lock:
            self._books.killed += 1
            self._books.untold.update(by_kind)
            self._books.received.update(by_kind)

    def _judge(self, path: Path, ware: Ware) -> None:
        with path.open("rb") as file:
            right = file_digest(file, "sha256").hexdigest() == ware.sha256
        with self._books.lock:
            self._books.finished += 1
            self._books.wrong += 0 if right else ware.size


def _by_kind(summary: dict[str, Any]) -> dict[str, int]:
    """All that came over the wire, of use or not."""
    came: Counter[str] = Counter()
    for source in summary["sources"]:
        came[source["kind"]] += source["bytes"] + source.get("wasted", 0)
    return dict(came)
