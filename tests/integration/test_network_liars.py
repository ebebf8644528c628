"""Does a download end well whoever lies to it, and are the liars named and nobody else?"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import attrs
import pytest
from bencode2 import bencode

from p2sp.net.authority import Authority
from tests.integration.impostor import Impostor
from tests.integration.lab import CORE, MIB, NORTH, Bytes, Lab, make_file, until
from tests.integration.processes import Process

pytestmark = pytest.mark.integration

SIZE = 4 * MIB
HONEST = NORTH + "5"


@attrs.frozen
class Infested:
    """A network with one honest peer, and the magnet link by which everything must come from peers."""

    lab: Lab
    file: Bytes
    resource: str
    magnet: str

    def liar(self, how: str, file: Bytes, host: str) -> Process:
        """A peer that seeds other bytes under the resource's name, or none."""
        lab = self.lab
        authority = str(lab.folder / "pki" / "ca.pem")
        before = lab.entries()
        process = lab.run(
            "liar", "tests.integration.liar", how, "true.torrent", str(file.path), lab.url("tracker"), authority, host
        )
        process.wait_for(r"lying at \d+")
        until(lambda: lab.entries() > before, 20, "the tracker knows the liar")
        return process

    def index(self, url: str, name: str) -> str:
        """A site whose index is at another URL, and which has no trackers."""
        self.lab.site(name, index=url, trackers=[])
        return name


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Infested]:
    with Lab(tmp_path_factory.mktemp("liars")) as lab:
        file = make_file(lab.folder / "origin" / "true.bin", SIZE)
        lab.add_core()
        lab.add_node("peer", "honest", HONEST, folder="seed", scan_interval=0.5, max_upload=2 * MIB)
        lab.start()
        resource = lab.publish(file.path, "--torrent", "true.torrent")
        lab.seed("seed", resource, file.path)
        lab.running["honest"].wait_for("seeding true.bin")
        lab.site("tracker-only.toml", index=None)
        until(lambda: lab.entries() == 1, 20, "the tracker knows the honest peer")
        yield Infested(lab, file, resource, f"magnet:?xt=urn:btmh:1220{resource}")


@pytest.fixture(autouse=True)
def quiet(network: Infested) -> Iterator[None]:
    """No lie leaves a traceback in any log."""
    yield
    network.lab.assert_quiet()


def test_a_peer_with_wrong_bytes_is_banned_and_named(network: Infested) -> None:
    lab = network.lab
    wrong = make_file(lab.folder / "wrong.bin", SIZE, seed=99)
    liar = network.liar("wrong", wrong, NORTH + "66")
    download = lab.get(network.magnet, site="tracker-only.toml").is_right(network.file)
    liar.kill()
    banned = [news for news in download.news if "sent bad data" in news]
    assert len(banned) == 1
    assert re.fullmatch(r"peer 127\.1\.0\.66:\d+: sent bad data for piece \d+; not asked again", banned[0])
    sources = {source["label"].split(":")[0]: source for source in download.summary["sources"]}
    honest = sources[f"peer {HONEST}"]
    assert honest["failures"] == 0
    assert honest["bytes"] >= SIZE


def test_a_peer_that_gives_nothing_of_what_it_claims(network: Infested) -> None:
    liar = network.liar("nothing", network.file, NORTH + "67")
    download = network.lab.get(network.magnet, site="tracker-only.toml").is_right(network.file)
    liar.kill()
    sources = {source["label"].split(":")[0]: source for source in download.summary["sources"]}
    assert sources[f"peer {HONEST}"]["bytes"] == SIZE
    assert not any("bad data" in news for news in download.news)


def test_a_node_id_that_is_not_the_one_at_that_address(network: Infested) -> None:
    """Somebody announces the honest peer's port as his own: the dial is refused, the download is not."""
    lab = network.lab
    impostor = lab.files.key("peer", "impostor")
    port = int(lab.services["honest"].settings["wire"].split(":")[1])
    announce = {
        "resource": network.resource,
        "session": "ab" * 16,
        "event": "started",
        "port": port,
        "length": SIZE,
        "left": 0,
        "counters": {},
    }
    lab.call("tracker", "/v1/announce", announce, key="impostor", address=HONEST)
    download = lab.get(network.magnet, "-v", site="tracker-only.toml").is_right(network.file)
    assert download.by_kind["peer"] == SIZE
    assert f"no link with peer {HONEST}:{port}: the node is not {impostor.node_id}" in download.process.log
    lab.call("tracker", "/v1/announce", {**announce, "event": "stopped"}, key="impostor", address=HONEST)


def test_a_descriptor_that_is_none_or_another_ones(network: Infested) -> None:
    lab = network.lab
    key = Authority.load(lab.folder / "pki").issue("index", [CORE], "impostor")
    other = make_file(lab.folder / "other.bin", 700_000, seed=5)
    lab.run("publish", "p2sp.cli", "publish", str(other.path), "--torrent", "other.torrent").wait()
    stories = {
        "garbage": (b"this is no torrent", "gave an answer that cannot be used"),
        "half": (bencode({"info": {"name": "x"}}), "gave an answer that cannot be used"),
        "another": ((lab.folder / "other.torrent").read_bytes(), "it describes another resource"),
    }
    for name, (body, complaint) in stories.items():
        with Impostor(key, lab.folder, {f"{network.resource}.torrent": body}) as fake:
            download = lab.get(network.resource, site=network.index(fake.url, f"{name}.toml")).wait(3)
        assert fake.url in download.process.log
        assert complaint in download.process.log
        assert not download.path.exists()


def test_an_index_whose_certificate_is_no_good_is_not_asked(network: Infested) -> None:
    lab = network.lab
    url, _ = lab.origin(network.file, 64 * MIB)
    torrent = {".torrent": (lab.folder / "true.torrent").read_bytes()}
    old = datetime.now(UTC) - timedelta(days=30)
    authority = Authority.load(lab.folder / "pki")
    keys = {
        "its certificate has expired": authority.issue("index", [CORE], "old", now=old, lifetime=timedelta(days=1)),
        "its certificate comes from no authority known here": Authority.create("foreign").issue(
            "index", [CORE], "foreign"
        ),
        "its certificate is for another name": authority.issue("index", ["192.0.2.1"], "elsewhere"),
    }
    for number, (reason, key) in enumerate(keys.items()):
        with Impostor(key, lab.folder, torrent) as fake:
            site = network.index(fake.url, f"untrusted-{number}.toml")
            by_url, by_id = lab.get(url, site=site), lab.get(network.resource, site=site)
            by_url.is_right(network.file)
            by_id.wait(3)
        for download in (by_url, by_id):
            assert any(reason in news for news in download.news), download.process.log
        assert not by_id.path.exists()
