"""Is a bad manager configuration refused with the key's name?"""

from pathlib import Path

import pytest

from p2sp.manager.config import ManagerConfig, check_config, database_url
from p2sp.ops.config import ConfigError, load_config

GOOD = {
    "listen": '"127.0.0.1:0"',
    "identity": '"manager.pem"',
    "authority": '"ca.pem"',
    "state": '"state"',
    "statistics": '"https://127.0.0.1:9003"',
}


def load(folder: Path, **changes: str) -> ManagerConfig:
    path = folder / "manager.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in (GOOD | changes).items()), encoding="utf-8")
    config = load_config(path, ManagerConfig)
    check_config(config, path)
    return config


def test_defaults(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.limits.min_demand, config.limits.target_speed) == (64 * 2**20, 8_000_000)
    assert (config.period_seconds, config.sync_seconds, config.heartbeat_seconds) == (60.0, 10.0, 30.0)
    assert database_url(config, tmp_path / "manager.toml") == f"sqlite:///{tmp_path / 'state' / 'manager.sqlite'}"


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("listen", '"nowhere"', "$.listen: 'nowhere' is not an address"),
        ("statistics", '"http://127.0.0.1"', "$.statistics: 'http://127.0.0.1' must begin with https://"),
        ("policy", '"magic"', "$.policy: 'magic' is none of threshold, value"),
        ("target_speed", '"0"', "$.target_speed: must be more than 0"),
        ("target_speed", '"fast"', "$.target_speed: 'fast' is not a rate"),
        ("min_demand", '"0"', "$.min_demand: must be more than 0"),
        ("min_clients", "0", "$.min_clients"),
        ("half_life", '"0s"', "$.half_life: must be more than 0"),
        ("copy_rate", '"0"', "$.copy_rate: must be more than 0"),
        ("patience", '"long"', "$.patience: 'long' is not a duration"),
        ("dry_run", '"yes"', "$.dry_run: expected"),
        ("period", '"0"', "$.period: must be more than 0"),
        ("sync_interval", '"2d"', "$.sync_interval: must be more than 0 and at most a day"),
        ("heartbeat_interval", '"soon"', "$.heartbeat_interval: 'soon' is not a duration"),
        ("network_map", '"missing.json"', "missing.json: No such file"),
        ("supernode_isps", '{ abc = "campus" }', "$.supernode_isps"),
        ("colour", "1", "$.colour is not a setting"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, key: str, value: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **{key: value})
    assert complaint in str(caught.value)


def test_the_example_is_good() -> None:
    path = Path(__file__).parents[2] / "etc" / "manager.toml"
    config = load_config(path, ManagerConfig)
    check_config(config, path)
    assert (
        config.limits
        == ManagerConfig(listen="", identity="", authority="", state="", statistics="", network_map=None).limits
    )
