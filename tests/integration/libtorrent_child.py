"""What does a client do that nobody here wrote? libtorrent, on loopback, in clear text over TCP.

Run as `python -m tests.integration.libtorrent_child --listen PORT --save FOLDER TORRENT_OR_MAGNET`; seeds what lies in
the folder and fetches what does not. Says `ready at PORT`, `has PIECES of PIECES` when that changes, and `complete`.
"""

import argparse
import sys
import time
from typing import Any

import libtorrent

LOOPBACK = "127.0.0.1"


def settings(port: int) -> Any:
    """TCP on loopback and nothing else."""
    return {
        "listen_interfaces": f"{LOOPBACK}:{port}",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
        "ssrf_mitigation": False,
        # It would know the system's authorities alone.
        "validate_https_trackers": False,
        "in_enc_policy": 2,
        "out_enc_policy": 2,
        "alert_mask": libtorrent.alert.category_t.error_notification | libtorrent.alert.category_t.peer_notification,
        # It is at home with networks of many seconds; a test is not.
        "min_reconnect_time": 1,
        "connection_speed": 100,
        "unchoke_interval": 1,
        "peer_connect_timeout": 3,
    }


def wanted(what: str, folder: str) -> Any:
    """What to take part in: a file with metainfo, or a magnet link."""
    read = libtorrent.parse_magnet_uri if what.startswith("magnet:") else libtorrent.load_torrent_file
    params = read(what)
    params.save_path = folder
    # Not queued, and without looking for others than those named.
    params.flags &= ~(libtorrent.torrent_flags.auto_managed | libtorrent.torrent_flags.paused)
    params.flags |= libtorrent.torrent_flags.disable_dht | libtorrent.torrent_flags.disable_lsd
    return params


def say(text: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Take part until told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--save", required=True)
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--max-upload", type=int, default=0)
    given = parser.parse_args()
    session = libtorrent.session(settings(given.listen))
    handle = session.add_torrent(wanted(given.what, given.save))
    if given.max_upload:
        handle.set_upload_limit(given.max_upload)
    for peer in given.peer:
        host, _, port = peer.rpartition(":")
        handle.connect_peer((host, int(port)))
    said = ""
    ready = False
    while True:
        status = handle.status()
        if not ready and status.state not in (status.checking_files, status.checking_resume_data):
            ready = True
            say(f"ready at {session.listen_port()}")
        info = handle.torrent_file()
        count = info.num_pieces() if info is not None else 0
        now = "complete" if ready and status.is_seeding else f"has {status.num_pieces} of {count}"
        if now != said:
            said = now
            say(now)
        for alert in session.pop_alerts():
            say(f"# {alert.message()}")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
