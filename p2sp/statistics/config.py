"""What does an operator set for the statistics server?"""

from pathlib import Path
from typing import Final

from p2sp.net.listen import parse_listen
from p2sp.ops.checks import Checker
from p2sp.ops.config import parse_duration, resolve
from p2sp.ops.metrics import check_metrics
from p2sp.ops.pages.config import PagesConfig, check_pages

_LEAST_INTERVAL: Final = 0.1
_LONGEST_INTERVAL: Final = 86_400.0


class StatisticsConfig(PagesConfig, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The settings of `p2sp-statistics`. Durations are seconds or texts such as "60s", "30d".

    `interval`: the time a rollup sums up. `retention`: how long rollups are kept; after `thin_after` they are summed up
    in those of `thin_interval`. `max_sample_age`: samples older than that are refused. `database` is an SQLAlchemy URL;
    without it a SQLite file in `state`.
    """

    database: str | None = None
    interval: str | float = 60.0
    retention: str | float = "30d"
    thin_after: str | float = "2d"
    thin_interval: str | float = "1h"
    max_sample_age: str | float = "1h"


def check_config(config: StatisticsConfig, config_path: Path) -> None:
    """Look at what types cannot say; raises ConfigError naming the key."""
    check = Checker(config_path)
    check.read("listen", lambda: parse_listen(config.listen))
    interval = check.read("interval", lambda: parse_duration(config.interval))
    fits = _LEAST_INTERVAL <= interval <= _LONGEST_INTERVAL
    check.need(fits, "interval", f"{interval:g} s is not between 0.1 s and a day")
    age = check.read("max_sample_age", lambda: parse_duration(config.max_sample_age))
    retention = check.read("retention", lambda: parse_duration(config.retention))
    check.need(retention >= age + interval, "retention", f"{retention:g} s is less than max_sample_age and interval")
    thin_after = check.read("thin_after", lambda: parse_duration(config.thin_after))
    check.need(thin_after >= age + interval, "thin_after", f"{thin_after:g} s is less than max_sample_age and interval")
    longer = check.read("thin_interval", lambda: parse_duration(config.thin_interval))
    check.need(0 < longer <= _LONGEST_INTERVAL, "thin_interval", f"{longer:g} s is not more than 0 and at most a day")
    check_pages(config, config_path)
    check_metrics(config, config_path)


def database_url(config: StatisticsConfig, config_path: Path) -> str:
    """Where the rollups are kept."""
    return config.database or f"sqlite:///{resolve(config_path, config.state) / 'statistics.sqlite'}"
