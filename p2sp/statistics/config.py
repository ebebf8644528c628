"""What does an operator set for the statistics server?"""

from pathlib import Path
from typing import Final

from p2sp.net.listen import parse_listen
from p2sp.ops.config import Base, ConfigError, parse_duration, resolve

_LEAST_INTERVAL: Final = 0.1
_LONGEST_INTERVAL: Final = 86_400.0


class StatisticsConfig(Base, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The settings of `p2sp-statistics`. Durations are seconds or texts such as "60s", "30d".

    `interval`: the time a rollup sums up. `retention`: how long rollups are kept. `max_sample_age`: samples older than
    that are refused. `database` is an SQLAlchemy URL; without it a SQLite file in `state`.
    """

    database: str | None = None
    interval: str | float = 60.0
    retention: str | float = "30d"
    max_sample_age: str | float = "1h"


def check(config: StatisticsConfig, config_path: Path) -> None:
    """Look at what types cannot say; raises ConfigError naming the key."""
    try:
        parse_listen(config.listen)
    except ValueError as error:
        raise ConfigError(config_path, f"$.listen: {error}") from error
    interval = duration(config_path, "interval", config.interval)
    if not _LEAST_INTERVAL <= interval <= _LONGEST_INTERVAL:
        raise ConfigError(config_path, f"$.interval: {interval:g} s is not between 0.1 s and a day")
    age = duration(config_path, "max_sample_age", config.max_sample_age)
    retention = duration(config_path, "retention", config.retention)
    if retention < age + interval:
        raise ConfigError(config_path, f"$.retention: {retention:g} s is less than max_sample_age and interval")


def duration(config_path: Path, key: str, value: str | float) -> float:
    """The seconds a setting means; raises ConfigError naming the key."""
    try:
        return parse_duration(value)
    except ValueError as error:
        raise ConfigError(config_path, f"$.{key}: {error}") from error


def database_url(config: StatisticsConfig, config_path: Path) -> str:
    """Where the rollups are kept."""
    return config.database or f"sqlite:///{resolve(config_path, config.state) / 'statistics.sqlite'}"
