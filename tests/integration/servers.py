"""How does a test run HTTP servers that others wrote, the scriptable origin, and `p2sp get` against them?"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from p2sp.net.authority import Authority
from p2sp.net.files import write_private
from p2sp.storage.journal import Journal
from p2sp.storage.places import journal_path
from tests.integration.processes import READY_WITHIN, Process, free_port, run_once

P2SP = str(Path(sys.prefix) / "bin" / "p2sp")
LOOK_EVERY = 0.02

_NGINX = """
{user}
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/tmp;
    proxy_temp_path {folder}/tmp;
    fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp;
    scgi_temp_path {folder}/tmp;
    {servers}
}}
"""

_FILES = """
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{secure} ssl;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.pem;
        root {root};
    }}
"""


def program(name: str) -> str:
    """Where a tool of the system is. Its absence fails the test: CI installs it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert found is not None, f"{name} is not installed"
    return found


def until(settled: Callable[[], bool], what: str) -> None:
    """Wait until it is so; AssertionError when it is not in time."""
    deadline = time.monotonic() + READY_WITHIN
    while not settled():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(LOOK_EVERY)


def listens(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class NginxProcess(Process):
    """nginx with these `servers`, written as its configuration has them; one of them is at `port`."""

    def __init__(self, folder: Path, servers: str, port: int) -> None:
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, servers=servers, user=user))
        super().__init__([program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], folder)
        until(lambda: listens(port), "nginx listens")


class Nginx(NginxProcess):
    """nginx over a folder, plain and with a certificate of `authority`."""

    def __init__(self, folder: Path, root: Path, authority: Authority) -> None:
        folder.mkdir()
        own = authority.issue("index", ["127.0.0.1"], "nginx")
        write_private(folder / "server.pem", own.certificate_pem + own.key_pem)
        plain, secure = free_port(), free_port()
        self.plain = f"http://127.0.0.1:{plain}"
        self.secure = f"https://127.0.0.1:{secure}"
        super().__init__(folder, _FILES.format(folder=folder, root=root, plain=plain, secure=secure), plain)


class PythonServer(Process):
    """`python -m http.server`, which knows no ranges."""

    def __init__(self, root: Path) -> None:
        super().__init__([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"], root)
        self.url = self.wait_for(r"\((http://127.0.0.1:\d+)/\)").group(1)


class OriginProcess(Process):
    """The scriptable origin with one file, at `rate` bytes a second for each answer."""

    def __init__(self, file: Path, rate: float | None = None) -> None:
        command = [sys.executable, "-m", "tests.hostile.origin", "--file", str(file)]
        super().__init__(command + ([] if rate is None else ["--rate", str(rate)]), Path.cwd())
        self.base = self.wait_for(r"listening on (http://\S+)").group(1)

    def url(self, scenario: str, name: str = "x.bin") -> str:
        return f"{self.base}/{scenario}/{name}"

    def _ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.base}{path}", timeout=10) as answer:
            return json.load(answer)

    def hits(self, since: int = 0) -> list[dict[str, Any]]:
        """What was asked so far, but for the first `since` requests, and how much was sent."""
        found: list[dict[str, Any]] = self._ask(f"/_hits?{since}")
        return found

    def sent(self) -> int:
        """Bytes of bodies sent so far."""
        return sum(hit["sent"] for hit in self.hits())

    def set(self, **values: object) -> None:
        """Change attributes of the origin."""
        self._ask(f"/_set?{urlencode(values)}")

    def wait_until_sent(self, count: int) -> None:
        """Wait until so many bytes were sent."""
        until(lambda: self.sent() >= count, f"{count} bytes are sent")


def get(cwd: Path, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run `p2sp get` to its end. Whatever it ends with, no stack trace is shown to a user."""
    result = run_once([P2SP, "get", *map(str, arguments)], cwd)
    output = result.stdout + result.stderr
    assert "Traceback" not in output, output
    assert "internal error" not in output, output
    return result


def start_get(cwd: Path, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Process:
    """Run `p2sp get` beside the test; use it in a `with` statement."""
    return Process([P2SP, "get", *map(str, arguments)], cwd, env)


def curl(url: str, to: Path, authority: Path) -> None:
    """What curl makes of a URL."""
    subprocess.run(
        [program("curl"), "--silent", "--show-error", "--fail", "--cacert", str(authority), "-o", str(to), url],
        check=True,
        timeout=60,
    )
    if not to.exists():
        # An empty body leaves no file.
        to.touch()


def marked(path: Path) -> list[int]:
    """The pieces that the journal of the download to `path` vouches for."""
    state = Journal(journal_path(path)).load()
    return [] if state is None else state.marked()


def names(folder: Path) -> Sequence[str]:
    """What lies in a folder."""
    return sorted(os.listdir(folder))
