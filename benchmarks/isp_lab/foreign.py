"""How does libtorrent take part in a race: web seed at the origin, opentracker, one client on each host?"""

import sys
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.isp_lab.contenders import FILE, ORIGIN_URL, Client
from benchmarks.isp_lab.network import CONTROL_NAME
from benchmarks.isp_lab.plan import CONTROL, Host, Plan
from benchmarks.isp_lab.processes import Group

_PORT: Final = 6969
TRACKER: Final = f"http://{CONTROL}:{_PORT}/announce"
_DESCRIBE_WITHIN: Final = 60.0


@attrs.define(eq=False)
class Libtorrent:
    """A swarm that knows no ISPs, of a BitTorrent v2 torrent with the same pieces as ours."""

    name: str = "libtorrent"
    _torrent: Path = Path()

    def prepare(self, plan: Plan, group: Group, file: Path, logs: Path) -> None:
        folder = group.folder / "opentracker"
        folder.mkdir()
        self._torrent = folder / "file.torrent"
        root = str(Path(__file__).resolve().parents[2])
        command = ["env", f"PYTHONPATH={root}", sys.executable, "-m", "p2sp.cli", "publish", str(file)]
        command += ["--mirror", ORIGIN_URL, "--tracker", TRACKER, "--torrent", str(self._torrent)]
        describing = group.start("describe", CONTROL_NAME, command)
        describing.wait(_DESCRIBE_WITHIN)
        resource = describing.wait_for(r"^[0-9a-f]{64}$").group(0)
        # Debian's opentracker serves what is in its list and nothing else; of a v2 name it knows 20 bytes.
        (folder / "list").write_text(f"{resource[:40]}\n")
        listen = ["-i", CONTROL, "-p", str(_PORT), "-P", str(_PORT)]
        # It will not run as root, and where the lab is not root outside there is no other user to become.
        nobody = ["unshare", "--user", "--map-user=1000"]
        group.start("opentracker", CONTROL_NAME, [*nobody, "opentracker", *listen, "-d", str(folder), "-w", "list"])
        probe = ["curl", "--silent", "--retry", "50", "--retry-connrefused", "--retry-delay", "1", "--max-time", "30"]
        group.start("opentracker-probe", CONTROL_NAME, [*probe, f"http://{CONTROL}:{_PORT}/"]).wait(30)

    def client(self, host: Host, group: Group, folder: Path) -> Client:
        file, done, progress = folder / FILE, folder / "done.json", folder / "progress"
        child = Path(__file__).with_name("libtorrent_client.py")
        command = [sys.executable, str(child), str(self._torrent), str(folder), host.address, str(done), str(progress)]
        process = group.start(f"libtorrent-{host.name}", host.name, command, folder)
        return Client(host, process, file, done, progress)

    def account(self, client: Client) -> dict[str, Any]:
        return {}
