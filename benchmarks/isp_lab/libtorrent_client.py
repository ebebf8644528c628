"""What is a libtorrent client in the lab? It waits for `go`, fetches over TCP with default settings, and seeds.

libtorrent_client.py TORRENT FOLDER ADDRESS DONE PROGRESS: the file DONE comes to be when all pieces are there; how many
bytes are, stands in PROGRESS.
"""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import libtorrent

LOOK_EVERY = 0.02


def main() -> None:
    """Do it until we are ended."""
    torrent, folder, address, done, progress = sys.argv[1:]
    # Its last pieces may still be on their way to the disk: it puts things in order when the session ends well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    settings: Any = {
        "listen_interfaces": f"{address}:6881",
        "outgoing_interfaces": "up0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        # Its origin is at a private address here.
        "ssrf_mitigation": False,
        "in_enc_policy": 2,
        "out_enc_policy": 2,
        "alert_mask": 0,
    }
    session = libtorrent.session(settings)
    params: Any = libtorrent.load_torrent_file(torrent)
    params.save_path = folder
    params.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    handle = session.add_torrent(params)
    while not (status := handle.status()).is_seeding:
        Path(progress).write_text(str(status.total_done))
        time.sleep(LOOK_EVERY)
    Path(done).write_text("{}\n")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main()
