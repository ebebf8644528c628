"""Does `p2sp get` do what users of such tools expect of one, with real servers, a real proxy and real pipes?"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from p2sp.net.authority import Authority
from tests.hostile.origin import noise
from tests.integration.processes import Process, free_port, run_once
from tests.integration.servers import P2SP, Nginx, OriginProcess, get, names, start_get, until

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
WHEN = 1_500_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files to serve, of an age."""
    root = tmp_path_factory.mktemp("root")
    for number, (name, size) in enumerate({"a.bin": 3 * MIB + 5, "b.tar.gz": 70_000, "empty": 0}.items()):
        (root / name).write_bytes(noise(size, number))
        os.utime(root / name, (WHEN, WHEN))
    return root


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test authority")


@pytest.fixture(scope="module")
def nginx(root: Path, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with Nginx(tmp_path_factory.mktemp("nginx") / "conf", root, authority) as server:
        yield server


@contextmanager
def proxy(*arguments: str) -> Iterator[tuple[str, Process]]:
    """A proxy process, and where it listens."""
    with Process([sys.executable, "-m", "tests.net.proxy_server", *arguments], Path(__file__).parents[2]) as process:
        yield process.wait_for(r"listening on (\S+)").group(1), process


class _Guarded(http.server.BaseHTTPRequestHandler):
    """Gives its file to who knows the password and shows the cookie."""

    def do_GET(self) -> None:
        server: Any = self.server
        server.heard.append(dict(self.headers))
        known = self.headers.get("Authorization") == "Basic bWU6cHc=" and self.headers.get("Cookie") == "key=1"
        self.send_response(200 if known else 403)
        self.send_header("Content-Length", "6" if known else "0")
        self.end_headers()
        self.wfile.write(b"secret" if known else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - so it is called there
        """Silence."""


@contextmanager
def guarded() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Such a server, and what it was told."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Guarded) as server:
        server.heard = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/x", server.heard  # type: ignore[attr-defined]
        finally:
            server.shutdown()
            thread.join()


def test_what_servers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cookies.txt").write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\t1\n")
    with guarded() as (url, heard):
        assert get(tmp_path, url).returncode == 22
        words = ["--cookies", "cookies.txt", "--referer", "http://page/", "--user-agent", "me/2", "--header", "X-A: b"]
        result = get(tmp_path, url, *words, "--user", "me:pw")
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "x").read_bytes() == b"secret"
        last = heard[-1]
        assert (last["Referer"], last["User-Agent"], last["X-A"]) == ("http://page/", "me/2", "b")
        home = Path(os.environ["HOME"])
        (home / ".netrc").write_text("machine 127.0.0.1 login me password pw\n")
        (home / ".netrc").chmod(0o600)
        assert get(tmp_path, url, *words, "--overwrite").returncode == 0
        assert get(tmp_path, url, *words, "--overwrite", "--no-netrc").returncode == 22
        monkeypatch.setenv("NETRC", str(tmp_path / "none"))
        result = get(tmp_path, url, *words, "--overwrite")
        assert (result.returncode, "--no-netrc" in result.stderr) == (28, True)


def test_an_authority_of_ones_own(nginx: Nginx, authority: Authority, root: Path, tmp_path: Path) -> None:
    authority.save(tmp_path / "pki")
    ca = tmp_path / "pki" / "ca.pem"
    result = get(tmp_path, f"{nginx.secure}/a.bin", "--ca-certificate", ca)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.bin").read_bytes() == (root / "a.bin").read_bytes()
    result = get(tmp_path, f"{nginx.secure}/a.bin", "--ca-certificate", root / "a.bin")
    assert result.returncode == 28
    assert result.stderr.endswith("a.bin: it holds no authority's certificate in PEM\n")


def test_through_a_proxy(
    nginx: Nginx, authority: Authority, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.save(tmp_path / "pki")
    ca = ["--ca-certificate", str(tmp_path / "pki" / "ca.pem")]
    with proxy("me:pw") as (address, process):
        for url in (f"{nginx.plain}/a.bin", f"{nginx.secure}/a.bin"):
            result = get(tmp_path, url, *ca, "--proxy", f"http://me:pw@{address}", "--overwrite")
            assert result.returncode == 0, result.stderr
            assert (tmp_path / "a.bin").read_bytes() == (root / "a.bin").read_bytes()
        process.wait_for(f"GET {nginx.plain}/a.bin")
        process.wait_for(f"CONNECT {nginx.secure.removeprefix('https://')}")
        monkeypatch.setenv("all_proxy", f"http://me:wrong@{address}")
        result = get(tmp_path, f"{nginx.secure}/a.bin", *ca, "-o", "b")
        assert result.returncode == 22
        assert f"the proxy {address} does not lead to" in result.stderr
        assert "407" in result.stderr
        assert "wrong" not in result.stderr
        for words in (["--proxy", ""], []):
            result = get(tmp_path, f"{nginx.secure}/a.bin", *ca, *words, "-o", "b", "--overwrite")
            assert (result.returncode == 0) is bool(words)
        monkeypatch.setenv("no_proxy", "10.0.0.0/8,127.0.0.0/8")
        assert get(tmp_path, f"{nginx.secure}/a.bin", *ca, "-o", "b", "--overwrite").returncode == 0


def test_standard_output(nginx: Nginx, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    for name in ("a.bin", "empty"):
        result = subprocess.run([P2SP, "get", f"{nginx.plain}/{name}", "-o", "-"], capture_output=True, timeout=60)
        assert result.returncode == 0, result.stderr
        assert result.stdout == (root / name).read_bytes()
        assert b"-: " in result.stderr.splitlines()[-1]
    with (tmp_path / "file").open("wb") as file:
        assert subprocess.run([P2SP, "get", f"{nginx.plain}/a.bin", "-o", "-"], stdout=file, timeout=60).returncode == 0
    assert (tmp_path / "file").read_bytes() == (root / "a.bin").read_bytes()
    with OriginProcess(root / "b.tar.gz") as origin:
        chunked = [P2SP, "get", origin.url("chunked"), "-o", "-"]
        result = subprocess.run(chunked, capture_output=True, timeout=60)
        assert result.stdout == (root / "b.tar.gz").read_bytes()
    assert names(tmp_path / "tmp") == []


def test_a_closed_pipe_ends_it_quietly(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with OriginProcess(root / "a.bin", rate=400_000) as origin:
        command = [P2SP, "get", origin.url("honest"), "-o", "-", "--progress", "none"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            assert running.stdout.read(1000) == (root / "a.bin").read_bytes()[:1000], "before all of it is there"
            running.stdout.close()
            assert running.wait(30) == 1
            assert running.stderr.read() == b""
        assert origin.sent() < 3 * MIB
    assert names(tmp_path / "tmp") == []


def test_ctrl_c_though_the_reader_sleeps(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    with OriginProcess(root / "a.bin") as origin:
        command = [P2SP, "get", origin.url("honest"), "-o", "-", "--progress", "none"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            assert running.stderr is not None
            assert running.stdout.read(1000)
            running.send_signal(signal.SIGINT)
            assert running.wait(30) == 7
            assert running.stderr.read() == b"p2sp: interrupted\n"
    assert names(tmp_path / "tmp") == []


def test_ctrl_c_ends_all(root: Path, tmp_path: Path) -> None:
    with OriginProcess(root / "a.bin", rate=200_000) as origin:
        urls = [origin.url("honest", f"{name}.bin") for name in "abcd"]
        with start_get(tmp_path, *urls, "--jobs", "2", "--progress", "none") as running:
            until(lambda: len({hit["path"] for hit in origin.hits()}) == 2, "two are under way")
            os.kill(running.pid, signal.SIGINT)
            assert running.wait(30) == 7
            lines = [line for line in running.log.splitlines() if "interrupted" in line]
        assert sorted(line.partition(": interrupted")[0][-5:] for line in lines) == ["a.bin", "b.bin"]
        assert {hit["path"].split("/")[-1] for hit in origin.hits()} == {"a.bin", "b.bin"}, "the others never begin"


def test_times_and_names(nginx: Nginx, root: Path, tmp_path: Path) -> None:
    url = f"{nginx.plain}/b.tar.gz"
    assert get(tmp_path, url).returncode == 0
    assert (tmp_path / "b.tar.gz").stat().st_mtime == WHEN
    assert get(tmp_path, url).returncode == 13
    for name in ("b.tar.1.gz", "b.tar.2.gz"):
        result = get(tmp_path, url, "--rename", "--no-keep-time")
        assert result.returncode == 0, result.stderr
        assert (tmp_path / name).read_bytes() == (root / "b.tar.gz").read_bytes()
        assert (tmp_path / name).stat().st_mtime > WHEN
    assert get(tmp_path, url, "--rename", "--overwrite").returncode == 28


def test_many(nginx: Nginx, root: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"# files\n\n{nginx.plain}/b.tar.gz\n  {nginx.plain}/empty  \n")
    (tmp_path / "out").mkdir()
    missing = f"{nginx.plain}/none"
    # Four run at once and write to the same place: each its line in one piece.
    say = "os.write(1, f\"HOOK {os.environ['P2SP_PATH']} {os.environ['P2SP_CODE']}\\n\".encode())"
    (tmp_path / "hook.py").write_text(f"import os\n{say}\n")
    hook = f"{sys.executable} '{tmp_path}/hook.py'"
    words = ["-i", "list", "-o", "out", "--jobs", "4", "--on-complete", hook, "--on-error", "false", "--why"]
    result = get(tmp_path, f"{nginx.plain}/a.bin", missing, *words)
    assert result.returncode == 3
    assert names(tmp_path / "out") == ["a.bin", "b.tar.gz", "empty"]
    told = result.stderr.splitlines()
    assert sorted(line for line in told if line.startswith("HOOK")) == [
        f"HOOK {tmp_path}/out/{name} 0" for name in ("a.bin", "b.tar.gz", "empty")
    ]
    assert "--on-error: false: exit code 1" in told
    assert any(line.startswith(f"a.bin: server {nginx.plain}/a.bin: 3.1 MB at ") for line in told)
    result = run_once([P2SP, "get", "-i", "missing"], tmp_path)
    assert (result.returncode, result.stderr) == (28, "p2sp: --input missing: No such file or directory\n")


def test_what_is_unfinished_is_taken_up(root: Path, tmp_path: Path) -> None:
    listed = [P2SP, "unfinished"]
    (tmp_path / "elsewhere").mkdir()
    with OriginProcess(root / "a.bin", rate=400_000) as origin:
        url = origin.url("honest", "a.bin")
        with start_get(tmp_path, url, "-o", "mine", "--user", "me:hunter2", "--header", "X-Key: hunter3") as running:
            origin.wait_until_sent(100_000)
            running.kill()
        assert run_once(listed, tmp_path).stdout == f"{tmp_path}/mine  {url}\n"
        state = Path(os.environ["XDG_STATE_HOME"]) / "p2sp" / "unfinished.json"
        assert "hunter" not in state.read_text()
        assert state.stat().st_mode & 0o777 == 0o600
        origin.set(rate=50_000_000)
        result = get(tmp_path / "elsewhere", "--resume-all")
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "mine").read_bytes() == (root / "a.bin").read_bytes()
        assert json.loads(state.read_text())["downloads"] == []
        assert run_once(listed, tmp_path).stdout == ""
        result = get(tmp_path, "--resume-all")
        assert (result.returncode, result.stderr) == (0, "p2sp: nothing is unfinished\n")


def test_the_limit_is_kept_by_all_together(root: Path, tmp_path: Path) -> None:
    """A slow machine takes longer; none may take less than the limit and its burst of a quarter second allow."""
    (tmp_path / "out").mkdir()
    with OriginProcess(root / "a.bin") as origin:
        urls = [origin.url("honest", f"{name}.bin") for name in "abc"]
        begun = time.monotonic()
        result = get(tmp_path, *urls, "-o", "out/", "--max-download", "3MB/s")
        took = time.monotonic() - begun
        assert result.returncode == 0, result.stderr
        assert took > 3 * (3 * MIB + 5) / 3e6 * 0.95 - 0.25
        assert origin.sent() < 3 * 4 * MIB, "nor is anything fetched twice for it"
    assert all((tmp_path / "out" / f"{name}.bin").read_bytes() == (root / "a.bin").read_bytes() for name in "abc")


def test_a_port_nobody_listens_on_as_proxy(tmp_path: Path) -> None:
    result = get(tmp_path, "http://127.0.0.1:1/x", "--proxy", f"127.0.0.1:{free_port()}")
    assert result.returncode == 1
    assert result.stderr.endswith("cannot be reached: Connection refused\n")
    assert "the proxy 127.0.0.1:" in result.stderr
