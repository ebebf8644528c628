"""Is a tracker's configuration understood, and is what is wrong with it named?"""

from pathlib import Path

import pytest

from p2sp.ops.config import ConfigError, load_config
from p2sp.tracker.config import TrackerConfig, check_config, load_network_map
from p2sp.tracker.entry import Limits
from p2sp.tracker.schema import Registration, Scope

ETC = Path(__file__).parents[2] / "etc"
BASE = 'listen = "127.0.0.1:0"\nidentity = "i.pem"\nauthority = "ca.pem"\nstate = "state"\n'
LOCAL = 'scope = "local"\nisps = ["campus"]\n'
URL = "https://tracker.example:9002"


def load(folder: Path, text: str) -> TrackerConfig:
    path = folder / "tracker.toml"
    path.write_text(BASE + text, encoding="utf-8")
    config = load_config(path, TrackerConfig)
    check_config(config, path)
    return config


def test_the_example_is_good_and_shows_the_defaults(tmp_path: Path) -> None:
    path = ETC / "tracker.toml"
    config = load_config(path, TrackerConfig)
    check_config(config, path)
    network_map = load_network_map(config, path)
    assert network_map is not None
    assert network_map.isp_of("192.0.2.7") == "campus"
    text = path.read_text(encoding="utf-8")
    shown = dict(line[2:].split(" = ", 1) for line in text.splitlines() if line.startswith("# ") and " = " in line)
    plain = load(tmp_path, "")
    for name, value in shown.items():
        holder = plain.limits if hasattr(plain.limits, name) else plain
        default = getattr(holder, name)
        if default is not None and default != ():
            assert str(default) == value.strip('"'), name
    assert set(TrackerConfig.__struct_fields__) <= {
        line.lstrip("# [").split(" ")[0].rstrip("]") for line in text.splitlines()
    }


def test_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert (config.scope, config.interval_seconds, config.expiry_seconds) == (Scope.GLOBAL, 60.0, 180.0)
    assert config.limits.store_limits() == Limits()
    assert config.registration is None


def test_a_local_tracker_registers_itself(tmp_path: Path) -> None:
    config = load(tmp_path, LOCAL + f'global_tracker = "{URL}"\npublic_url = "{URL}/"\ninterval = 2')
    assert config.registration == Registration(URL, ["campus"])
    assert config.expiry_seconds == 6.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('scope = "regional"', "$.scope"),
        ('colour = "red"', "$.colour is not a setting"),
        ('interval = "soon"', "$.interval: 'soon' is not a duration"),
        ("interval = 0", "$.interval: must be more than 0"),
        ('interval = "2d"', "$.interval"),
        ('interval = "60s"\nexpiry = "90s"', "$.expiry: must be at least twice the interval"),
        ('report_interval = "0s"', "$.report_interval"),
        ('foreign_rate = "fast"', "$.foreign_rate: 'fast' is not a rate"),
        ('selection = "nearest"', "$.selection: there is no selection 'nearest'"),
        ("remote_max = 1", "$.remote_max: must be at least 2"),
        ("limits = {swarms = 0}", "$.limits.swarms: must be more than 0"),
        ("limits = {colours = 0}", "$.limits.colours is not a setting"),
        ('statistics = "http://127.0.0.1:9003"', "$.statistics: 'http://127.0.0.1:9003' must begin with https://"),
        ('statistics = "127.0.0.1"', "$.statistics"),
        (f'global_tracker = "{URL}"', '$.global_tracker: is for a tracker of scope "local"'),
        ('isps = ["campus"]', '$.isps: is for a tracker of scope "local"'),
        ('scope = "local"', "$.isps: a local tracker names the ISPs it serves"),
        (LOCAL + f'global_tracker = "{URL}"', "$.public_url: is needed"),
        (LOCAL + 'public_url = "ftp://x"', "$.public_url"),
        ('network_map = "missing.json"', "missing.json: No such file"),
        ('network_map = "tracker.toml"', "tracker.toml: is not JSON"),
        ('cost_map = "missing.json"', "missing.json: No such file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_an_address_to_listen_on_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "tracker.toml"
    path.write_text(BASE.replace("127.0.0.1:0", "nowhere"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"\$\.listen"):
        check_config(load_config(path, TrackerConfig), path)
