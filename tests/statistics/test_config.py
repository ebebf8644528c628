"""Are settings that cannot work refused by name?"""

from pathlib import Path

import pytest

from p2sp.ops.config import ConfigError, load_config
from p2sp.statistics.config import StatisticsConfig, check_config, database_url

BASE = 'listen = "127.0.0.1:0"\nidentity = "i.pem"\nauthority = "ca.pem"\nstate = "state"\n'


def loaded(folder: Path, extra: str) -> tuple[StatisticsConfig, Path]:
    path = folder / "statistics.toml"
    path.write_text(BASE + extra)
    config = load_config(path, StatisticsConfig)
    check_config(config, path)
    return config, path


def test_where_the_database_is(tmp_path: Path) -> None:
    config, path = loaded(tmp_path, "")
    assert database_url(config, path) == f"sqlite:///{tmp_path}/state/statistics.sqlite"
    config, path = loaded(tmp_path, 'database = "postgresql+psycopg://db.example/p2sp"')
    assert database_url(config, path) == "postgresql+psycopg://db.example/p2sp"


@pytest.mark.parametrize("extra", ["interval = 2", 'interval = "500ms"', 'retention = "2h"', "max_sample_age = 5"])
def test_good(tmp_path: Path, extra: str) -> None:
    loaded(tmp_path, extra)


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ("interval = 0", "$.interval: 0 s is not between"),
        ("interval = -1", "$.interval: -1.0 is not a duration"),
        ('interval = "often"', "$.interval: 'often' is not a duration"),
        ('interval = "2d"', "$.interval: 172800 s is not between"),
        ('retention = "1h"', "$.retention: 3600 s is less than"),
        ('thin_after = "1h"', "$.thin_after: 3600 s is less than"),
        ('thin_interval = "2d"', "$.thin_interval: 172800 s is not more"),
        ("colour = 1", "$.colour is not a setting"),
        ("interval = []", "$.interval: expected"),
    ],
)
def test_bad(tmp_path: Path, extra: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, extra)
    assert complaint in str(caught.value)
    assert str(tmp_path / "statistics.toml") in str(caught.value)
