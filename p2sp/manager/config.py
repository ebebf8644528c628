"""What may an operator set for the manager, and does it fit together?"""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, field

from p2sp.locality.alto import LARGEST_DOCUMENT
from p2sp.locality.network_map import NetworkMap
from p2sp.manager.placement import Limits
from p2sp.manager.policies import POLICIES
from p2sp.net.addresses import https_url
from p2sp.net.fields import NodeId, Text
from p2sp.net.listen import parse_listen
from p2sp.ops.checks import Checker, load_document
from p2sp.ops.config import parse_duration, parse_rate, parse_size, resolve
from p2sp.ops.metrics import check_metrics
from p2sp.ops.pages.config import PagesConfig, check_pages

Duration = str | int | float

_LONGEST: Final = 86_400.0


class ManagerConfig(PagesConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A manager's configuration; `etc/manager.toml` explains each setting."""

    statistics: str
    network_map: str | None = None
    supernode_isps: Annotated[dict[NodeId, Text], Meta(max_length=10_000)] = field(default_factory=dict)
    policy: str = "value"
    target_speed: str | int = "8MB/s"
    min_clients: Annotated[int, Meta(ge=1)] = 2
    min_demand: str | int = "64MiB"
    half_life: Duration = "10h"
    copy_rate: str | int = "100MB/s"
    patience: Duration = "5min"
    dry_run: bool = False
    period: Duration = "60s"
    sync_interval: Duration = "10s"
    heartbeat_interval: Duration = "30s"
    database: str | None = None

    @property
    def limits(self) -> Limits:
        """What a resource must reach; raises ValueError for what cannot be read."""
        return Limits(
            min_clients=self.min_clients,
            min_demand=parse_size(self.min_demand),
            target_speed=parse_rate(self.target_speed),
            half_life=parse_duration(self.half_life),
            copy_rate=parse_rate(self.copy_rate),
        )

    @property
    def period_seconds(self) -> float:
        """How often placements are decided."""
        return parse_duration(self.period)

    @property
    def sync_seconds(self) -> float:
        """How often the statistics are read."""
        return parse_duration(self.sync_interval)

    @property
    def patience_seconds(self) -> float:
        """How long a silent super node's placements wait for it."""
        return parse_duration(self.patience)

    @property
    def heartbeat_seconds(self) -> float:
        """How often super nodes are to come."""
        return parse_duration(self.heartbeat_interval)


def check_config(config: ManagerConfig, path: Path) -> None:
    """Look at what types cannot see; raises ConfigError naming the setting that is wrong."""
    check = Checker(path)
    check.read("listen", lambda: parse_listen(config.listen))
    check.read("statistics", lambda: https_url(config.statistics))
    check.need(config.policy in POLICIES, "policy", f"{config.policy!r} is none of {', '.join(sorted(POLICIES))}")
    check.need(
        check.read("target_speed", lambda: parse_rate(config.target_speed)) > 0, "target_speed", "must be more than 0"
    )
    check.need(check.read("min_demand", lambda: parse_size(config.min_demand)) > 0, "min_demand", "must be more than 0")
    check.need(
        check.read("half_life", lambda: parse_duration(config.half_life)) > 0, "half_life", "must be more than 0"
    )
    check.need(check.read("copy_rate", lambda: parse_rate(config.copy_rate)) > 0, "copy_rate", "must be more than 0")
    check.read("patience", lambda: parse_duration(config.patience))
    for key in ("period", "sync_interval", "heartbeat_interval"):
        seconds = check.read(key, lambda key=key: parse_duration(getattr(config, key)))  # type: ignore[misc]
        check.need(0 < seconds <= _LONGEST, key, "must be more than 0 and at most a day")
    load_network_map(config, path)
    check_pages(config, path)
    check_metrics(config, path)


def load_network_map(config: ManagerConfig, path: Path) -> NetworkMap | None:
    """The network map the configuration names, if any; raises ConfigError naming its file."""
    return load_document(path, config.network_map, LARGEST_DOCUMENT, NetworkMap.decode)


def database_url(config: ManagerConfig, path: Path) -> str:
    """Where nodes and placements are kept."""
    return config.database or f"sqlite:///{resolve(path, config.state) / 'manager.sqlite'}"
