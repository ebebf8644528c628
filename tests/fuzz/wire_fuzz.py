"""What bytes of a stranger break a decoder? Searches for them, guided by what code they reach.

    pip install atheris
    python -m tests.fuzz.wire_fuzz all --inputs 10000000      # so many together, shared out over the targets
    python -m tests.fuzz.wire_fuzz session --inputs 1000000   # one target
    python -m tests.fuzz.wire_fuzz session --minutes 10

A finding is written to `tests/fuzz/corpus/TARGET/`, where `tests/fuzz/test_corpus.py` tries it again in every run of
the tests, and ends that target's search. What was learnt on the way goes to `--work`, by default a temporary folder.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
LONGEST = {"session": 300, "frames": 500}
"""Bytes of an input, where short ones say as much; 1000 otherwise."""

TARGETS = (
    "frames session abilities extensions pex metadata hashes questions torrent info metalink magnet".split()  # noqa: SIM905
)


def search(target: str, options: list[str]) -> None:
    """Search one target in this process, which ends with the search."""
    import atheris

    with atheris.instrument_imports(include=["p2sp.resource", "p2sp.wire"]):
        from tests.fuzz.targets import TARGETS as FUNCTIONS
    atheris.Setup([sys.argv[0], *options], FUNCTIONS[target])
    atheris.Fuzz()


def run(target: str, work: Path, inputs: int, minutes: float) -> tuple[int, bool]:
    """Search one target in a process of its own: inputs tried, and whether it ended without a finding."""
    known, kept = CORPUS / target, work / target
    for folder in (known, kept):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-runs={inputs}",
        f"-max_total_time={round(minutes * 60)}",
        f"-max_len={LONGEST.get(target, 1000)}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        f"-artifact_prefix={known}/",
        str(kept),
        str(known),
    ]
    process = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.wire_fuzz", target, "--child", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    tried = re.search(r"number_of_executed_units:\s*(\d+)", process.stdout)
    if process.returncode:
        tell(process.stdout[-6000:])
    return int(tried.group(1)) if tried else 0, process.returncode == 0


def tell(text: str) -> None:
    """For whoever started the search."""
    print(text, flush=True)  # noqa: T201 - a program of its own


def main() -> int:
    """Search what was asked for; 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=0, help="at the most for each target; 0 is no limit")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        search(given.target, given.child)
        return 0
    work = given.work or Path(tempfile.mkdtemp(prefix="p2sp-fuzz-"))
    targets = TARGETS if given.target == "all" else [given.target]
    total, clean = 0, True
    for target in targets:
        began = time.monotonic()
        tried, good = run(target, work, -(-given.inputs // len(targets)), given.minutes)
        seconds = max(time.monotonic() - began, 0.001)
        total, clean = total + tried, clean and good
        story = "nothing found" if good else f"FINDING in {CORPUS / target}"
        tell(f"{target}: {tried} inputs in {seconds:.0f} s ({tried / seconds:.0f}/s), {story}")
    tell(f"together: {total} inputs")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
