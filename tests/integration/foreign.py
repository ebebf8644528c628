"""What do tests of foreign torrents share: metainfos that libtorrent made, a tracker, and clients nobody here wrote?"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote_from_bytes
from urllib.request import urlopen

import libtorrent
from bencode2 import bdecode, bencode

from p2sp.resource.torrent_v1 import parse_foreign_torrent
from tests.integration.processes import Process, free_port
from tests.integration.servers import P2SP, listens, program, until

FLAGS = {"v1": libtorrent.create_torrent.v1_only, "v2": libtorrent.create_torrent.v2_only, "hybrid": 0}
FILES = {"a.bin": 300_000, "docs/b.txt": 70_001, "docs/empty": 0, "e.bin": 500_000}
PIECE = 32 * 1024


def make_tree(folder: Path) -> Path:
    """A folder `tree` with files of all sizes below `folder`."""
    random = Random(7)
    for name, length in FILES.items():
        path = folder / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(length))
    return folder / "tree"


def contents(folder: Path) -> dict[str, bytes]:
    """What lies below a folder, by path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def foreign_torrent(
    path: Path,
    to: Path,
    kind: str,
    *,
    trackers: Sequence[Sequence[str]] = (),
    seeds: Sequence[str] = (),
    private: bool = False,
) -> Path:
    """The metainfo that libtorrent makes of a file or folder, as it stands in many on the net."""
    made = libtorrent.create_torrent(libtorrent.list_files(str(path)), PIECE, FLAGS[kind])
    made.set_priv(private)
    libtorrent.set_piece_hashes(made, str(path.parent))
    top: dict[bytes, Any] = made.generate()
    if trackers:
        top[b"announce"] = trackers[0][0].encode()
        top[b"announce-list"] = [[url.encode() for url in tier] for tier in trackers]
    if seeds:
        top[b"url-list"] = [url.encode() for url in seeds]
    to.write_bytes(bencode(top))
    return to


def magnet_of(torrent: Path, tracker: str) -> str:
    """A link to the same resource that names a tracker and nothing else."""
    return str(parse_foreign_torrent(torrent.read_bytes()).descriptor.magnet(trackers=[tracker]))


class OpenTracker(Process):
    """opentracker for these torrents only: Debian's refuses every hash that is not in its list."""

    def __init__(self, folder: Path, torrents: Sequence[Path]) -> None:
        folder.mkdir()
        hashes = [
            each.hex()
            for torrent in torrents
            for each in parse_foreign_torrent(torrent.read_bytes()).descriptor.handshake_hashes
        ]
        (folder / "list").write_text("\n".join(hashes) + "\n")
        if os.geteuid() == 0:
            # It gives up root, and reads its list afterwards.
            shutil.chown(folder, "nobody")
            folder.chmod(0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/announce"
        self.udp = f"udp://127.0.0.1:{self.port}/announce"
        listen = ["-i", "127.0.0.1", "-p", str(self.port), "-P", str(self.port)]
        super().__init__([program("opentracker"), *listen, "-d", str(folder), "-w", "list", "-u", "nobody"], folder)
        until(lambda: listens(self.port), "opentracker listens")

    def wait_for_seed(self, torrent: Path) -> None:
        """Wait until a complete client is known, by each name the torrent has."""
        hashes = parse_foreign_torrent(torrent.read_bytes()).descriptor.handshake_hashes

        def known() -> bool:
            query = "&".join(f"info_hash={quote_from_bytes(each, safe='')}" for each in hashes)
            with urlopen(f"http://127.0.0.1:{self.port}/scrape?{query}", timeout=10) as answer:
                found = bdecode(answer.read())[b"files"]
            return all(found.get(each, {}).get(b"complete", 0) > 0 for each in hashes)

        until(known, f"{torrent.name} is seeded")


class Libtorrent(Process):
    """A libtorrent client; see `libtorrent_child`."""

    def __init__(self, what: Path | str, folder: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "tests.integration.libtorrent_child"]
        super().__init__([*command, "--listen", str(self.port), "--save", str(folder), str(what)], Path.cwd())
        self.wait_for("ready at")


def clear_text_get(cwd: Path, *arguments: str | Path) -> Process:
    """`p2sp get` that speaks with foreign clients, on loopback only; use it in a `with` statement."""
    given = ["--clear-text", "--address", "127.0.0.1", "--progress", "plain", "--why", *map(str, arguments)]
    return Process([P2SP, "get", *given], cwd)
