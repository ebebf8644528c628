"""What does an operator set for the resource index?"""

from pathlib import Path

from p2sp.net.listen import parse_listen
from p2sp.ops.checks import Checker
from p2sp.ops.config import Base, resolve
from p2sp.ops.metrics import check_metrics


class IndexConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The settings of `p2sp-index`. `database` is an SQLAlchemy URL; without it a SQLite file in `state`."""

    database: str | None = None


def check_config(config: IndexConfig, config_path: Path) -> None:
    """Look at what types cannot say; raises ConfigError naming the key."""
    Checker(config_path).read("listen", lambda: parse_listen(config.listen))
    check_metrics(config, config_path)


def database_url(config: IndexConfig, config_path: Path) -> str:
    """Where the index keeps its resources."""
    return config.database or f"sqlite:///{resolve(config_path, config.state) / 'index.sqlite'}"
