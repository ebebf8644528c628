"""Does a super node fill by itself with what is hot and slow, serve it three ways, and keep it?"""

import subprocess
from collections.abc import Iterator
from hashlib import sha256

import attrs
import pytest

from p2sp.site.layout import MAP
from tests.integration.lab import MIB, NORTH, SOUTH, Bytes, Lab, make_file, until
from tests.integration.processes import Process

pytestmark = pytest.mark.integration

SIZE = 4 * MIB
RATE = 3 * MIB // 2
CACHE = "supernode"


@attrs.frozen
class Steered:
    """A network with statistics, manager and a super node in the ISP north; its origin is slow."""

    lab: Lab
    file: Bytes
    url: str
    origin: Process
    resource: str

    def curl(self, *options: str, code: int = 0) -> bytes:
        """What curl, told of nothing but the network's authority, gets from the super node."""
        url = f"{self.lab.url(CACHE)}/r/{self.resource}/{self.file.path.name}"
        command = ["curl", "--silent", "--show-error", "--fail", "--max-time", "60"]
        command += ["--cacert", str(self.lab.folder / "pki" / "ca.pem")]
        done = subprocess.run([*command, *options, url], check=False, capture_output=True, timeout=90)
        assert done.returncode == code, f"curl ended with {done.returncode}: {done.stderr.decode()}"
        return done.stdout

    def until_known(self) -> None:
        """Wait until the super node has heard of its order, or found what it held."""
        path = f"/r/{self.resource}/{self.file.path.name}"
        until(lambda: self.lab.status(CACHE, path) == 200, 20, "the super node answers")

    def held(self) -> float:
        """The share of the file that the manager knows to be in the super node; below 0 when it is not placed."""
        found = [each["have"] for each in self.lab.placements() if each["resource"] == self.resource]
        return float(found[0]) if found else -1.0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steered]:
    with Lab(tmp_path_factory.mktemp("cache")) as lab:
        file = make_file(lab.folder / "origin" / "hot.bin", SIZE)
        statistics = lab.add("statistics", interval=1)
        lab.add_core(statistics=statistics.url, report_interval=0.5)
        lab.add(
            "manager",
            statistics=statistics.url,
            network_map=MAP,
            period=0.5,
            sync_interval=0.5,
            heartbeat_interval=0.5,
            min_clients=2,
            min_demand=MIB // 2,
            target_speed=8 * MIB,
            half_life=600,
        )
        cache = lab.add_node("supernode", CACHE, NORTH + "3", manager=lab.url("manager"), capacity=2 * SIZE)
        settings = {**cache.settings, "public_url": cache.url, "allow_targets": ["127.0.0.0/8"], "max_upload": 2 * RATE}
        lab.rewrite(attrs.evolve(cache, settings=settings))
        lab.start()
        url, origin = lab.origin(file, RATE)
        resource = lab.publish(file.path, "--mirror", url)
        yield Steered(lab, file, url, origin, resource)


@pytest.fixture(autouse=True)
def quiet(network: Steered) -> Iterator[None]:
    """No story leaves a traceback in any log."""
    yield
    network.lab.assert_quiet()


def test_from_demand_to_three_kinds_of_source(network: Steered) -> None:
    """Two clients make it hot and slow; the rest comes about by itself."""
    lab = network.lab
    clients = [lab.get(network.resource, "--seed", "120", "--max-upload", "100kB/s", address=NORTH + n) for n in "89"]
    until(lambda: network.held() >= 0.0, 40, "the manager orders the super node to hold it")
    (placement,) = lab.placements()
    assert placement["isp"] == "north"
    assert "hot" in placement["reason"]
    assert "slow" in placement["reason"]
    # While it fills, curl waits for what is not there yet and gets the true bytes all the same.
    network.until_known()
    assert network.held() < 1.0
    assert sha256(network.curl()).hexdigest() == network.file.sha256
    until(lambda: network.held() == 1.0, 40, "the super node holds all of it")
    until(lambda: all(client.is_served for client in clients), 40, "both clients are complete")
    # Over one connection to the origin, and slowly: who is found a moment later still finds something to do.
    slowly = ["--connections", "1", "--max-download", "900kB/s"]
    last = lab.get(network.resource, *slowly, address=NORTH + "20").is_right(network.file)
    for client in clients:
        client.process.stop()
        assert client.summary["sha256"] == network.file.sha256
        assert client.by_kind["server"] > 0
    assert all(last.by_kind[kind] > 0 for kind in ("server", "peer", "supernode")), last.by_kind


def test_curl_gets_ranges_and_knows_what_it_got(network: Steered) -> None:
    whole = network.file.path.read_bytes()
    assert network.curl("--range", "1000000-1999999") == whole[1_000_000:2_000_000]
    assert network.curl("--range", "-17") == whole[-17:]
    head = network.curl("--head").decode().lower()
    assert f'etag: "{network.resource}"' in head
    assert f"content-length: {SIZE}" in head
    assert "repr-digest: sha-256=:" in head
    # 22: the server refused, here with 416.
    assert network.curl("--range", f"{SIZE}-", "--write-out", "%{http_code}", code=22) == b"416"


def test_a_restarted_super_node_has_it_at_once(network: Steered) -> None:
    """With the origin dead and nobody else there is nowhere to fetch it from again."""
    lab = network.lab
    network.origin.kill()
    for end in (lab.stop, lab.kill):
        end(CACHE)
        lab.start(CACHE)
        network.until_known()
        assert sha256(network.curl()).hexdigest() == network.file.sha256
        assert "filling" not in lab.running[CACHE].log
    lab.site("tracker-only.toml", index=None)
    got = lab.get(f"magnet:?xt=urn:btmh:1220{network.resource}", address=NORTH + "21", site="tracker-only.toml")
    got.is_right(network.file)
    assert got.by_kind["supernode"] == SIZE
    assert SOUTH not in got.process.log
