"""What may an operator set for a super node?"""

from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from p2sp.net.addresses import Network, https_url
from p2sp.net.listen import parse_listen
from p2sp.net.ratelimit import RateLimit
from p2sp.ops.checks import Checker
from p2sp.ops.config import Base, parse_duration, parse_rate, parse_size
from p2sp.ops.metrics import check_metrics

Urls = Annotated[list[str], Meta(max_length=8)]


class SuperNodeConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A super node's configuration; `etc/supernode.toml` explains each setting.

    `allow_targets` are networks it may fetch from although they are not public.
    """

    public_url: str
    manager: str
    index: str
    trackers: Urls
    capacity: str | int
    wire: str = "0.0.0.0:0"
    connect_from: str | None = None
    max_upload: str | int | None = None
    max_fill: str | int | None = None
    slots: Annotated[int, Meta(ge=1, le=10_000)] = 200
    clear_text: bool = False
    fills: Annotated[int, Meta(ge=1, le=100)] = 4
    read_through: bool = False
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    requests: Annotated[float, Meta(gt=0, le=1_000_000)] = 200
    allow_targets: Annotated[list[str], Meta(max_length=100)] = field(default_factory=list)
    first_heartbeat: str | int | float = "1s"
    drain: str | int | float = "15s"

    @property
    def capacity_bytes(self) -> int:
        """How much the cache may hold."""
        return parse_size(self.capacity)

    @property
    def upload_rate(self) -> int | None:
        """Bytes a second that others may take, by wire and by HTTPS each; None for no limit."""
        return None if self.max_upload is None else parse_rate(self.max_upload)

    @property
    def fill_rate(self) -> int | None:
        """Bytes a second that are fetched: half of what may be given away unless set; None for no limit."""
        if self.max_fill is None:
            return None if self.upload_rate is None else max(self.upload_rate // 2, 1)
        return parse_rate(self.max_fill)

    @property
    def drain_seconds(self) -> float:
        """How long those who are being served when it stops may still take."""
        return parse_duration(self.drain)

    @property
    def requests_limit(self) -> RateLimit:
        """How often one address may ask for something in the cache."""
        return RateLimit(self.requests, 4 * self.requests)

    @property
    def allowed(self) -> tuple[Network, ...]:
        """The networks it may fetch from besides the public ones; ValueError for what is none."""
        return tuple(ip_network(text) for text in self.allow_targets)


def check_config(config: SuperNodeConfig, path: Path) -> None:
    """Look at what types cannot see; raises ConfigError naming the setting that is wrong."""
    check = Checker(path)
    check.read("listen", lambda: parse_listen(config.listen))
    check.read("wire", lambda: parse_listen(config.wire))
    check_metrics(config, path)
    for key in ("public_url", "manager", "index"):
        check.read(key, partial(https_url, getattr(config, key)))
    for url in config.trackers:
        check.read("trackers", partial(https_url, url))
    check.need(bool(config.trackers), "trackers", "must name at least one tracker to announce to")
    check.need(check.read("capacity", lambda: config.capacity_bytes) > 0, "capacity", "must be more than 0")
    check.read("max_upload", lambda: config.upload_rate)
    fill, upload = check.read("max_fill", lambda: config.fill_rate), config.upload_rate
    check.need(
        fill is None or upload is None or fill <= upload, "max_fill", "must not exceed max_upload: serving goes first"
    )
    check.need(
        config.workers == 1 or parse_listen(config.listen)[1] != 0, "workers", "need a port of which they know, not 0"
    )
    check.read("allow_targets", lambda: config.allowed)
    check.need(parse_duration(config.first_heartbeat) > 0, "first_heartbeat", "must be more than 0")
    check.need(0 < check.read("drain", lambda: config.drain_seconds) <= 3600, "drain", "must be within an hour")
