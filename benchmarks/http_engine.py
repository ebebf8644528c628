"""How does `p2sp get` compare with aria2 and curl, as command lines side by side in one run?

    python benchmarks/http_engine.py [--runs 5] [--big-mib 1024] [--only NAME]

Needs nginx, aria2c and curl, and a tmpfs (/dev/shm) with room for the file three times. After a warm-up each program
runs `--runs` times, taking turns; medians of wall seconds, of CPU seconds (user and system) and of the peak resident
set are printed as a table in reStructuredText, with the ratio to the program named first in each case.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from p2sp.net.authority import Authority
from p2sp.net.identity import save_identity

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent


@dataclass
class Result:
    """What one program took in its runs."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)

    def add(self, taken: tuple[float, float, float]) -> None:
        """One more run."""
        self.wall.append(taken[0])
        self.cpu.append(taken[1])
        self.rss.append(taken[2])

    def row(self) -> tuple[float, float, float]:
        """Medians: seconds, CPU seconds, MiB."""
        return statistics.median(self.wall), statistics.median(self.cpu), statistics.median(self.rss)


def measure(command: Sequence[str], cwd: Path, env: dict[str, str]) -> tuple[float, float, float]:
    """Run a command that must succeed: wall seconds, CPU seconds, peak resident MiB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {said.decode(errors='replace')[-800:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Bench:
    """A folder on tmpfs, the servers, and the table."""

    def __init__(self, folder: Path, runs: int) -> None:
        self.folder = folder
        self.runs = runs
        self.env = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            # As installed: compiled once, by the warm-up.
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
            "SSL_CERT_FILE": str(folder / "pki" / "ca.pem"),
            "XDG_STATE_HOME": str(folder / "state"),
        }
        self.servers: list[subprocess.Popen[bytes]] = []
        self.rows: list[tuple[str, str, float, float, float, float]] = []

    def server(self, *command: str) -> str:
        """Start a server that prints its URL."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.servers.append(process)
        assert process.stdout is not None
        return process.stdout.readline().decode().strip()

    def shaped(self, file: Path, *options: str) -> str:
        """Start a shaped server."""
        return self.server(sys.executable, str(HERE / "shaped_server.py"), str(file), *options)

    def nginx(self) -> tuple[str, str]:
        """Start nginx over http and https; their base URLs."""
        authority = Authority.create("benchmark")
        authority.save(self.folder / "pki")
        pem = self.folder / "pki" / "nginx.pem"
        save_identity(authority.issue("index", ["127.0.0.1"], "nginx"), pem)
        plain, secure = free_port(), free_port()
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; master_process off; pid {self.folder}/nginx.pid; error_log stderr warn;\n"
            "events { worker_connections 256; }\n"
            f"http {{ access_log off; sendfile on; client_body_temp_path {self.folder}/tmp; "
            f"proxy_temp_path {self.folder}/tmp; fastcgi_temp_path {self.folder}/tmp; "
            f"uwsgi_temp_path {self.folder}/tmp; scgi_temp_path {self.folder}/tmp;\n"
            f"server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl; ssl_certificate {pem}; "
            f"ssl_certificate_key {pem}; root {self.folder}/www; }} }}\n"
        )
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        self.servers.append(subprocess.Popen([program, "-c", str(config), "-p", str(self.folder)]))
        wait_for(plain)
        return f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}"

    def compare(self, case: str, programs: dict[str, Callable[[Path], list[str]]]) -> None:
        """Run the programs in turns, each into a fresh folder; the first is the one the others are compared with."""
        results = {name: Result() for name in programs}
        for turn in range(self.runs + 1):
            for name, command in programs.items():
                target = Path(tempfile.mkdtemp(dir=self.folder))
                taken = measure(command(target), target, self.env)
                shutil.rmtree(target)
                if turn:
                    results[name].add(taken)
        self.note(case, results)

    def note(self, case: str, results: dict[str, Result]) -> None:
        """Put a case into the table; ratios are to its first program."""
        base = None
        for name, result in results.items():
            wall, cpu, rss = result.row()
            base = base or wall
            self.rows.append((case, name, wall, cpu, rss, wall / base))
            print(f"{case}: {name} {wall:.2f} s, {cpu:.2f} s CPU, {rss:.0f} MiB, {wall / base:.2f}x", flush=True)

    def once_each(self, case: str, names: Sequence[str], commands: Callable[[str], list[str]]) -> None:
        """Like `compare`, for cases whose servers die: `commands` starts fresh ones each time."""
        results = {name: Result() for name in names}
        for turn in range(self.runs + 1):
            for name in names:
                target = Path(tempfile.mkdtemp(dir=self.folder))
                before = len(self.servers)
                taken = measure([*commands(name), "-o", str(target / "out")], target, self.env)
                for process in self.servers[before:]:
                    end(process)
                del self.servers[before:]
                shutil.rmtree(target)
                if turn:
                    results[name].add(taken)
        self.note(case, results)

    def table(self) -> str:
        """The rows as a table in reStructuredText."""
        head = ("case", "program", "wall s", "CPU s", "peak MiB", "ratio")
        body = [(c, n, f"{w:.2f}", f"{u:.2f}", f"{m:.0f}", f"{r:.2f}") for c, n, w, u, m, r in self.rows]
        widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
        line = "  ".join("=" * width for width in widths)
        cells = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [head, *body]
        ]
        return "\n".join([line, cells[0], line, *cells[1:], line])

    def close(self) -> None:
        """End every server."""
        for process in self.servers:
            end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process of ours."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def random_file(path: Path, mib: int) -> Path:
    """A file of random bytes."""
    with path.open("wb") as out:
        for _ in range(mib):
            out.write(os.urandom(1 << 20))
    return path


def metalink(bench: Bench, file: Path, urls: Sequence[str]) -> Path:
    """A Metalink with SHA-256 pieces for these URLs."""
    path = bench.folder / f"{file.name}-{abs(hash(tuple(urls)))}.meta4"
    mirrors = [part for url in urls for part in ("--mirror", url)]
    subprocess.run(
        [str(BIN / "p2sp"), "publish", str(file), *mirrors, "--metalink", str(path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return path


def get(*arguments: str) -> list[str]:
    """A quiet `p2sp get`."""
    return [str(BIN / "p2sp"), "get", *arguments, "--progress", "none"]


def aria2(bench: Bench, target: Path, *arguments: str) -> list[str]:
    """aria2 with the flags that make it fastest here."""
    return [
        "aria2c", "-q", "-V", "-x16", "-s16", "-k1M", "--file-allocation=none", "--disk-cache=64M",
        f"--ca-certificate={bench.folder}/pki/ca.pem", "--metalink-enable-unique-protocol=false", "-d", str(target),
        *arguments,
    ]  # fmt: skip


def run_big(bench: Bench, mib: int) -> None:
    """One large file from one nginx."""
    big = random_file(bench.folder / "www" / "big.bin", mib)
    ca = ["--cacert", str(bench.folder / "pki" / "ca.pem")]
    for scheme, base in zip(("http", "https"), bench.nginx(), strict=True):
        url = f"{base}/big.bin"
        described = metalink(bench, big, [url])
        bench.compare(
            f"{mib} MiB, {scheme}, pieces verified",
            {
                "aria2": lambda target, d=described: aria2(bench, target, str(d)),  # type: ignore[misc]
                "p2sp": lambda target, d=described: get(str(d), "-o", str(target / "out")),  # type: ignore[misc]
            },
        )
        bench.compare(
            f"{mib} MiB, {scheme}, no hashes",
            {
                "curl": lambda target, u=url: ["curl", "-sf", *ca, "-o", str(target / "out"), u],  # type: ignore[misc]
                "p2sp": lambda target, u=url: get(u, "-o", str(target / "out")),  # type: ignore[misc]
            },
        )


def run_mirrors(bench: Bench) -> None:
    """48 MiB from mirrors of mixed quality, against the fast one alone."""
    file = random_file(bench.folder / "www" / "mirrored.bin", 48)
    size = file.stat().st_size
    fast = ("--rate", "20e6")
    others = {
        "fast alone": None,
        "and one of 100 KB/s": ("--rate", "100e3"),
        "and one that stalls after 64 KiB": ("--rate", "20e6", "--stall-after", str(64 * 1024)),
        "and one that dies at 99 % of its half": ("--rate", "20e6", "--die-after", str(size * 99 // 200)),
    }

    def command(name: str) -> list[str]:
        urls = [bench.shaped(file, *fast)]
        if (options := others[name]) is not None:
            urls.append(bench.shaped(file, *options))
        return get(str(metalink(bench, file, urls)))

    bench.once_each("48 MiB, 20 MB/s server", list(others), command)

    def four(name: str) -> list[str]:
        return get(str(metalink(bench, file, [bench.shaped(file, *fast) for _ in range(4)])))

    bench.once_each("48 MiB, four of 20 MB/s (0.60 s is the sum)", ["p2sp"], four)


def run_small(bench: Bench) -> None:
    """A file of 10 KB: what starting costs."""
    small = bench.folder / "www" / "small.bin"
    small.write_bytes(os.urandom(10_000))
    url = bench.shaped(small)
    bench.compare(
        "10 KB",
        {
            "curl": lambda target: ["curl", "-sf", "-o", str(target / "out"), url],
            "p2sp": lambda target: get(url, "-o", str(target / "out")),
        },
    )


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--big-mib", type=int, default=1024)
    parser.add_argument("--only", choices=["big", "mirrors", "small"])
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="p2sp-bench-", dir="/dev/shm"))
    folder.chmod(0o755)
    (folder / "www").mkdir()
    (folder / "pki").mkdir()
    bench = Bench(folder, given.runs)
    try:
        if given.only in (None, "small"):
            run_small(bench)
        if given.only in (None, "mirrors"):
            run_mirrors(bench)
        if given.only in (None, "big"):
            run_big(bench, given.big_mib)
        print("\n" + bench.table())
    finally:
        bench.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
