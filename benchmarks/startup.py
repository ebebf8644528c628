"""What does `p2sp get` cost beside curl where the file is so small that starting is all there is?

    python benchmarks/startup.py [--runs 20]

Needs nginx and curl. After a warm-up, which also compiles the bytecode as an installation does, each program fetches
10 KB `--runs` times, taking turns; medians of wall and CPU milliseconds (user and system). Python with the libraries
alone is the floor: Twisted's reactor and HTTP client, treq, click and msgspec imported, the collector off.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from http_engine import Bench, get

SIZE = 10_000
LIBRARIES = (
    "import gc; gc.disable(); import click, msgspec, treq, twisted.internet.reactor, twisted.web.client; gc.freeze()"
)


def main() -> None:
    """Measure both schemes and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="p2sp-bench-", dir="/dev/shm"))
    folder.chmod(0o755)
    (folder / "www").mkdir()
    (folder / "pki").mkdir()
    (folder / "www" / "small.bin").write_bytes(os.urandom(SIZE))
    bench = Bench(folder, given.runs)
    try:
        for scheme, base in zip(("http", "https"), bench.nginx(), strict=True):
            url, ca = f"{base}/small.bin", str(folder / "pki" / "ca.pem")
            bench.compare(
                f"10 KB, {scheme}",
                {
                    "curl": lambda target, u=url, c=ca: ["curl", "-sf", "--cacert", c, "-o", str(target / "out"), u],  # type: ignore[misc]
                    "p2sp": lambda target, u=url: get(u, "-o", str(target / "out")),  # type: ignore[misc]
                    "python, libraries alone": lambda _: [sys.executable, "-c", LIBRARIES],
                },
            )
        print(f"\n{'case':<14}{'program':<26}{'wall ms':>8}{'CPU ms':>8}{'above the first':>17}")
        for case, name, wall, cpu, _, ratio in bench.rows:
            above = wall - wall / ratio
            print(f"{case:<14}{name:<26}{wall * 1000:>8.0f}{cpu * 1000:>8.0f}{above * 1000:>+14.0f} ms")
    finally:
        bench.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
