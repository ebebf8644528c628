"""How are the results of races told: side by side in a table, and each with where its time went?"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

import attrs

from benchmarks.isp_lab.race import Result

ADDRESS = re.compile(r"10(\.\d+){3}")
HEAD = (
    "program",
    "last s",
    "/ bound",
    "median s",
    "first bytes s",
    "origin copies",
    "imported copies",
    "cores busy",
    "by it",
    "sha-256",
)


def table(results: Sequence[Result]) -> str:
    """A table in reStructuredText, a line for each contender: medians where it raced several times."""
    names = list(dict.fromkeys(result.name for result in results))
    rows = [HEAD, *(_row([result for result in results if result.name == name]) for name in names)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rule = "  ".join("=" * width for width in widths)
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def _row(races: Sequence[Result]) -> tuple[str, ...]:
    good = [race for race in races if not race.failed]
    wanting = [course for race in races for course in race.courses if course.left is None or course.seconds is not None]
    firsts = [course.first for course in wanting if course.first is not None]
    isps = zip(*(race.imported.values() for race in races), strict=True)
    return (
        races[0].name,
        _median((race.last for race in good), ".1f"),
        _median((race.last / race.bound for race in good if race.last is not None), ".2f"),
        _median((race.middle for race in good), ".1f"),
        _median(firsts, ".2f"),
        _median((race.origin_copies for race in races), ".2f"),
        " ".join(_median(copies, ".2f") for copies in isps),
        _median((race.busy * 100 for race in races), ".0f") + " %",
        _median((race.own_share * 100 for race in races), ".0f") + " %",
        f"{sum(course.right for course in wanting)} of {len(wanting)} right",
    )


def _median(values: Iterable[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(median(known), form) if known else "-"


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
    lines.extend(_crossings(result))
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


def _crossings(result: Result) -> Iterable[str]:
    """What the hosts of each ISP say they had, in copies: from servers, from nodes elsewhere, from nodes inside."""
    for isp in sorted({course.isp for course in result.courses}):
        inside = f"10.{isp}."
        had = dict.fromkeys(("the origin", "other ISPs", "inside"), 0)
        for course in result.courses:
            for source in course.account.get("sources", ()) if course.isp == isp else ():
                address = ADDRESS.search(source["label"])
                where = "inside" if address is not None and address.group().startswith(inside) else "other ISPs"
                had["the origin" if source["kind"] == "server" else where] += source["bytes"]
        if any(had.values()):
            shares = ", ".join(f"{count / result.size:.2f} from {where}" for where, count in had.items())
            yield f"  isp{isp} had copies: {shares}"


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
    marks = samples[:: max((len(samples) - 1) // 10, 1)]
    step = (marks[-1]["seconds"] - marks[0]["seconds"]) / (len(marks) - 1)
    for name in (key for key in marks[0] if key != "seconds"):
        rates = [
            (after[name] - before[name]) * 8e-6 / max(after["seconds"] - before["seconds"], 1e-3)
            for before, after in pairwise(marks)
        ]
        lines = " ".join(f"{rate:4.0f}" for rate in rates)
        yield f"  {name:<10} Mbit/s, every {step:.1f} s: {lines}"


def as_data(result: Result) -> dict[str, Any]:
    """All that is known, for a JSON file."""
    ratio = None if result.last is None else result.last / result.bound
    summary = {"last": result.last, "median": result.middle, "ratio": ratio}
    copies = {"origin_copies": result.origin_copies, "imported_copies": result.imported}
    return {**attrs.asdict(result), **summary, **copies}
