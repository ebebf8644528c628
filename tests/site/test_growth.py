"""Does a network take in another service or key, and do its certificates stay good with the same node ids?"""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from p2sp.net.authority import ISSUED_LIFETIME, roles_in
from p2sp.net.errors import BadIdentity
from p2sp.net.identity import create_identity, load_identity, save_identity
from p2sp.net.trust import Trust
from p2sp.ops.config import ConfigError, load_config
from p2sp.site.growth import add_to_site, renew_site
from p2sp.site.init import init_site
from p2sp.supernode.config import SuperNodeConfig
from p2sp.tracker.config import TrackerConfig
from p2sp.tracker.config import check_config as check_tracker
from p2sp.tracker.schema import Scope


@pytest.fixture
def network(tmp_path: Path) -> Path:
    folder = tmp_path / "net"
    init_site(folder, "192.0.2.1", 9400, ["north=10.1.0.0/16", "south=10.2.0.0/16"])
    return folder


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_one_more_super_node(network: Path) -> None:
    lines = add_to_site(network, "supernode", "cache-north", "10.1.0.9", 9404)
    assert lines[-1] == "  twistd -n p2sp-supernode --config cache-north.toml"
    assert [line.strip() for line in lines[1:-1]] == ["cache-north.toml", "pki/ca.pem", "pki/cache-north.pem"]
    config = load_config(network / "cache-north.toml", SuperNodeConfig)
    first = load_config(network / "supernode.toml", SuperNodeConfig)
    assert (config.manager, config.index, config.trackers) == (first.manager, first.index, first.trackers)
    assert (config.listen, config.wire, config.public_url) == (
        "10.1.0.9:9404",
        "10.1.0.9:9405",
        "https://10.1.0.9:9404",
    )
    assert config.metrics == "127.0.0.1:10404", "on its own machine"
    certificate = load_identity(network / "pki" / "cache-north.pem").certificate
    caller = Trust.from_file(network / "pki" / "ca.pem").caller(certificate, datetime.now(UTC))
    assert caller.roles == {"supernode"}
    assert load_identity(network / "pki" / "supernode.pem").node_id != caller.node_id


def test_one_more_local_tracker_and_peer(network: Path) -> None:
    add_to_site(network, "tracker", "tracker-annex", "tracker.example.org", 7002, isp="south")
    config = load_config(network / "tracker-annex.toml", TrackerConfig)
    check_tracker(config, network / "tracker-annex.toml")
    assert (config.scope, config.isps, config.global_tracker) == (Scope.LOCAL, ("south",), "https://192.0.2.1:9401")
    assert config.statistics == "https://192.0.2.1:9402"
    lines = add_to_site(network, "peer", "seed-2", "10.2.0.5", 7010)
    assert not (network / "pki" / "seed-2.pem").exists()
    assert [line.strip() for line in lines[1:-1]] == ["seed-2.toml", "pki/ca.pem"]


@pytest.mark.parametrize("role", ["publisher", "operator"])
def test_a_key_for_somebody(network: Path, role: str) -> None:
    add_to_site(network, role, "alice")
    assert roles_in(load_identity(network / "pki" / "alice.pem").certificate) == {role}
    assert not (network / "alice.toml").exists()


def test_state_where_systemd_has_it(tmp_path: Path) -> None:
    init_site(tmp_path, "192.0.2.1", 9400, [], "/var/lib/p2sp")
    assert toml(tmp_path / "index.toml")["state"] == "/var/lib/p2sp/index"
    peer = toml(tmp_path / "peer.toml")
    assert (peer["state"], peer["identity"], peer["folder"]) == (
        "/var/lib/p2sp/peer",
        "/var/lib/p2sp/peer/peer.pem",
        "/var/lib/p2sp/peer/seed",
    )
    add_to_site(tmp_path, "supernode", "second", "192.0.2.9", 9404, state="/var/lib/p2sp")
    assert toml(tmp_path / "second.toml")["state"] == "/var/lib/p2sp/supernode"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("role", "name", "host", "port", "isp", "complaint"),
    [
        ("supernode", "supernode", "10.0.0.1", 9404, "", "is there already; choose another name"),
        ("operator", "operator", "", 0, "", "is there already; choose another name"),
        ("supernode", "../x", "10.0.0.1", 9404, "", "--name ../x: takes letters, digits"),
        ("supernode", "x", "", 9404, "", "needs --host and --port"),
        ("supernode", "x", "10.0.0.1", 0, "", "needs --host and --port"),
        ("supernode", "x", "ten zero", 9404, "", "--host ten zero: neither an IP address nor a host name"),
        ("supernode", "x", "10.0.0.1", 64_536, "", "--port: the last port used would be 65536"),
        ("supernode", "x", "10.0.0.1", 9404, "north", "takes no --isp"),
        ("tracker", "x", "10.0.0.1", 9404, "", "needs --isp"),
        ("tracker", "x", "10.0.0.1", 9404, "west", "--isp west: .*network-map.json knows north, south"),
    ],
)
def test_what_cannot_be_added_leaves_all_as_it_was(
    network: Path, role: str, name: str, host: str, port: int, isp: str, complaint: str
) -> None:
    before = {path: path.read_bytes() for path in network.parent.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=complaint):
        add_to_site(network, role, name, host, port, isp)
    assert {path: path.read_bytes() for path in network.parent.rglob("*") if path.is_file()} == before


def test_only_who_has_the_authoritys_key_adds(network: Path) -> None:
    (network / "pki" / "ca-key.pem").unlink()
    with pytest.raises(BadIdentity, match=r"ca-key\.pem is not a usable identity: No such file"):
        add_to_site(network, "operator", "bob")
    with pytest.raises(BadIdentity, match=r"ca-key\.pem"):
        renew_site(network)


def test_renewed_certificates_show_the_same_nodes_for_longer(network: Path) -> None:
    save_identity(create_identity(), network / "pki" / "peer.pem")
    pki = {path: load_identity(path) for path in (network / "pki").glob("*.pem") if not path.name.startswith("ca")}
    later = datetime.now(UTC) + timedelta(days=4 * 365)
    lines = renew_site(network, now=later)
    trust = Trust.from_file(network / "pki" / "ca.pem")
    for path, before in pki.items():
        now = load_identity(path)
        if path.name == "peer.pem":
            assert now == before
            assert f"{path}: left alone, this authority did not sign it" in lines
            continue
        end = later + ISSUED_LIFETIME
        assert f"{path}: good until {end:%Y-%m-%d}" in lines
        assert (now.node_id, now.key_pem) == (before.node_id, before.key_pem)
        assert trust.caller(now.certificate, end - timedelta(days=1)).roles == roles_in(before.certificate)
        assert trust.caller(before.certificate, end - timedelta(days=1)).roles == frozenset()
        assert now.certificate.subject == before.certificate.subject
