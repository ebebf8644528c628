"""Do libtorrent, aria2 and Transmission find each other by our tracker alone?"""

import random
import urllib.request
from pathlib import Path
from urllib.parse import quote

import libtorrent
import pytest
from bencode2 import bdecode

from tests.integration.foreign_clients import Aria, Libtorrent, Transmission, make_torrent
from tests.integration.processes import Network, free_port
from tests.integration.servers import until

LENGTH = 700_000


def wait_for_seed(http: str, torrent: Path) -> None:
    """Wait until the tracker knows of a seed, by each name the torrent has."""
    names = libtorrent.torrent_info(str(torrent)).info_hashes()
    swarms = [names.v1.to_bytes(), *([names.v2.to_bytes()[:20]] if names.has_v2() else [])]

    def known() -> bool:
        query = "&".join(f"info_hash={quote(each)}" for each in swarms)
        with urllib.request.urlopen(f"{http}/scrape?{query}", timeout=10) as answer:
            found = bdecode(answer.read())[b"files"]
        return all(found[each][b"complete"] == 1 for each in swarms)

    until(known, f"{torrent.name} is seeded")


@pytest.mark.integration
def test_they_find_each_other(tmp_path: Path) -> None:
    network = Network.create(tmp_path)
    http, udp = (f"127.0.0.1:{free_port()}" for _ in range(2))
    config = network.config("tracker", f'foreign_http = "{http}"\nforeign_udp = "{udp}"\nforeign_interval = "5s"')
    content = random.Random(5).randbytes(LENGTH)
    (tmp_path / "seed").mkdir()
    file = tmp_path / "seed" / "x.bin"
    file.write_bytes(content)
    old = make_torrent(file, f"http://{http}/announce", tmp_path / "old.torrent", hybrid=False)
    by_http = make_torrent(file, f"http://{http}/announce", tmp_path / "http.torrent", hybrid=True)
    by_udp = make_torrent(file, f"udp://{udp}/announce", tmp_path / "udp.torrent", hybrid=True)
    with network.start("tracker", config) as tracker:
        tracker.wait_for("listening on udp")
        with Transmission(old, file.parent, tmp_path / "transmission"):
            wait_for_seed(f"http://{http}", old)
            with Libtorrent(old, tmp_path / "old") as downloader:
                downloader.wait_for("complete")
                with Aria(old, tmp_path / "aria") as aria:
                    assert aria.wait(60) == 0, aria.log
        with Libtorrent(by_http, file.parent):
            wait_for_seed(f"http://{http}", by_http)
            with Libtorrent(by_udp, tmp_path / "udp") as downloader:
                downloader.wait_for("complete")
    for folder in ("aria", "old", "udp"):
        assert (tmp_path / folder / "x.bin").read_bytes() == content
