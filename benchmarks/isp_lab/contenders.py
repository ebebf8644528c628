"""What does a program have to offer to take part in a race, and how does plain HTTP do it?"""

from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from benchmarks.isp_lab.network import ORIGIN_NAME
from benchmarks.isp_lab.plan import ORIGIN, Host, Plan
from benchmarks.isp_lab.processes import Group, LabError, Process

FILE: Final = "file.bin"
ORIGIN_URL: Final = f"http://{ORIGIN}/{FILE}"
MIB: Final = 1024 * 1024

_NGINX: Final = """
user root;
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    log_format lab '$msec $remote_addr $body_bytes_sent $request_time "$http_range"';
    access_log {log} lab;
    client_body_temp_path {folder}/tmp;
    proxy_temp_path {folder}/tmp;
    fastcgi_temp_path {folder}/tmp;
    uwsgi_temp_path {folder}/tmp;
    scgi_temp_path {folder}/tmp;
    sendfile on;
    server {{
        listen {address}:80;
        root {root};
    }}
}}
"""


@attrs.define(eq=False)
class Client:
    """One downloader: its process, which waits for `go`, and where its file and the news of its end come to lie."""

    host: Host
    process: Process
    file: Path
    done: Path
    """Has something in it when the download is complete; its time is that of the end."""

    progress: Path | None = None
    """Where it tells how many bytes it has, if it does."""

    @property
    def written(self) -> int:
        """Bytes that are there so far: as it tells, or by the blocks they take on the disk."""
        if self.progress is not None:
            return int(self.progress.read_text() or 0) if self.progress.exists() else 0
        return sum(
            each.stat().st_blocks * 512 for each in self.file.parent.glob(f"{self.file.name}*") if each.is_file()
        )

    @property
    def finished_at(self) -> float | None:
        """When it was complete, in seconds since 1970; None before."""
        try:
            found = self.done.stat()
        except FileNotFoundError:
            return None
        # Just made and not yet written: the next look will do.
        return found.st_mtime if found.st_size else None


class Contender(Protocol):
    """A way to distribute a file. One object takes part in one race."""

    name: str

    def prepare(self, plan: Plan, group: Group, file: Path, logs: Path) -> None:
        """Start what there has to be besides clients and origin, and wait until it is ready. Raises LabError."""

    def client(self, host: Host, group: Group, folder: Path) -> Client:
        """A downloader on a host. It says `ready` on a line of its own when it is, and waits for `go`."""

    def account(self, client: Client) -> dict[str, Any]:
        """What a client that is done tells of its sources; empty if it tells nothing."""


def start_origin(group: Group, root: Path, logs: Path) -> None:
    """nginx over a folder, at the origin."""
    folder = group.folder / "nginx"
    folder.mkdir()
    text = _NGINX.format(folder=folder, log=logs / "origin-access.log", address=ORIGIN, root=root)
    (folder / "nginx.conf").write_text(text)
    process = group.start("origin", ORIGIN_NAME, ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    probe = ["curl", "--silent", "--fail", "--head", "--retry", "50", "--retry-connrefused", "--retry-delay", "1"]
    group.start("origin-probe", ORIGIN_NAME, [*probe, "--max-time", "30", ORIGIN_URL]).wait(30)
    if not process.is_running:
        raise LabError(f"nginx ended:\n{process.tail()}")


class Curl:
    """Everybody fetches from the origin."""

    name = "curl"

    def prepare(self, plan: Plan, group: Group, file: Path, logs: Path) -> None:
        """Nothing but the origin is needed."""

    def client(self, host: Host, group: Group, folder: Path) -> Client:
        file, done = folder / FILE, folder / "done"
        script = (
            'echo ready && read -r _ && curl --silent --show-error --fail -o "$1" "$2" && echo done > "$3" && read -r _'
        )
        command = ["sh", "-c", script, "sh", str(file), ORIGIN_URL, str(done)]
        return Client(host, group.start(f"curl-{host.name}", host.name, command, folder), file, done)

    def account(self, client: Client) -> dict[str, Any]:
        return {"bytes_by_kind": {"server": client.file.stat().st_size}}
