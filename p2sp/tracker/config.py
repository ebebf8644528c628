"""What may an operator set for a tracker, and does it fit together?"""

from functools import partial
from pathlib import Path

import msgspec

from p2sp.locality.alto import LARGEST_DOCUMENT
from p2sp.locality.asn import read_groups
from p2sp.locality.cost import CostMap
from p2sp.locality.network_map import NetworkMap
from p2sp.net.addresses import https_url
from p2sp.net.listen import parse_listen
from p2sp.ops.checks import Checker, load_document
from p2sp.ops.config import Base, parse_duration, parse_rate, resolve
from p2sp.ops.metrics import check_metrics
from p2sp.tracker.asn_file import AsnFile
from p2sp.tracker.entry import Limits
from p2sp.tracker.schema import LONGEST_INTERVAL, Registration, Scope
from p2sp.tracker.selection import REMOTE_LEAST, REMOTE_MOST, make_policy

Duration = str | int | float
MOST_WORKERS = 64


class LimitsConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`[limits]`: how much is kept, and how often one address or one key may announce (calls a second, burst)."""

    swarms: int = Limits().swarms
    entries: int = Limits().entries
    nodes_per_swarm: int = Limits().nodes_per_swarm
    swarms_per_node: int = Limits().swarms_per_node
    entries_per_address: int = Limits().entries_per_address
    rate_per_address: float = 100.0
    burst_per_address: float = 400.0
    rate_per_node: float = 20.0
    burst_per_node: float = 400.0

    def store_limits(self) -> Limits:
        """The part that concerns the store."""
        return Limits(self.swarms, self.entries, self.nodes_per_swarm, self.swarms_per_node, self.entries_per_address)


class TrackerConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A tracker's configuration; `etc/tracker.toml` explains each setting."""

    scope: Scope = Scope.GLOBAL
    network_map: str | None = None
    cost_map: str | None = None
    asn_file: str | None = None
    asn_groups: dict[str, str] | None = None
    statistics: str | None = None
    report_interval: Duration = "10s"
    global_tracker: str | None = None
    public_url: str | None = None
    isps: tuple[str, ...] = ()
    interval: Duration = "60s"
    expiry: Duration | None = None
    store: str = "memory"
    workers: int = 1
    foreign_http: str | None = None
    foreign_udp: str | None = None
    foreign_interval: Duration = "5min"
    foreign_rate: str | int = "125MB/s"
    selection: str = "biased"
    remote_max: int = REMOTE_MOST
    limits: LimitsConfig = LimitsConfig()

    @property
    def interval_seconds(self) -> float:
        """How often nodes announce."""
        return parse_duration(self.interval)

    @property
    def expiry_seconds(self) -> float:
        """How long a node may be silent; three intervals unless set."""
        return 3.0 * self.interval_seconds if self.expiry is None else parse_duration(self.expiry)

    @property
    def foreign_seconds(self) -> float:
        """How often foreign clients announce."""
        return parse_duration(self.foreign_interval)

    @property
    def foreign_bytes(self) -> int:
        """Bytes a second that an address of foreign clients may claim to download; 0 when nothing is believed."""
        return parse_rate(self.foreign_rate)

    @property
    def report_seconds(self) -> float:
        """How often samples are sent."""
        return parse_duration(self.report_interval)

    @property
    def registration(self) -> Registration | None:
        """What this tracker says to the global one; None when it registers nowhere."""
        if self.global_tracker is None or self.public_url is None:
            return None
        return Registration(https_url(self.public_url), list(self.isps))


def check_config(config: TrackerConfig, path: Path) -> None:
    """Look at what types cannot see; raises ConfigError naming the setting that is wrong."""
    check = Checker(path)
    check.read("listen", lambda: parse_listen(config.listen))
    interval = check.read("interval", lambda: config.interval_seconds)
    check.need(0 < interval <= LONGEST_INTERVAL, "interval", "must be more than 0 and at most a day")
    expiry = check.read("expiry", lambda: config.expiry_seconds)
    check.need(expiry >= 2 * interval, "expiry", "must be at least twice the interval, else nodes drop out in between")
    check.need(
        check.read("report_interval", lambda: config.report_seconds) > 0, "report_interval", "must be more than 0"
    )
    foreign = check.read("foreign_interval", lambda: config.foreign_seconds)
    check.need(1 <= foreign <= LONGEST_INTERVAL, "foreign_interval", "must be at least a second and at most a day")
    check.read("foreign_rate", lambda: config.foreign_bytes)
    for key in ("foreign_http", "foreign_udp"):
        if (address := getattr(config, key)) is not None:
            check.read(key, partial(parse_listen, address))
    check_metrics(config, path)
    if config.store != "memory":
        check.read("store", partial(check_store, config.store))
    check.need(1 <= config.workers <= MOST_WORKERS, "workers", f"must be from 1 to {MOST_WORKERS}")
    check.need(
        config.workers == 1 or config.store != "memory", "workers", "share nothing without a store in Redis, see store"
    )
    check.need(
        config.workers == 1 or parse_listen(config.listen)[1] != 0, "workers", "need a port of which they know, not 0"
    )
    check.read("selection", lambda: make_policy(config.selection))
    check.need(
        config.remote_max >= REMOTE_LEAST, "remote_max", f"must be at least {REMOTE_LEAST}: locality must not starve"
    )
    for name in LimitsConfig.__struct_fields__:
        check.need(getattr(config.limits, name) > 0, f"limits.{name}", "must be more than 0")
    for key in ("statistics", "global_tracker", "public_url"):
        if (url := getattr(config, key)) is not None:
            check.read(key, partial(https_url, url))
    _check_scope(config, check)
    check.read("asn_groups", lambda: read_groups(config.asn_groups or {}))
    check.need(not config.asn_groups or config.asn_file is not None, "asn_groups", "are for an asn_file")
    load_network_map(config, path)
    load_costs(config, path)
    if (asn_file := open_asn_file(config, path)) is not None:
        asn_file.close()


def check_store(url: str) -> None:
    """Raise ValueError for what is no URL of a Redis, or when there is no way to talk to one."""
    try:
        from p2sp.tracker.redis_store import connect
    except ImportError:
        raise ValueError("is in Redis, which needs more to be installed: pip install p2sp[redis]") from None
    connect(url).close()


def _check_scope(config: TrackerConfig, check: Checker) -> None:
    if config.scope is Scope.GLOBAL:
        check.need(config.global_tracker is None, "global_tracker", 'is for a tracker of scope "local"')
        check.need(not config.isps, "isps", 'is for a tracker of scope "local"')
        return
    check.need(bool(config.isps), "isps", "a local tracker names the ISPs it serves")
    check.need(len(config.isps) <= 1000, "isps", "names more than 1000 ISPs")
    if config.global_tracker is not None:
        check.need(config.public_url is not None, "public_url", "is needed to register at the global tracker")


def load_network_map(config: TrackerConfig, path: Path) -> NetworkMap | None:
    """The network map the configuration names, if any; raises ConfigError naming its file."""
    return load_document(path, config.network_map, LARGEST_DOCUMENT, NetworkMap.decode)


def open_asn_file(config: TrackerConfig, path: Path) -> AsnFile | None:
    """The file of autonomous systems the configuration names, if any; raises ConfigError naming it."""
    return None if config.asn_file is None else AsnFile(resolve(path, config.asn_file))


def load_costs(config: TrackerConfig, path: Path) -> CostMap:
    """The cost map the configuration names, or the defaults; raises ConfigError naming its file."""
    return load_document(path, config.cost_map, LARGEST_DOCUMENT, CostMap.decode) or CostMap()
