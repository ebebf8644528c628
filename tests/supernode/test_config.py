"""Is a bad super node configuration refused with the key's name?"""

from ipaddress import ip_network
from pathlib import Path

import pytest

from p2sp.ops.config import ConfigError, load_config
from p2sp.supernode.config import SuperNodeConfig, check_config

GOOD = {
    "listen": '"127.0.0.1:9005"',
    "identity": '"supernode.pem"',
    "authority": '"ca.pem"',
    "state": '"state"',
    "public_url": '"https://127.0.0.1:9005"',
    "manager": '"https://127.0.0.1:9004"',
    "index": '"https://127.0.0.1:9001"',
    "trackers": '["https://127.0.0.1:9002"]',
    "capacity": '"1GiB"',
}


def load(folder: Path, **changes: str) -> SuperNodeConfig:
    path = folder / "supernode.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in (GOOD | changes).items()), encoding="utf-8")
    config = load_config(path, SuperNodeConfig)
    check_config(config, path)
    return config


def test_defaults(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.capacity_bytes, config.upload_rate, config.fill_rate) == (2**30, None, None)
    assert (config.drain_seconds, config.allowed, config.workers) == (15.0, (), 1)


def test_serving_goes_before_fetching(tmp_path: Path) -> None:
    config = load(tmp_path, max_upload='"10MB/s"', allow_targets='["10.0.0.0/8"]', drain='"1m"')
    assert (config.upload_rate, config.fill_rate) == (10_000_000, 5_000_000)
    assert (config.allowed, config.drain_seconds) == ((ip_network("10.0.0.0/8"),), 60.0)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("listen", '"nowhere"', "$.listen: 'nowhere' is not an address"),
        ("listen", '"127.0.0.1:0"', "$.workers: need a port of which they know"),
        ("wire", '"nowhere"', "$.wire: 'nowhere' is not an address"),
        ("public_url", '"http://127.0.0.1"', "$.public_url: 'http://127.0.0.1' must begin with https://"),
        ("trackers", "[]", "$.trackers: must name at least one tracker"),
        ("capacity", '"0"', "$.capacity: must be more than 0"),
        ("max_fill", '"2GB/s"', "$.max_fill: must not exceed max_upload"),
        ("allow_targets", '["everything"]', "$.allow_targets"),
        ("first_heartbeat", '"0s"', "$.first_heartbeat: must be more than 0"),
        ("drain", '"0s"', "$.drain: must be within an hour"),
        ("drain", '"2h"', "$.drain: must be within an hour"),
        ("colour", "1", "$.colour is not a setting"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, key: str, value: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **{"workers": "2", "max_upload": '"1GB/s"', key: value})
    assert complaint in str(caught.value)
