"""What does an operator set for the resource index?"""

from pathlib import Path

from p2sp.net.listen import parse_listen
from p2sp.ops.config import Base, ConfigError, resolve


class IndexConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The settings of `p2sp-index`. `database` is an SQLAlchemy URL; without it a SQLite file in `state`."""

    database: str | None = None


def check(config: IndexConfig, config_path: Path) -> None:
    """Look at what types cannot say; raises ConfigError naming the key."""
    try:
        parse_listen(config.listen)
    except ValueError as error:
        raise ConfigError(config_path, f"$.listen: {error}") from error


def database_url(config: IndexConfig, config_path: Path) -> str:
    """Where the index keeps its resources."""
    return config.database or f"sqlite:///{resolve(config_path, config.state) / 'index.sqlite'}"
