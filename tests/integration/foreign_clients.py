"""How does a test run BitTorrent clients that others wrote, which know each other from a tracker alone?"""

import json
import shutil
import sys
from pathlib import Path

import libtorrent

from tests.integration.processes import Process, free_port
from tests.integration.servers import program

LOOPBACK = "127.0.0.1"


def make_torrent(file: Path, tracker: str, to: Path, *, hybrid: bool) -> Path:
    """Metainfo of one file made by libtorrent: a hybrid, which Transmission 3 does not read, or of BitTorrent v1."""
    files = [libtorrent.create_file_entry(file.name, file.stat().st_size)]
    made = libtorrent.create_torrent(files, 64 * 1024, 0 if hybrid else libtorrent.create_torrent.v1_only)
    made.add_tracker(tracker, 0)
    libtorrent.set_piece_hashes(made, str(file.parent))
    to.write_bytes(libtorrent.bencode(made.generate()))
    return to


class Transmission(Process):
    """transmission-daemon that seeds what lies in `folder`. It never calls loopback."""

    def __init__(self, torrent: Path, folder: Path, home: Path) -> None:
        watched = home / "watched"
        watched.mkdir(parents=True)
        # It renames what it took.
        shutil.copy(torrent, watched)
        (home / "settings.json").write_text(
            json.dumps(
                {
                    "bind-address-ipv4": LOOPBACK,
                    "bind-address-ipv6": "::1",
                    "dht-enabled": False,
                    "download-dir": str(folder),
                    "lpd-enabled": False,
                    "peer-port": free_port(),
                    "pex-enabled": False,
                    "port-forwarding-enabled": False,
                    "rpc-enabled": False,
                    "utp-enabled": False,
                    "watch-dir": str(watched),
                    "watch-dir-enabled": True,
                }
            )
        )
        super().__init__([program("transmission-daemon"), "--foreground", "--config-dir", str(home)], home)


class Aria(Process):
    """aria2 that downloads a torrent and ends."""

    def __init__(self, torrent: Path, to: Path) -> None:
        to.mkdir()
        super().__init__(
            [
                program("aria2c"),
                "--no-conf",
                "--enable-dht=false",
                "--enable-dht6=false",
                "--enable-peer-exchange=false",
                "--bt-enable-lpd=false",
                "--disable-ipv6=true",
                f"--interface={LOOPBACK}",
                f"--listen-port={free_port()}",
                f"--dir={to}",
                "--seed-time=0",
                "--summary-interval=0",
                str(torrent),
            ],
            to,
        )


class Libtorrent(Process):
    """libtorrent in a process of its own: downloads what is not there, then seeds."""

    def __init__(self, torrent: Path, to: Path) -> None:
        to.mkdir(exist_ok=True)
        module = [sys.executable, "-m", "tests.integration.libtorrent_child"]
        super().__init__([*module, "--listen", str(free_port()), "--save", str(to), str(torrent)], Path.cwd())
