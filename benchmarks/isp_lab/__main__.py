"""How is the lab asked for its races? `python -m benchmarks.isp_lab CASE`, from the root of the checkout."""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from benchmarks.isp_lab.cases import CASES, Entry, Size
from benchmarks.isp_lab.network import Network
from benchmarks.isp_lab.ours import OURS
from benchmarks.isp_lab.processes import LabError
from benchmarks.isp_lab.race import Race, Result
from benchmarks.isp_lab.report import as_data, details, table
from benchmarks.isp_lab.sandbox import REFUSED, WORK, enter, furnish, why_not

PREPARING = 120.0
"""Seconds that network and services of one race may take before it begins."""


def words() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.isp_lab",
        description="Races of download programs in a small internet of network namespaces.",
        epilog="; ".join(f"{name}: {(case.__doc__ or '').strip().splitlines()[0]}" for name, case in CASES.items()),
    )
    parser.add_argument("case", choices=[*CASES, "check"], help="'check' says whether the lab can run on this machine")
    parser.add_argument("--only", metavar="TEXT", action="append", help="contenders whose name has this; repeatable")
    parser.add_argument("--isps", type=int)
    parser.add_argument("--hosts", type=int, help="of each ISP")
    parser.add_argument("--up", type=_rates, metavar="MBIT[-MBIT]", help="upstream of hosts, or least and most of it")
    parser.add_argument("--down", type=float, metavar="MBIT")
    parser.add_argument("--transit", type=float, metavar="MBIT", help="between an ISP and the rest, each direction")
    parser.add_argument("--origin", type=float, metavar="MBIT")
    parser.add_argument("--edge", type=float, metavar="MBIT", help="of the host at the ISP's exit: the super node's")
    parser.add_argument("--size", type=int, metavar="MIB")
    parser.add_argument("--every", type=float, metavar="SECONDS", help="between two arrivals")
    parser.add_argument("--slower", type=float, default=1.0, metavar="FACTOR", help="divide all rates by this")
    parser.add_argument("--mtu", type=int, default=1500, metavar="BYTES", help="of a packet (default %(default)s)")
    parser.add_argument("--interval", default="60s", help="of announces (default %(default)s)")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="let everybody race so often, in turns")
    parser.add_argument("--seed", type=int, default=1, help="of all lots")
    parser.add_argument(
        "--get", dest="options", action="append", default=[], metavar="=OPTION", help="one more word for `p2sp get`"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all that was measured")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep the logs of every process here")
    parser.add_argument("--brief", action="store_true", help="only the table")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


def _rates(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split("-"))


def entries(given: argparse.Namespace) -> list[Entry]:
    """The races that are asked for. Raises ValueError."""
    wish = Size(**{field.name: getattr(given, field.name) for field in attrs.fields(Size)})
    found = [entry for _ in range(given.runs) for entry in CASES[given.case](wish)]
    if given.only:
        found = [entry for entry in found if any(text in entry.contender.name for text in given.only)]
    if not found:
        raise ValueError("nobody takes part")
    return found


def run_inside(given: argparse.Namespace) -> int:
    """In the sandbox: build, race, tell; 0 when all of our own races went well."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    furnish()
    results: list[Result] = []
    todo = entries(given)
    # All races of a case are on the same plan.
    network = Network(todo[0].plan)
    network.build()
    for number, entry in enumerate(todo):
        network.throttle_origin(entry.plan.origin)
        logs = (given.logs or WORK / "logs") / f"{number}-{entry.contender.name.replace(' ', '-').replace(',', '')}"
        print(f"{time.strftime('%H:%M:%S')} {given.case}: {entry.contender.name}", file=sys.stderr, flush=True)
        result = Race(entry.plan, entry.contender, entry.rules, logs).run(network, entry.bound)
        results.append(result)
        if not given.brief:
            print(details(result), flush=True)
    print(table(results), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps([as_data(result) for result in results], indent=1) + "\n")
    return int(any(result.failed is not None and result.name.startswith(OURS) for result in results))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, enter the sandbox, and race there."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = words().parse_args(arguments)
    if given.inside:
        try:
            return run_inside(given)
        except (LabError, OSError, subprocess.SubprocessError) as error:
            print(f"isp_lab: {error}", file=sys.stderr)
            return 1
    if (reason := why_not()) is not None:
        print(f"isp_lab: {reason}", file=sys.stderr)
        return REFUSED
    if given.case == "check":
        print("isp_lab: network namespaces with shaped links can be made here")
        return 0
    try:
        deadline = sum(PREPARING + entry.rules.within for entry in entries(given))
    except ValueError as error:
        print(f"isp_lab: {error}", file=sys.stderr)
        return 2
    absolute = [f"--{name}={path.absolute()}" for name in ("json", "logs") if (path := getattr(given, name))]
    return enter([sys.executable, "-m", "benchmarks.isp_lab", *arguments, *absolute, "--inside"], deadline)


if __name__ == "__main__":
    sys.exit(main())
