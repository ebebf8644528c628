"""Does `p2sp site init` write a network that is private where it must be, and refuse what it cannot?"""

import json
import ssl
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from p2sp.cli.site_file import load_site
from p2sp.locality.network_map import NetworkMap
from p2sp.net.authority import roles_in
from p2sp.net.identity import load_identity
from p2sp.net.trust import Trust
from p2sp.ops.config import ConfigError
from p2sp.site.config import SiteConfig, load_roles
from p2sp.site.init import HOME, init_site, parse_isps
from p2sp.site.layout import NetworkFolder, Service
from p2sp.site.tap import Options

ROLES = ("index", "tracker", "statistics", "manager", "supernode")


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    init_site(tmp_path, "127.0.0.1", 9400, [])
    pki = {path.name: mode(path) for path in (tmp_path / "pki").iterdir()}
    assert pki.pop("ca.pem") == 0o644
    assert set(pki) == {f"{name}.pem" for name in (*ROLES, "ca-key", "publisher", "operator")}
    assert set(pki.values()) == {0o600}
    for name in ("site.toml", "p2sp-site.toml", "index.toml", "network-map.json"):
        assert "PRIVATE" not in (tmp_path / name).read_text()


def test_each_key_has_its_role_and_address_and_no_other(tmp_path: Path) -> None:
    init_site(tmp_path, "192.0.2.7", 9400, [])
    trust = Trust.from_file(tmp_path / "pki" / "ca.pem")
    for name in (*ROLES, "publisher", "operator"):
        certificate = load_identity(tmp_path / "pki" / f"{name}.pem").certificate
        assert roles_in(certificate) == {name}
        assert trust.caller(certificate, certificate.not_valid_before_utc).roles == {name}
        ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.pem"))


def test_a_second_time_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    init_site(tmp_path, "127.0.0.1", 9400, [])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"there is a network here already; choose another folder"):
        init_site(tmp_path, "127.0.0.1", 9500, ["north=10.0.0.0/8"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("north", "--isp north: is not NAME=PREFIX"),
        ("=10.0.0.0/8", "--isp =10.0.0.0/8: is not NAME=PREFIX"),
        ("north=", "--isp north=: is not NAME=PREFIX"),
        ("../north=10.0.0.0/8", "--isp ../north=10.0.0.0/8: is not NAME=PREFIX"),
        ("north=10.0.0.0/33", "10.0.0.0/33"),
        ("north=somewhere", "somewhere"),
        ("north=10.0.0.1/8", "10.0.0.1/8"),
    ],
)
def test_an_isp_that_is_none_is_named_and_nothing_is_written(tmp_path: Path, text: str, complaint: str) -> None:
    folder = tmp_path / "net"
    with pytest.raises(ConfigError) as caught:
        init_site(folder, "127.0.0.1", 9400, ["good=192.0.2.0/24", text])
    assert str(caught.value).startswith("--isp")
    assert complaint in str(caught.value)
    assert not folder.exists()
    # The mistake put right, the same folder will do.
    init_site(folder, "127.0.0.1", 9400, ["good=192.0.2.0/24"])


@pytest.mark.parametrize(
    ("host", "port", "complaint"),
    [
        ("a b", 9400, "--host a b: neither an IP address nor a host name"),
        ("", 9400, "--host : neither"),
        ("1.2.3", 9400, "--host 1.2.3: neither"),
        ("https://h", 9400, "--host https://h: neither"),
        ("127.0.0.1", 63_533, "--port: the last port used would be 65536"),
    ],
)
def test_a_place_that_is_none_is_named_and_nothing_is_written(
    tmp_path: Path, host: str, port: int, complaint: str
) -> None:
    folder = tmp_path / "net"
    with pytest.raises(ConfigError) as caught:
        init_site(folder, host, port, ["north=10.1.0.0/16", "south=10.2.0.0/16"])
    assert str(caught.value).startswith(complaint)
    assert not folder.exists()


def test_isps_are_read_as_written() -> None:
    assert parse_isps(["a=10.0.0.0/8, fd00::/8", "b=192.0.2.0/24", "a=198.51.100.0/24"]) == {
        "a": ["10.0.0.0/8", "fd00::/8", "198.51.100.0/24"],
        "b": ["192.0.2.0/24"],
    }
    assert parse_isps([]) == {"home": list(HOME)}


def test_the_map_tells_isps_apart(tmp_path: Path) -> None:
    init_site(tmp_path, "127.0.0.1", 9400, ["north=10.1.0.0/16,fd00:1::/32", "south=10.2.0.0/16"])
    network_map = NetworkMap.decode((tmp_path / "network-map.json").read_bytes())
    assert [network_map.isp_of(each) for each in ("10.1.2.3", "fd00:1::9", "10.2.0.1", "192.0.2.1")] == [
        "north",
        "north",
        "south",
        None,
    ]
    local = toml(tmp_path / "tracker-north.toml")
    assert (local["scope"], local["isps"], local["global_tracker"]) == ("local", ["north"], "https://127.0.0.1:9401")
    assert local["public_url"] == "https://127.0.0.1:9410"
    assert toml(tmp_path / "tracker-south.toml")["public_url"] == "https://127.0.0.1:9411"


def test_an_ipv6_host_is_in_brackets_wherever_a_port_follows(tmp_path: Path) -> None:
    init_site(tmp_path, "::1", 9400, [])
    site = load_site(tmp_path)
    assert (site.file.index, site.file.trackers) == ("https://[::1]:9400", ["https://[::1]:9401"])
    assert toml(tmp_path / "index.toml")["listen"] == "[::1]:9400"
    assert toml(tmp_path / "supernode.toml")["wire"] == "[::1]:9405"


def test_a_name_listens_everywhere_and_is_in_the_certificate(tmp_path: Path) -> None:
    init_site(tmp_path, "p2sp.example.org", 9400, [])
    assert toml(tmp_path / "index.toml")["listen"] == "*:9400"
    assert toml(tmp_path / "peer.toml")["wire"] == "0.0.0.0:9407"
    assert load_site(tmp_path / "site.toml").file.index == "https://p2sp.example.org:9400"


@pytest.mark.parametrize(("host", "private"), [("127.0.0.1", True), ("10.1.2.3", True), ("8.8.8.8", False)])
def test_only_a_private_network_fetches_from_private_mirrors(tmp_path: Path, host: str, private: bool) -> None:
    init_site(tmp_path, host, 9400, [])
    assert bool(toml(tmp_path / "supernode.toml")["allow_targets"]) is private


def test_no_two_services_share_a_port(tmp_path: Path) -> None:
    init_site(tmp_path, "127.0.0.1", 9400, [f"isp{number}=10.{number}.0.0/16" for number in range(4)])
    texts = [toml(path) for path in tmp_path.glob("*.toml") if path.name not in ("site.toml", "p2sp-site.toml")]
    ports = [
        each[key].rpartition(":")[2] for each in texts for key in ("listen", "wire", "metrics", "pages") if key in each
    ]
    assert len(set(ports)) == len(ports) == 12 + 10 + 2


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.9", "127.0.0.9"),
        ("::1", "[::1]"),
        ("192.0.2.7", "127.0.0.1"),
        ("2001:db8::7", "[::1]"),
        ("a.example", "127.0.0.1"),
    ],
)
def test_metrics_and_pages_are_there_for_who_is_on_the_machine(tmp_path: Path, host: str, near: str) -> None:
    lines = init_site(tmp_path, host, 9400, [])
    for offset, role in enumerate((*ROLES, "", "peer")):
        assert not role or toml(tmp_path / f"{role}.toml")["metrics"] == f"{near}:{10_400 + offset}"
    pages = {role: f"{near}:{11_402 + offset}" for offset, role in enumerate(("statistics", "manager"))}
    for role, other in (("statistics", "manager"), ("manager", "statistics")):
        values = toml(tmp_path / f"{role}.toml")
        assert values["pages"] == pages[role]
        assert [*values["pages_links"].values()] == [f"http://{pages[other]}/"]
        assert values["index"] == toml(tmp_path / "site.toml")["index"], "resources have names there"
        assert any(line.startswith(f"  http://{pages[role]}/ ") for line in lines)


def test_the_roles_are_read_back_as_written(tmp_path: Path) -> None:
    lines = init_site(tmp_path, "127.0.0.1", 9400, [])
    assert str(tmp_path) in lines[0]
    config = SiteConfig(**toml(tmp_path / "p2sp-site.toml"))
    loaded = load_roles(config, tmp_path / "p2sp-site.toml")
    assert list(loaded) == ["statistics", "manager", "index", "tracker"]
    assert {role: values.listen for role, (values, _) in loaded.items()} == {
        "index": "127.0.0.1:9400",
        "tracker": "127.0.0.1:9401",
        "statistics": "127.0.0.1:9402",
        "manager": "127.0.0.1:9403",
    }
    assert loaded["tracker"][0].statistics == loaded["manager"][0].statistics == "https://127.0.0.1:9402"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("folder", 'a "quoted" \\ path'),
        ("folder", "ünï/çødé 🙂"),
        ("trackers", ["https://a.example", "https://b.example"]),
        ("slots", 7),
        ("trust", True),
        ("folder", "line\nbreak\ttab \x7f"),
    ],
)
def test_settings_survive_being_written(tmp_path: Path, setting: str, value: object) -> None:
    files = NetworkFolder(tmp_path, "test")
    path = files.service(Service("peer", "peer", "127.0.0.1", 9406, {setting: value, "index": None}))
    read = toml(path)
    assert read[setting] == value
    assert "index" not in read


def test_a_site_without_one_of_its_files_names_it(tmp_path: Path) -> None:
    init_site(tmp_path, "127.0.0.1", 9400, [])
    (tmp_path / "tracker.toml").unlink()
    with pytest.raises(ConfigError) as caught:
        load_roles(SiteConfig(), tmp_path / "p2sp-site.toml")
    assert str(caught.value) == f"{tmp_path / 'tracker.toml'}: No such file or directory"


def test_what_clients_are_given_is_told_from_what_the_services_run_on(tmp_path: Path) -> None:
    init_site(tmp_path, "127.0.0.1", 9400, [])
    hint = r"site\.toml: \$\.authority is not a setting; .* is p2sp-site\.toml beside it$"
    with pytest.raises(ConfigError, match=hint):
        Options().load(tmp_path / "site.toml")
    (tmp_path / "p2sp-site.toml").rename(tmp_path / "other.toml")
    with pytest.raises(ConfigError, match=r"\$\.authority is not a setting$"):
        Options().load(tmp_path / "site.toml")
    assert Options().load(tmp_path / "other.toml") == SiteConfig()


def test_the_network_map_is_json_that_others_read_too(tmp_path: Path) -> None:
    init_site(tmp_path, "127.0.0.1", 9400, ["north=10.0.0.0/8"])
    document = json.loads((tmp_path / "network-map.json").read_text())
    assert document["network-map"]["north"]["ipv4"] == ["10.0.0.0/8"]
    assert document["meta"]["vtag"]["resource-id"] == "network-map"


def test_a_mapping_is_a_table_in_a_configuration(tmp_path: Path) -> None:
    links = {"manager": "http://127.0.0.1:9204/", 'odd "name"': "http://127.0.0.1:1/"}
    files = NetworkFolder(tmp_path, "a network")
    path = files.service(Service("statistics", "statistics", "127.0.0.1", 9003, {"pages_links": links}))
    assert toml(path)["pages_links"] == links
