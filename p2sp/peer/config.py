"""What may an operator set for a peer daemon?"""

from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from p2sp.download.discovery import check_tracker
from p2sp.net.addresses import https_url
from p2sp.net.listen import parse_listen
from p2sp.ops.checks import Checker
from p2sp.ops.config import Base, parse_duration, parse_rate
from p2sp.ops.metrics import check_metrics


class PeerConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A peer daemon's configuration; `etc/peer.toml` explains each setting.

    `folder` holds `.torrent` files and, beside each, the file or folder it describes; what is missing there is
    downloaded.
    """

    folder: str
    wire: str = "0.0.0.0:0"
    connect_from: str | None = None
    index: str | None = None
    trackers: Annotated[list[str], Meta(max_length=8)] = field(default_factory=list)
    max_upload: str | int | None = None
    max_download: str | int | None = None
    slots: Annotated[int, Meta(ge=1, le=1000)] = 8
    clear_text: bool = False
    lan: bool = True
    scan_interval: str | int | float = "10s"

    @property
    def upload_rate(self) -> int | None:
        """Bytes a second that others may take, None for no limit."""
        return None if self.max_upload is None else parse_rate(self.max_upload)

    @property
    def download_rate(self) -> int | None:
        """Bytes a second that are fetched, None for no limit."""
        return None if self.max_download is None else parse_rate(self.max_download)

    @property
    def scan_seconds(self) -> float:
        """How often the folder is looked at."""
        return parse_duration(self.scan_interval)


def check_config(config: PeerConfig, path: Path) -> None:
    """Look at what types cannot see; raises ConfigError naming the setting that is wrong."""
    check = Checker(path)
    check.read("listen", lambda: parse_listen(config.listen))
    for url in config.trackers:
        check.read("trackers", partial(check_tracker, url))
    if config.index is not None:
        check.read("index", partial(https_url, config.index))
    check.read("wire", lambda: parse_listen(config.wire))
    check_metrics(config, path)
    check.read("max_upload", lambda: config.upload_rate)
    check.read("max_download", lambda: config.download_rate)
    check.need(check.read("scan_interval", lambda: config.scan_seconds) > 0, "scan_interval", "must be more than 0")
