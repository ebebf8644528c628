"""What does one super node process give over HTTPS, beside nginx with its `slice` cache, and what does a miss cost?

    python benchmarks/supernode_https.py [--connections 256] [--seconds 20] [--only super|nginx|miss] [--profile FILE]

Needs nginx with the slice module, wrk and curl. The server under test has one core, the load the other, and both go
before what else runs on the machine, where that is allowed (an autogroup of the kernel's scheduler). wrk asks for
4 MiB ranges at random places of a file that is in the cache; beside it a client asks, over a connection of its own, for
16 KiB again and again and notes when the first byte comes. It shares wrk's core and goes before it (SCHED_FIFO, where
that is allowed), so that what it measures is not how long it waits for its own turn. `miss`: curl gets a file through a
super node that does not have it, and from the server that does, whose connections are limited to 20 MB/s each.
"""

import argparse
import contextlib
import http.client
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import attrs

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from p2sp.net.authority import Authority  # noqa: E402 - found beside the benchmarks
from p2sp.net.files import write_private  # noqa: E402
from tests.integration.lab import MIB, NORTH, Lab, make_file, steady_port, until  # noqa: E402
from tests.integration.servers import listens  # noqa: E402

SIZE = 256 * MIB
RANGE = 4 * MIB
PROBE = 16 * 1024
RATE = 20_000_000
CACHE = "supernode"
SERVER_CORE, LOAD_CORE = {0}, {1}

SCRIPT = """
local function where()
  local at = math.random(0, {last}) * 65536
  return "bytes=" .. at .. "-" .. (at + {length} - 1)
end
function init(args) math.randomseed(os.time()) end
function request() return wrk.format("GET", nil, {{["Range"] = where()}}) end
"""

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr warn; worker_processes 1; {user}
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on;
    client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/tmp; fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
    proxy_cache_path {folder}/cache keys_zone=cache:10m max_size=4g;
    server {{ listen 127.0.0.1:{plain}; root {root}; location /slow/ {{ alias {root}/; limit_rate {rate}; }} }}
    server {{
        listen 127.0.0.1:{secure} ssl; ssl_protocols TLSv1.3;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
        keepalive_requests 1000000;
        location / {{
            slice 1m; proxy_cache cache; proxy_cache_key $uri$slice_range; proxy_cache_valid 200 206 1d;
            proxy_set_header Range $slice_range; proxy_http_version 1.1; proxy_pass http://127.0.0.1:{plain};
        }}
    }}
}}
"""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, as they live."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in [str(pid), *children]:
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def on_core(pid: int, core: set[int]) -> None:
    """Keep a process, all its threads and its children on a core."""
    for each in [str(pid), *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]:
        for task in Path(f"/proc/{each}/task").iterdir():
            os.sched_setaffinity(int(task.name), core)


def ahead(pid: int) -> None:
    """Have a process and all of its session go before what else the machine does, if we may say so."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-15")


@contextlib.contextmanager
def going_first(core: set[int]) -> Iterator[None]:
    """This thread on a core, before all others there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, core)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("the asking client has no priority here: its first bytes come late for reasons of its own")
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, before)


def first_bytes(url: str, lab: Lab, seconds: float) -> list[float]:
    """Milliseconds from a small request to its first byte, one after another, meanwhile."""
    parts = urlsplit(url)
    rng = Random(1)
    took = []
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=30, context=lab.context())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        at = rng.randrange(SIZE - PROBE)
        began = time.perf_counter()
        connection.request("GET", parts.path, headers={"Range": f"bytes={at}-{at + PROBE - 1}"})
        answer = connection.getresponse()
        answer.read(1)
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status == 206, answer.status
        answer.read()
        time.sleep(0.02)
    connection.close()
    return took


def load(name: str, url: str, pid: int, lab: Lab, given: argparse.Namespace) -> float:
    """Load a server, print what came of it; MB for each of its CPU seconds."""
    script = lab.folder / "ranges.lua"
    script.write_text(SCRIPT.format(last=(SIZE - RANGE) // 65536, length=RANGE))
    on_core(pid, SERVER_CORE)
    ahead(pid)
    command = [
        "wrk",
        "-t1",
        f"-c{given.connections}",
        f"-d{given.seconds}s",
        "--timeout",
        "30s",
        "-s",
        str(script),
        url,
    ]
    spent, began = cpu_seconds(pid), time.monotonic()
    wrk = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORE),
    )
    ahead(wrk.pid)
    profile: subprocess.Popen[bytes] | None = None
    if given.profile:
        spy = [str(Path(sys.executable).parent / "py-spy"), "record", "-p", str(pid), "-f", "raw", "-o", given.profile]
        profile = subprocess.Popen([*spy, "-d", str(given.seconds - 2), "-r", "200"])
    time.sleep(1)
    with going_first(LOAD_CORE):
        took = sorted(first_bytes(url, lab, given.seconds - 2))
    said, _ = wrk.communicate()
    spent, wall = cpu_seconds(pid) - spent, time.monotonic() - began
    if profile is not None:
        profile.wait()
    found = re.search(r"([\d.]+)(\w)B read", said)
    assert found is not None, said
    count = float(found.group(1)) * {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[found.group(2)]
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    print(
        f"{name:12} {count / wall / 1e6:6.0f} MB/s  {spent / count * 2**30:5.2f} CPU-s/GiB  first byte ms: median"
        f" {statistics.median(took):.1f}, p99 {took[int(len(took) * 0.99)]:.1f} of {len(took)}  {resident >> 20} MiB",
        flush=True,
    )
    for line in said.splitlines():
        if "Socket errors" in line or "Non-2xx" in line:
            print(f"{name:12} {line.strip()}")
    return count / spent / 1e6


@contextlib.contextmanager
def nginx(lab: Lab) -> Iterator[tuple[str, str, int]]:
    """nginx over the files of the lab: plain URL, secure URL of the same behind a slice cache, process id."""
    folder = lab.folder / "nginx"
    folder.mkdir()
    own = Authority.load(lab.folder / "pki").issue("index", ["127.0.0.1"], "nginx")
    write_private(folder / "server.pem", own.certificate_pem + own.key_pem)
    plain, secure = steady_port("127.0.0.1"), steady_port("127.0.0.1")
    text = NGINX.format(
        folder=folder,
        root=lab.folder / "origin",
        plain=plain,
        secure=secure,
        rate=RATE,
        user="user root;" if os.geteuid() == 0 else "",
    )
    (folder / "nginx.conf").write_text(text)
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        until(lambda: listens(plain) and listens(secure), 10, "nginx listens")
        yield f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{secure}", process.pid
    finally:
        process.terminate()
        process.wait()


def curl(url: str, lab: Lab) -> float:
    """Seconds that curl takes for all of it."""
    began = time.perf_counter()
    command = ["curl", "-sS", "--fail", "--cacert", str(lab.folder / "pki" / "ca.pem"), "-o", "/dev/null", url]
    subprocess.run(command, check=True, timeout=120)
    return time.perf_counter() - began


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--only", choices=["super", "nginx", "miss"])
    parser.add_argument("--profile", help="where py-spy is to write what the super node did")
    given = parser.parse_args(arguments)
    chosen = [given.only] if given.only else ["super", "nginx", "miss"]
    folder = Path(tempfile.mkdtemp(prefix="p2sp-bench-", dir="/var/tmp"))
    try:
        with Lab(folder) as lab:
            measure(lab, chosen, given)
    finally:
        shutil.rmtree(folder)


def measure(lab: Lab, chosen: Sequence[str], given: argparse.Namespace) -> None:
    """Run the network with one super node that reads through, and measure what is chosen."""
    big = lab.folder / "origin" / "big.bin"
    big.parent.mkdir()
    big.write_bytes(os.urandom(SIZE))
    missed = []
    for number in range(3):
        missed.append(make_file(lab.folder / "origin" / f"missed{number}.bin", 64 * MIB, seed=number + 2))
    lab.add("index")
    lab.add("tracker", scope="global", interval=1)
    lab.site("site.toml")
    cache = lab.add_node(CACHE, CACHE, NORTH + "3", manager="https://127.0.0.1:1", capacity=4 * SIZE)
    settings = {"public_url": cache.url, "allow_targets": ["127.0.0.0/8"], "read_through": True, "requests": 1_000_000}
    lab.rewrite(attrs.evolve(cache, settings={**cache.settings, **settings}))
    lab.start()
    with nginx(lab) as (plain, secure, nginx_pid):
        per_cpu = {}
        if "super" in chosen:
            resource = lab.publish(big, "--mirror", f"{plain}/big.bin")
            url = f"{cache.url}/r/{resource}/big.bin"
            curl(url, lab)
            time.sleep(2)
            per_cpu["super"] = load("super node", url, lab.running[CACHE].pid, lab, given)
        if "nginx" in chosen:
            curl(f"{secure}/big.bin", lab)
            per_cpu["nginx"] = load("nginx slice", f"{secure}/big.bin", nginx_pid, lab, given)
        if len(per_cpu) == 2:
            print(f"a core of the super node gives {per_cpu['super'] / per_cpu['nginx']:.2f} of a core of nginx")
        if "miss" in chosen:
            ratios = []
            for file in missed:
                source = f"{plain}/slow/{file.path.name}"
                resource = lab.publish(file.path, "--mirror", source)
                through = curl(f"{cache.url}/r/{resource}/{file.path.name}", lab)
                direct = curl(source, lab)
                ratios.append(through / direct)
                print(f"cold miss     {through:.2f} s through the super node, {direct:.2f} s direct")
            print(f"cold miss     {statistics.median(ratios):.2f} of the direct time (median)")


if __name__ == "__main__":
    main()
