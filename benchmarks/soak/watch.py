"""Do memory and open descriptors of the roles stay flat, within a life and from life to life?"""

from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from benchmarks.soak.site import Site

STEADY: Final = 120.0
"""Seconds after its start from which on a process counts as steady."""

_MIB: Final = 1024 * 1024


@attrs.frozen
class Look:
    """One look at a process: seconds since the soak began, seconds it lived, bytes resident, descriptors open."""

    at: float
    age: float
    resident: int
    descriptors: int


@attrs.frozen
class Course:
    """How one measure of a role went: at the first steady look, at the last, most ever, and its growth an hour."""

    first: float
    last: float
    most: float
    slope: float


def look_at(pid: int, at: float, age: float) -> Look | None:
    """What the kernel says of a process now; None when it has just ended."""
    with suppress(OSError, StopIteration, ValueError):
        status = Path(f"/proc/{pid}/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return Look(at, age, int(resident.split()[1]) * 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))
    return None


class Watch:
    """All looks at all roles, life by life."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._looks: dict[str, dict[int, list[Look]]] = {}

    def look(self, now: float, began: float) -> None:
        """Look at every role that runs; `now` and `began` are of the monotonic clock."""
        for name, life in list(self._site.lives.items()):
            pid = life.process.pid
            if (seen := look_at(pid, now - began, now - life.began)) is not None:
                self._looks.setdefault(name, {}).setdefault(pid, []).append(seen)

    def latest(self, name: str) -> Look | None:
        """The last look at a role."""
        lives = list(self._looks.get(name, {}).values())
        return lives[-1][-1] if lives else None

    def lives(self, name: str) -> int:
        """How many processes a role had."""
        return len(self._looks.get(name, {}))

    def resident(self, name: str) -> Course:
        """Its memory, in MiB."""
        return self._course(name, "resident", _MIB)

    def descriptors(self, name: str) -> Course:
        """Its open descriptors."""
        return self._course(name, "descriptors", 1)

    def _course(self, name: str, measure: str, unit: float) -> Course:
        steady = [[look for look in life if look.age >= STEADY] for life in self._looks.get(name, {}).values()]
        runs = [[(look.age, getattr(look, measure) / unit) for look in life] for life in steady if len(life) > 1]
        if not runs:
            return Course(0.0, 0.0, 0.0, 0.0)
        values = [value for run in runs for _, value in run]
        return Course(runs[0][0][1], runs[-1][-1][1], max(values), 3600.0 * slope(runs))


def slope(runs: list[list[tuple[float, float]]]) -> float:
    """Growth a second, by least squares, of runs that have a slope in common but each a level of its own."""
    above = below = 0.0
    for run in runs:
        middle = sum(x for x, _ in run) / len(run)
        level = sum(y for _, y in run) / len(run)
        above += sum((x - middle) * (y - level) for x, y in run)
        below += sum((x - middle) ** 2 for x, _ in run)
    return above / below if below else 0.0
