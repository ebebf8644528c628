"""How does our wire compare with libtorrent's, process to process, side by side in one run?

    python benchmarks/wire.py [--runs 5] [--big-mib 1024] [--only NAME]

Works in a tmpfs (/dev/shm) with room for the file three times. After a warm-up each pair runs `--runs` times, taking
turns; medians are printed as a table in reStructuredText. Seconds count from the call to the last verified piece,
without the start of the programs; CPU seconds are of both processes, in that time; peak memory is the downloader's
whole life.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from http_engine import end, random_file

CHILD = Path(__file__).with_name("wire_child.py")
BIN = Path(sys.executable).parent
TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 200


@dataclass
class Pair:
    """Who seeds and who fetches: `ours` over TLS, `clear` without, or `libtorrent`."""

    seed: str
    get: str
    seeds: int = 1

    @property
    def name(self) -> str:
        """For the table."""
        names = {"ours": "p2sp (TLS)", "clear": "p2sp", "libtorrent": "libtorrent"}
        return f"{f'{self.seeds} x ' if self.seeds > 1 else ''}{names[self.seed]} to {names[self.get]}"


@dataclass
class Result:
    """What a pair took in its runs."""

    rate: list[float] = field(default_factory=list)
    seed_cpu: list[float] = field(default_factory=list)
    get_cpu: list[float] = field(default_factory=list)
    peak: list[float] = field(default_factory=list)


class Bench:
    """A folder on tmpfs with a file and its description, the seeds that run, and the table."""

    def __init__(self, folder: Path, runs: int, mib: int) -> None:
        self.folder = folder
        self.runs = runs
        self.mib = mib
        self.torrent = folder / "big.torrent"
        (folder / "seed").mkdir()
        self.file = random_file(folder / "seed" / "big.bin", mib)
        command = [str(BIN / "p2sp"), "publish", str(self.file), "--torrent", str(self.torrent)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self.running: list[subprocess.Popen[bytes]] = []
        self.rows: list[tuple[str, ...]] = []

    def child(self, what: str, *rest: str) -> "subprocess.Popen[bytes]":
        """Start one process of the benchmark."""
        command = [sys.executable, str(CHILD), what, str(self.torrent), *rest]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.running.append(process)
        return process

    def seed(self, kind: str) -> tuple["subprocess.Popen[bytes]", str]:
        """Start a seed; where it listens."""
        what = "lt-seed" if kind == "libtorrent" else "seed"
        process = self.child(what, str(self.file), *(["--clear"] if kind == "clear" else []))
        return process, said(process)

    def get(self, kind: str, peers: Sequence[str]) -> dict[str, float]:
        """Fetch the file once; seconds, CPU seconds and peak MiB."""
        target = Path(tempfile.mkdtemp(dir=self.folder)) / "big.bin"
        what = "lt-get" if kind == "libtorrent" else "get"
        process = self.child(what, str(target), *peers, *(["--clear"] if kind == "clear" else []))
        taken: dict[str, float] = json.loads(said(process))
        process.wait(30)
        self.running.remove(process)
        if target.stat().st_size != self.file.stat().st_size:
            raise SystemExit(f"{kind}: the file came short")
        shutil.rmtree(target.parent)
        return taken

    def compare(self, case: str, pairs: Sequence[Pair]) -> None:
        """Run the pairs in turns; the first is the one the others are compared with."""
        results = [Result() for _ in pairs]
        for turn in range(self.runs + 1):
            for pair, result in zip(pairs, results, strict=True):
                seeds = [self.seed(pair.seed) for _ in range(pair.seeds)]
                before = sum(cpu_of(process) for process, _ in seeds)
                taken = self.get(pair.get, [where for _, where in seeds])
                used = sum(cpu_of(process) for process, _ in seeds) - before
                for process, _ in seeds:
                    self.stop(process)
                if turn:
                    result.rate.append(self.mib * 1.048576 / taken["seconds"])
                    result.seed_cpu.append(used * 1024 / self.mib)
                    result.get_cpu.append(taken["cpu"] * 1024 / self.mib)
                    result.peak.append(taken["peak"])
        base = statistics.median(results[0].rate)
        for pair, result in zip(pairs, results, strict=True):
            rate = statistics.median(result.rate)
            rest = [statistics.median(row) for row in (result.seed_cpu, result.get_cpu)]
            cells = [f"{rate:.0f}", f"{rate / base:.2f}", *(f"{each:.2f}" for each in rest)]
            self.row(case, pair.name, *cells, f"{statistics.median(result.peak):.0f}")

    def row(self, *cells: str) -> None:
        """One more row, told at once."""
        self.rows.append(cells)
        print("  ".join(cells), flush=True)

    def memory(self) -> str:
        """What idle connections cost a seed."""
        seed, where = self.seed("ours")
        before = resident(seed)
        idle = self.child("idle", where, "--count", str(CONNECTIONS))
        said(idle)
        time.sleep(2)
        after = resident(seed)
        for process in (idle, seed):
            self.stop(process)
        each = (after - before) * 1024 / CONNECTIONS
        return (
            f"A seed takes {before:.0f} MiB alone, {after:.0f} MiB with {CONNECTIONS} idle connections (TLS): "
            f"{each:.0f} KiB each."
        )

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        """End a process of ours."""
        end(process)
        self.running.remove(process)

    def table(self) -> str:
        """The rows as a table in reStructuredText."""
        head = ("case", "seed to downloader", "MB/s", "ratio", "seed CPU s/GiB", "get CPU s/GiB", "peak MiB")
        widths = [max(len(row[i]) for row in [head, *self.rows]) for i in range(len(head))]
        line = "  ".join("=" * width for width in widths)
        cells = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in [head, *self.rows]]
        return "\n".join([line, cells[0], line, *cells[1:], line])

    def close(self) -> None:
        """End every process."""
        for process in self.running:
            end(process)


def said(process: "subprocess.Popen[bytes]") -> str:
    """The next line of a process."""
    assert process.stdout is not None
    line = process.stdout.readline().decode().strip()
    if not line:
        raise SystemExit(f"{process.args!r} ended without a word")
    return line


def cpu_of(process: "subprocess.Popen[bytes]") -> float:
    """CPU seconds a process has used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(process: "subprocess.Popen[bytes]") -> float:
    """MiB of memory a process holds now."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--big-mib", type=int, default=1024)
    parser.add_argument("--only", choices=["one", "three", "memory"])
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="p2sp-wire-", dir="/dev/shm"))
    bench = Bench(folder, given.runs, given.big_mib)
    try:
        theirs = Pair("libtorrent", "libtorrent")
        if given.only in (None, "one"):
            pairs = [theirs, Pair("ours", "ours"), Pair("clear", "clear"), Pair("libtorrent", "clear")]
            bench.compare(f"{given.big_mib} MiB, one to one", [*pairs, Pair("clear", "libtorrent")])
        if given.only in (None, "three"):
            bench.compare(f"{given.big_mib} MiB, three seeds", [Pair("ours", "ours"), Pair("ours", "ours", 3)])
        memory = bench.memory() if given.only in (None, "memory") else ""
        print("\n" + bench.table() + "\n\n" + memory)
    finally:
        bench.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
