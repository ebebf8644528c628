"""Does `p2sp get` find a published resource by every name it has, and say so plainly when it cannot?"""

import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.integration.lab import MIB, SOUTH, Bytes, Download, Lab, make_file

pytestmark = pytest.mark.integration

RATE = 64 * MIB


@attrs.frozen
class Published:
    """A network with one file at an origin and at a peer, and a folder at the peer alone."""

    lab: Lab
    file: Bytes
    url: str
    resource: str
    folder: str


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    with Lab(tmp_path_factory.mktemp("get")) as lab:
        file = make_file(lab.folder / "origin" / "big.bin", 3 * MIB + 12345)
        make_file(lab.folder / "tree" / "a" / "one.bin", MIB + 1, seed=2)
        make_file(lab.folder / "tree" / "two.bin", 700_000, seed=3)
        (lab.folder / "tree" / "empty").write_bytes(b"")
        lab.add_core()
        lab.add_node("peer", "peer", SOUTH + "5", folder="seed", scan_interval=0.5)
        lab.start()
        url, _ = lab.origin(file, RATE)
        resource = lab.publish(file.path, "--mirror", url, "--torrent", "big.torrent")
        folder = lab.publish(lab.folder / "tree")
        lab.seed("seed", resource, file.path)
        seed = lab.folder / "seed"
        (seed / "tree").symlink_to(lab.folder / "tree")
        (seed / "new").write_bytes(lab.call("index", f"/v1/resources/{folder}.torrent"))
        (seed / "new").rename(seed / "tree.torrent")
        lab.running["peer"].wait_for("(?s)seeding (tree|big.bin),.*seeding (tree|big.bin),")
        yield Published(lab, file, url, resource, folder)


@pytest.fixture(autouse=True)
def quiet(network: Published) -> Iterator[None]:
    """No story leaves a traceback in any log."""
    yield
    network.lab.assert_quiet()


def whole(network: Published, download: Download) -> None:
    """The download has the file, by its resource id."""
    summary = download.is_right(network.file).summary
    assert (summary["resource"], summary["verified"]) == (network.resource, "bep52")
    assert summary["bytes"] == sum(summary["bytes_by_kind"].values()) == network.file.path.stat().st_size


def test_by_id_magnet_mirror_torrent_and_digest(network: Published) -> None:
    lab = network.lab
    downloads = [
        lab.get(network.resource),
        lab.get(f"magnet:?xt=urn:btmh:1220{network.resource}"),
        lab.get(network.url),
        lab.get(str(lab.folder / "big.torrent")),
        lab.get(network.url + "?a=copy", "--checksum", f"sha-256={network.file.sha256}"),
    ]
    for download in downloads:
        whole(network, download)


def test_a_folder(network: Published) -> None:
    got = network.lab.get(network.folder).wait()
    assert got.summary["resource"] == network.folder
    assert got.by_kind["peer"] == MIB + 1 + 700_000
    found = sorted(path.relative_to(got.path) for path in got.path.rglob("*") if path.is_file())
    assert found == [Path("a/one.bin"), Path("empty"), Path("two.bin")]
    for path in found:
        assert (got.path / path).read_bytes() == (network.lab.folder / "tree" / path).read_bytes()


def test_a_magnet_and_a_tracker_are_enough(network: Published) -> None:
    """Descriptor, piece layers and bytes all come from the peer."""
    network.lab.site("tracker-only.toml", index=None, publisher=None)
    got = network.lab.get(f"magnet:?xt=urn:btmh:1220{network.resource}", site="tracker-only.toml")
    whole(network, got)
    assert got.by_kind["server"] == 0
    assert "asking peers what the resource is" in got.news


def test_a_mirror_that_nobody_published_is_checked_by_its_digest_alone(network: Published) -> None:
    got = network.lab.get(network.url, "--checksum", f"sha-256={network.file.sha256}", site=None).is_right(network.file)
    assert got.summary["verified"] == "digest"


def test_the_written_torrent_names_the_same_resource(network: Published) -> None:
    lab = network.lab
    lab.get(network.resource, "--torrent", "again.torrent").is_right(network.file)
    shown = lab.run("show", "p2sp.cli", "show", str(lab.folder / "again.torrent"))
    assert shown.wait() == 0
    assert network.resource in shown.log
    assert network.url in shown.log


def test_an_unknown_resource_is_a_sentence_and_status_3(network: Published) -> None:
    network.lab.site("index-only.toml", trackers=[])
    got = network.lab.get("ab" * 32, site="index-only.toml").wait(3)
    assert f"p2sp: resource {'ab' * 32} is unknown to the index" in got.process.log
    assert os.listdir(got.path.parent).count(got.path.name) == 0


def test_without_an_index_a_url_is_plain_http_and_an_id_is_an_error(network: Published) -> None:
    lab = network.lab
    gone = "https://127.0.0.1:1"
    lab.site("no-index.toml", index=gone, trackers=[])
    by_url, by_id = lab.get(network.url, site="no-index.toml"), lab.get(network.resource, site="no-index.toml")
    assert by_url.is_right(network.file).summary["verified"] == "none"
    assert any("the index cannot help" in news and gone in news for news in by_url.news)
    by_id.wait(3)
    assert f"p2sp: resource {network.resource} is unknown" in by_id.process.log
    assert any("the index cannot help" in news and gone in news for news in by_id.news)


def test_only_publishers_publish(network: Published) -> None:
    lab = network.lab
    lab.files.key("supernode", "not-a-publisher")
    lab.site("wrong-role.toml", publisher="pki/not-a-publisher.pem")
    said = lab.publish(network.file.path, site="wrong-role.toml", code=1)
    assert "refused (403" in said
    assert "publisher" in said
    lab.site("reader.toml", publisher=None)
    assert "this copy of the site cannot publish" in lab.publish(network.file.path, site="reader.toml", code=1)
