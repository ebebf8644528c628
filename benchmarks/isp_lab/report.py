"""How are the results of races told: side by side in a table, and each with where its time went?"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import attrs

from benchmarks.isp_lab.race import Result

HEAD = (
    "program",
    "last s",
    "/ bound",
    "median s",
    "origin copies",
    "imported copies",
    "cores busy",
    "by it",
    "sha-256",
)


def table(results: Sequence[Result]) -> str:
    """A table in reStructuredText, a line for each."""
    rows = [HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _row(result: Result) -> tuple[str, ...]:
    last, middle = result.last, result.middle
    wanting = [course for course in result.courses if course.left is None or course.seconds is not None]
    right = sum(course.right for course in wanting)
    return (
        result.name,
        "-" if last is None or result.failed else f"{last:.1f}",
        "-" if last is None or result.failed else f"{last / result.bound:.2f}",
        "-" if middle is None else f"{middle:.1f}",
        f"{result.origin_copies:.2f}",
        " ".join(f"{copies:.2f}" for copies in result.imported.values()),
        f"{result.busy * 100:.0f} %",
        f"{result.own_share * 100:.0f} %",
        f"{right} of {len(wanting)} right",
    )


def details(result: Result) -> str:
    """Client by client: when it was done, and what it had from whom; and how busy the links were."""
    lines = [f"{result.name}: bound {result.bound:.1f} s" + (f"; FAILED: {result.failed}" if result.failed else "")]
    for course in sorted(result.courses, key=lambda course: course.seconds or 1e9):
        told = "left" if course.seconds is None and course.left is not None else "not done"
        time = f"{course.seconds:6.1f} s" if course.seconds is not None else told
        first = f", first bytes {course.first:.2f} s" if course.first is not None else ""
        gone = f", left at {course.left:.1f} s" if course.left is not None else ""
        origin = ", ".join(f"{kind} {share}" for kind, share in _shares(course.account, result.size))
        lines.append(f"  {course.host:<7} up {course.up / 1e6:4.0f} Mbit/s {time}{first}{gone}  {origin}")
    lines.append(f"  CPU: {_cpu(result.cpu)}")
    lines.extend(_links(result))
    return "\n".join(lines)


def _shares(account: dict[str, Any], size: int) -> Iterable[tuple[str, str]]:
    kinds = dict(account.get("bytes_by_kind", {}))
    for kind, count in kinds.items():
        if count:
            yield kind, f"{count / size:.2f}"
    if stalled := account.get("stalled_seconds"):
        yield "stalled", f"{stalled:.1f} s"


def _cpu(cpu: dict[str, float]) -> str:
    clients = [seconds for name, seconds in cpu.items() if "-h" in name]
    rest = {name: seconds for name, seconds in cpu.items() if "-h" not in name and seconds >= 0.1}
    told = [f"{len(clients)} clients {sum(clients):.1f} s"] if clients else []
    return ", ".join([*told, *(f"{name} {seconds:.1f} s" for name, seconds in rest.items())])


def _links(result: Result) -> Iterable[str]:
    """Rates in Mbit/s in ten parts of the race."""
    samples = result.samples
    if len(samples) < 2:
        return
    step = max((len(samples) - 1) // 10, 1)
    marks = samples[::step]
    for name in (key for key in marks[0] if key != "seconds"):
        rates = [
            (after[name] - before[name]) * 8e-6 / max(after["seconds"] - before["seconds"], 1e-3)
            for before, after in pairwise(marks)
        ]
        lead = "hosts give" if name == "given" else name
        lines = " ".join(f"{rate:4.0f}" for rate in rates)
        yield f"  {lead:<11} Mbit/s, every {step} s: {lines}"


def as_data(result: Result) -> dict[str, Any]:
    """All that is known, for a JSON file."""
    ratio = None if result.last is None else result.last / result.bound
    summary = {"last": result.last, "median": result.middle, "ratio": ratio}
    copies = {"origin_copies": result.origin_copies, "imported_copies": result.imported}
    return {**attrs.asdict(result), **summary, **copies}
