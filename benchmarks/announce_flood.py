"""What do well-behaved clients feel while a tracker is asked for ten times what it can do? A case of `announces.py`.

A tracker as twistd runs it, with the limits it has by default; before and while somebody floods it, fifty clients
announce when they are told to. Half of them keep their connection, half dial for each announce, as after a long pause.
"""

import http.client
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from random import Random

from announce_load import HOST, native_request

from p2sp.net.identity import create_identity, save_identity

HERE = Path(__file__).parent
CLIENTS = 50
FLOODERS = 256
HANDSHAKES = 1024
"""Under way at a time."""

ANSWER_WITHIN = 10.0
KINDS = {"native": 10.0, "bep3": 30.0, "hello": 2.5}
"""How many a second, by what the tracker can take of native announces: ten times what it can take of each kind.

A BEP 3 announce over a connection that is kept costs about a third of a native one, a handshake four of them.
"""

CONFIG = """
listen = "127.0.0.1:{tls}"
metrics = "127.0.0.1:{metrics}"
identity = "tracker.pem"
authority = "pki/ca.pem"
state = "state"
interval = "1s"
foreign_http = "127.0.0.1:{http}"
"""
SHOWN = re.compile(
    r"^p2sp_(tracker_shed_total|tracker_shed_share|tracker_price|tracker_entries|http_connections"
    r"|http_refused_total\{.*\}|tracker_foreign_requests_total\{.*\}|tracker_announces_total\{.*\}) (\S+)$",
    re.MULTILINE,
)


class Client(threading.Thread):
    """A client that announces when it is told to; what it saw is in `took`, `refused` and `lost`."""

    def __init__(self, port: int, number: int, ca: Path, key: Path, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.context = ssl.create_default_context(cafile=ca)
        self.context.load_cert_chain(key)
        self.number = number
        self.keeps = number % 2 == 0
        self.took: list[tuple[float, float]] = []
        self.refused: list[float] = []
        self.lost: list[float] = []
        self._port = port
        self._stop_asked = stop
        self._chance = Random(number)
        self._connection: http.client.HTTPSConnection | None = None

    def run(self) -> None:
        """Announce until it is enough."""
        wait = self._chance.random()
        while not self._stop_asked.wait(wait):
            began = time.perf_counter()
            try:
                status, answer, retry = self._announce()
            except (OSError, http.client.HTTPException):
                self.lost.append(began)
                self._connection = None
                wait = 1.0
                continue
            if status == 200:
                self.took.append((began, time.perf_counter() - began))
                wait = float(json.loads(answer)["interval"])
            else:
                self.refused.append(began)
                wait = float(retry or 1)

    def _announce(self) -> tuple[int, bytes, str | None]:
        if self._connection is None or not self.keeps:
            if self._connection is not None:
                self._connection.close()
            self._connection = http.client.HTTPSConnection(
                HOST,
                self._port,
                timeout=ANSWER_WITHIN,
                context=self.context,
                source_address=(f"127.50.0.{self.number + 1}", 0),
            )
        body = native_request(self._chance, 100, f"{self.number + 10**6:032x}").partition(b"\r\n\r\n")[2]
        self._connection.request("POST", "/v1/announce", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, answer.read(), answer.getheader("Retry-After")


def memory(pid: int) -> str:
    """What a process has in memory, and had at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(re.findall(rf"{name}:\s+(\d+)", text)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return f"{now:.0f} MiB (at most {most:.0f})"


def metrics(port: int) -> dict[str, float]:
    """What the metrics page says of load."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=ANSWER_WITHIN) as page:
        return {name: float(value) for name, value in SHOWN.findall(page.read().decode())}


def _line(what: str, clients: list[Client], since: float, until: float) -> None:
    took = sorted(took for each in clients for began, took in each.took if since <= began < until) or [0.0]
    refused, lost = (
        sum(since <= began < until for each in clients for began in getattr(each, name)) for name in ("refused", "lost")
    )
    p50, p99 = (took[min(len(took) - 1, int(share * len(took)))] * 1000 for share in (0.5, 0.99))
    print(f"  {what:<42}{len(took):>9,}{refused:>9,}{lost:>7,}{p50:>9.1f}{p99:>9.1f}", flush=True)


def flood(folder: Path, pid: int, ports: tuple[int, int, int], kind: str, rate: float, seconds: float) -> None:
    """Flood a tracker that listens at `ports` (TLS, foreign HTTP, metrics) with `rate` announces a second."""
    ca = folder / "pki" / "ca.pem"
    keys = [folder / f"key-{number}.pem" for number in range(CLIENTS + FLOODERS)]
    for key in keys:
        if not key.exists():
            save_identity(create_identity(), key)
    stop = threading.Event()
    clients = [Client(ports[0], number, ca, keys[number], stop) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    began = time.perf_counter()
    time.sleep(seconds / 2)
    before = metrics(ports[2])
    small = memory(pid)
    flooding = time.perf_counter()
    command = [sys.executable, str(HERE / "announce_flooder.py"), kind, str(ports[1] if kind == "bep3" else ports[0])]
    connections = HANDSHAKES if kind == "hello" else FLOODERS
    command += [str(rate), str(seconds), str(connections), str(ca), *map(str, keys[CLIENTS:])]
    # The well-behaved measure themselves, and are not to wait for those who flood.
    done = subprocess.run(["nice", "-n", "15", *command], capture_output=True, text=True, check=False)
    ended = time.perf_counter()
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    after = metrics(ports[2])
    large = memory(pid)
    time.sleep(seconds / 2)
    stop.set()
    for client in clients:
        client.join(ANSWER_WITHIN)
    said = json.loads(done.stdout)
    took = said["seconds"]
    print(f"flood of {kind}: {rate:,.0f}/s wanted, over {connections:,} connections for {took:.0f} s")
    a_second = {name: said.get(name, 0) / took for name in ("offered", "sent", "200", "429", "503", "Retry-After")}
    refused = a_second["429"] + a_second["503"]
    print(
        f"  offered {a_second['offered']:,.0f}/s, sent {a_second['sent']:,.0f}/s; answered {a_second['200']:,.0f}/s, "
        f"refused {refused:,.0f}/s (429 {a_second['429']:,.0f}, 503 {a_second['503']:,.0f}; with Retry-After "
        f"{a_second['Retry-After'] / max(refused, 1e-9):.0%}), hung up {said.get('hung up', 0):,}, "
        f"not connected {said.get('not connected', 0):,}"
    )
    print(f"  {'well-behaved clients':<42}{'answered':>9}{'refused':>9}{'lost':>7}{'p50 ms':>9}{'p99 ms':>9}")
    for keeps, name in ((True, "kept connections"), (False, "dialled anew")):
        some = [each for each in clients if each.keeps == keeps]
        _line(f"{name}, before", some, began, flooding)
        _line(f"{name}, in the flood", some, flooding, ended)
        _line(f"{name}, after", some, ended, time.perf_counter())
    print(f"  memory of the tracker: {small} before, {large} after")
    changed = {
        name: value - before.get(name, 0) if name.endswith("_total") or "{" in name else value
        for name, value in after.items()
    }
    print("  metrics: " + ", ".join(f"{name} {value:,.2f}" for name, value in changed.items() if value))


def pin(core: str) -> None:
    """Keep this process, and what it starts from now on, on one core."""
    os.sched_setaffinity(0, {int(core)})
