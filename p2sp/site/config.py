"""Which parts does a site in one process run?"""

from pathlib import Path
from typing import Any

import msgspec

from p2sp.index.config import IndexConfig
from p2sp.index.config import check_config as check_index
from p2sp.manager.config import ManagerConfig
from p2sp.manager.config import check_config as check_manager
from p2sp.ops.config import load_config, resolve
from p2sp.statistics.config import StatisticsConfig
from p2sp.statistics.config import check_config as check_statistics
from p2sp.tracker.config import TrackerConfig
from p2sp.tracker.config import check_config as check_tracker


class SiteConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The configuration files of the four roles; relative paths start at this file's folder."""

    index: str = "index.toml"
    tracker: str = "tracker.toml"
    statistics: str = "statistics.toml"
    manager: str = "manager.toml"


ROLES: dict[str, tuple[type[msgspec.Struct], Any]] = {
    "statistics": (StatisticsConfig, check_statistics),
    "manager": (ManagerConfig, check_manager),
    "index": (IndexConfig, check_index),
    "tracker": (TrackerConfig, check_tracker),
}
"""The roles in the order in which they start; they stop the other way round."""


def load_roles(config: SiteConfig, config_path: Path) -> dict[str, tuple[Any, Path]]:
    """Each role's checked configuration and its path. Raises ConfigError naming the file at fault."""
    loaded = {}
    for role, (kind, check) in ROLES.items():
        path = resolve(config_path, getattr(config, role))
        values = load_config(path, kind)
        check(values, path)
        loaded[role] = (values, path)
    return loaded
