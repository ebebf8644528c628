"""How is a simulation asked for? `python -m benchmarks.swarm_simulation CASE`, from the root of the checkout."""

import argparse
import sys
import time
from collections.abc import Sequence

from benchmarks.swarm_simulation.cases import CASES, PIECE, Scale
from benchmarks.swarm_simulation.swarm import Outcome, Swarm

LONGEST = 20.0
"""Times the bound after which a swarm is given up."""

HEADS = (
    "policy",
    "last / bound",
    "median / bound",
    "origin copies",
    "imported per ISP",
    "wasted",
    "unfinished",
    "CPU s",
)


def words() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.swarm_simulation",
        description="Swarms in virtual time, with the scheduler, the selection and the piece policy of the product.",
        epilog="; ".join(f"{name}: {(case.__doc__ or '').strip()}" for name, case in CASES.items()),
    )
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--peers", type=int, default=Scale().peers, help="in all (default %(default)s, up to 10000)")
    parser.add_argument("--isps", type=int, default=Scale().isps, help="default %(default)s")
    parser.add_argument("--pieces", type=int, default=Scale().pieces, help="of 256 KiB (default %(default)s)")
    parser.add_argument("--links", type=int, default=Scale().links, help="of each peer (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all lots")
    parser.add_argument("--only", metavar="TEXT", action="append", help="policies whose name ends so; repeatable")
    return parser


def row(name: str, outcome: Outcome, cpu: float) -> tuple[str, ...]:
    """One line of the table."""
    imports = sum(outcome.imports) / len(outcome.imports)
    return (
        name,
        f"{outcome.ratio:.2f}",
        f"{outcome.median / outcome.bound:.2f}",
        f"{outcome.origin:.2f}",
        f"{imports:.2f} (most {max(outcome.imports):.2f})",
        f"{outcome.wasted:.1%}",
        str(outcome.unfinished),
        f"{cpu:.0f}",
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """In reStructuredText."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = " ".join("=" * width for width in widths)
    lines = [" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join((rule, lines[0], rule, *lines[1:], rule))


def main() -> int:
    """Run what was asked for; 1 when somebody did not get everything."""
    told = words().parse_args()
    scale = Scale(told.peers, told.isps, told.pieces, told.links, told.seed)
    rows: list[tuple[str, ...]] = [HEADS]
    unfinished = 0
    for entry in CASES[told.case](scale):
        if told.only and not any(entry.name.endswith(text) for text in told.only):
            continue
        began = time.process_time()
        swarm = Swarm(entry.plan, entry.rules, pieces=entry.pieces, piece=PIECE, step=entry.step)
        outcome = swarm.run(LONGEST * swarm.bound)
        rows.append(row(entry.name, outcome, time.process_time() - began))
        unfinished += outcome.unfinished
        print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    print(table(rows))
    return 1 if unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
