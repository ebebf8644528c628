"""How many announces do ours, opentracker and bittorrent-tracker take, with the same load on one core each?

    python benchmarks/announces.py [--quick] [--bittorrent-tracker FOLDER]
    python benchmarks/announces.py flood [--quick]

Needs opentracker, and for the third `npm install --ignore-scripts bittorrent-tracker` in some folder, whose
`node_modules/bittorrent-tracker` FOLDER names; what is not there is left out. Servers run on the first core and the
load on the second. A CPU second of the server says more than a wall second where the load, or a neighbour, is what
binds.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import announce_flood

from p2sp.locality.network_map import NetworkMap
from p2sp.net.authority import Authority
from p2sp.net.identity import create_identity, save_identity

HERE = Path(__file__).parent
SWARMS = 100
CONNECTIONS = 32
PREFIXES = 100_000
SERVER_CORE, LOAD_CORE = "0", "1"

CONFIG = """
listen = "127.0.0.1:{tls}"
identity = "tracker.pem"
authority = "pki/ca.pem"
state = "state"
interval = "1h"
foreign_http = "127.0.0.1:{http}"

[limits]
entries = 3000000
nodes_per_swarm = 1000000
entries_per_address = 3000000
rate_per_address = 1e9
burst_per_address = 1e9
rate_per_node = 1e9
burst_per_node = 1e9
"""


NODE = """
import Server from "{module}"
new Server({{udp: false, http: true, ws: false, stats: false}}).listen({port}, "127.0.0.1")
"""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(command: Sequence[str], port: int, cwd: Path) -> Iterator[tuple[int, Path]]:
    """A server on its core, listening; its process id and what it says."""
    log = cwd / f"server-{port}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(["taskset", "-c", SERVER_CORE, *command], cwd=cwd, stdout=said, stderr=said)
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise SystemExit(f"{' '.join(command)} ended:\n{log.read_text(errors='replace')[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield process.pid, log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def load(kind: str, pid: int, port: int, seconds: float, *more: str) -> dict[str, float]:
    """Put load on a server: announces a second, a CPU second and failures, latencies."""
    script = [sys.executable, str(HERE / "announce_load.py"), kind, str(port)]

    def run(length: float) -> dict[str, float]:
        command = ["taskset", "-c", LOAD_CORE, *script, str(length), str(CONNECTIONS), str(SWARMS), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        found: dict[str, float] = json.loads(done.stdout)
        return found

    run(min(1.0, seconds))
    before = cpu_seconds(pid)
    found = run(seconds)
    used = cpu_seconds(pid) - before
    found["rate"] = found["announces"] / found["seconds"]
    found["per_cpu"] = found["announces"] / max(used, 1e-3)
    return found


def row(what: str, found: dict[str, float]) -> None:
    """One line of the table."""
    print(
        f"{what:<44}{found['rate']:>9,.0f}{found['per_cpu']:>11,.0f}{found['p50']:>8.1f}{found['p99']:>8.1f}"
        f"{found['failed']:>8,.0f}",
        flush=True,
    )


def bep3(folder: Path, seconds: float, other: str | None) -> None:
    """BEP 3 over HTTP, a connection for each announce."""
    rates: dict[str, dict[str, float]] = {}
    port = free_port()
    (folder / "tracker.toml").write_text(CONFIG.format(tls=free_port(), http=port))
    ours = [sys.executable, str(HERE / "announce_server.py"), str(folder / "tracker.toml"), "0", str(SWARMS)]
    with server(ours, port, folder) as (pid, _):
        rates["p2sp"] = load("http", pid, port, seconds)
    if opentracker := shutil.which("opentracker"):
        port = free_port()
        # It changes its root to this folder, and answers for what is listed alone.
        root = folder / "opentracker"
        root.mkdir(mode=0o755)
        folder.chmod(0o755)
        (root / "whitelist").write_text("".join(f"{number:040x}\n" for number in range(SWARMS)))
        command = [opentracker, "-i", "127.0.0.1", "-p", str(port), "-P", str(port), "-d", str(root)]
        with server([*command, "-w", "whitelist", "-u", "nobody"], port, folder) as (pid, _):
            rates["opentracker"] = load("http", pid, port, seconds)
    if other:
        port = free_port()
        script = folder / "server.mjs"
        script.write_text(NODE.format(module=Path(other).resolve() / "server.js", port=port))
        with server(["node", str(script)], port, folder) as (pid, _):
            rates["bittorrent-tracker"] = load("http", pid, port, seconds)
    for name, found in rates.items():
        row(f"BEP 3 over HTTP, {name}", found)
    for name in ("opentracker", "bittorrent-tracker"):
        if name in rates:
            print(
                f"  p2sp is {rates['p2sp']['rate'] / rates[name]['rate']:.2f} of {name}, "
                f"{rates['p2sp']['per_cpu'] / rates[name]['per_cpu']:.2f} by CPU second"
            )


def native(folder: Path, seconds: float, peers: int) -> None:
    """Announces of our nodes over TLS, with many peers registered."""
    port = free_port()
    (folder / "tracker.toml").write_text(CONFIG.format(tls=port, http=free_port()))
    command = [sys.executable, str(HERE / "announce_server.py"), str(folder / "tracker.toml"), str(peers), str(SWARMS)]
    keys = []
    for number in range(CONNECTIONS):
        keys.append(str(folder / f"node-{number}.pem"))
        save_identity(create_identity(), folder / f"node-{number}.pem")
    with server(command, port, folder) as (pid, log):
        found = load("tls", pid, port, seconds, str(folder / "pki" / "ca.pem"), *keys)
        said = log.read_text()
    row(f"native over TLS, kept, {peers:,} peers", found)
    print(f"  {said[said.index('bytes a peer') :].splitlines()[0]}")


def flooded(folder: Path, seconds: float) -> None:
    """Ten times what a tracker can take, while others want to be served."""
    port = free_port()
    (folder / "tracker.toml").write_text(CONFIG.format(tls=port, http=free_port()))
    keys = [str(folder / f"key-{number}.pem") for number in range(CONNECTIONS)]
    for key in keys:
        save_identity(create_identity(), Path(key))
    command = [sys.executable, str(HERE / "announce_server.py"), str(folder / "tracker.toml"), "0", str(SWARMS)]
    with server(command, port, folder) as (pid, _):
        found = load("tls", pid, port, seconds / 3, str(folder / "pki" / "ca.pem"), *keys)
    row("capacity: native over TLS, kept, no limits", found)
    announce_flood.pin(LOAD_CORE)
    for kind, times in announce_flood.KINDS.items():
        ports = free_port(), free_port(), free_port()
        (folder / "flood.toml").write_text(announce_flood.CONFIG.format(tls=ports[0], http=ports[1], metrics=ports[2]))
        twistd = [str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "p2sp-tracker"]
        with server([*twistd, "--config", str(folder / "flood.toml")], ports[0], folder) as (pid, log):
            announce_flood.flood(folder, pid, ports, kind, times * found["rate"], seconds)
            if "Traceback" in (said := log.read_text(errors="replace")):
                print(f"  the tracker's log has {said.count('Traceback')} tracebacks, the first:")
                print(said[said.index("Traceback") :][:3000])


def look_ups(count: int) -> None:
    """From address to ISP, on one core."""
    chance = random.Random(1)
    rows: dict[str, dict[str, list[str]]] = {}
    prefixes: set[tuple[int, int]] = set()
    while len(prefixes) < PREFIXES:
        length = chance.choice((16, 18, 19, 20, 21, 22, 22, 23, 23, 24, 24, 24, 24, 24))
        prefixes.add((chance.getrandbits(32) >> (32 - length) << (32 - length), length))
    for number, (prefix, length) in enumerate(sorted(prefixes)):
        text = f"{prefix >> 24}.{prefix >> 16 & 255}.{prefix >> 8 & 255}.{prefix & 255}/{length}"
        rows.setdefault(f"isp-{number % 500}", {"ipv4": []})["ipv4"].append(text)
    tag = {"vtag": {"resource-id": "bench", "tag": "1"}}
    network_map = NetworkMap.decode(json.dumps({"meta": tag, "network-map": rows}).encode())
    texts = [".".join(str(chance.randrange(256)) for _ in range(4)) for _ in range(count)]
    began = time.process_time()
    known = sum(network_map.isp_of(text) is not None for text in texts)
    took = time.process_time() - began
    print(
        f"address to ISP, {PREFIXES:,} prefixes: {count / took:,.0f} look-ups a CPU second ({known / count:.0%} known)"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", nargs="?", choices=["rates", "flood"], default="rates")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, fewer peers")
    parser.add_argument("--bittorrent-tracker", help="where npm put it")
    parser.add_argument("--peers", type=int, default=100_000)
    given = parser.parse_args()
    seconds = 2.0 if given.quick else 15.0
    folder = Path(tempfile.mkdtemp(prefix="p2sp-bench-", dir="/dev/shm"))
    try:
        authority = Authority.create("benchmark")
        authority.save(folder / "pki")
        save_identity(authority.issue("tracker", ["127.0.0.1"], "tracker"), folder / "tracker.pem")
        print(f"{'':<44}{'a second':>9}{'a CPU sec.':>11}{'p50 ms':>8}{'p99 ms':>8}{'failed':>8}")
        if given.case == "flood":
            flooded(folder, 4 * seconds if given.quick else seconds)
            return
        bep3(folder, seconds, given.bittorrent_tracker)
        native(folder, seconds, 10_000 if given.quick else given.peers)
        look_ups(50_000 if given.quick else 300_000)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
