"""Does a download go on from what is left when any part of the network dies in the middle of it?"""

from collections.abc import Iterator

import attrs
import pytest

from p2sp.site.layout import MAP
from tests.integration.lab import MIB, NORTH, Bytes, Lab, make_file, until

pytestmark = pytest.mark.integration

RATE = 3 * MIB
SIZE = 6 * MIB


@attrs.frozen
class Doomed:
    """Every role as a process of its own, and an origin that takes seconds for the file."""

    lab: Lab
    file: Bytes
    url: str
    resource: str


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doomed]:
    with Lab(tmp_path_factory.mktemp("deaths")) as lab:
        file = make_file(lab.folder / "origin" / "big.bin", SIZE)
        statistics = lab.add("statistics", interval=1)
        report = {"statistics": statistics.url, "report_interval": 1}
        lab.add_core(**report)
        local = lab.add("tracker", "local", NORTH + "2", scope="local", isps=["north"], network_map=MAP, interval=1)
        lab.rewrite(
            attrs.evolve(
                local,
                settings={
                    **local.settings,
                    **report,
                    "public_url": local.url,
                    "global_tracker": lab.url("tracker"),
                },
            )
        )
        lab.add("manager", statistics=statistics.url, network_map=MAP, period=0.5, sync_interval=0.5)
        cache = lab.add_node(
            "supernode",
            "supernode",
            NORTH + "3",
            public_url="https://127.1.0.3:1",
            manager=lab.url("manager"),
            capacity="1GiB",
            allow_targets=["127.0.0.0/8"],
        )
        assert cache.name == "supernode"
        lab.start()
        url, _ = lab.origin(file, RATE)
        resource = lab.publish(file.path, "--mirror", url)
        yield Doomed(lab, file, url, resource)


@pytest.fixture(scope="module")
def seeded(network: Doomed) -> Doomed:
    """A peer that has the file and does not run yet; its clients ask no index, which would name a mirror."""
    lab = network.lab
    lab.site("tracker-only.toml", index=None)
    lab.add_node("peer", "peer", NORTH + "5", folder="seed", scan_interval=0.5, max_upload=RATE)
    lab.seed("seed", network.resource, network.file.path)
    return network


@pytest.fixture(autouse=True)
def quiet(network: Doomed) -> Iterator[None]:
    """No death leaves a traceback with the living."""
    yield
    network.lab.assert_quiet()


@pytest.mark.parametrize("victim", ["index", "tracker", "local", "statistics", "manager", "supernode"])
def test_a_dead_service_ends_no_download(network: Doomed, victim: str) -> None:
    lab = network.lab
    download = lab.get(network.resource)
    download.until_written(SIZE // 8)
    lab.kill(victim)
    assert download.process.is_running
    download.is_right(network.file)
    lab.start(victim)


def test_a_tracker_that_comes_back_is_told_again(network: Doomed) -> None:
    lab = network.lab
    download = lab.get(network.resource, "--seed", "60", "--max-download", "2MB/s")
    download.until_written(SIZE // 8)
    gone = {name: f"tracker {lab.url(name)} does not answer" for name in ("tracker", "local")}
    for name in gone:
        assert lab.entries(name) >= 1
        lab.kill(name)
    until(lambda: all(said in " ".join(download.news) for said in gone.values()), 20, "the silence is noticed")
    lab.start(*gone)
    # They began with nothing; who is still there comes back by itself.
    back = [f"tracker {lab.url(name)} answers again" for name in gone]
    until(lambda: all(said in download.news for said in back), 20, "they are announced to again")
    assert [lab.entries(name) for name in gone] == [1, 1]
    until(lambda: download.is_served, 30, "the download completes")
    download.process.stop()
    assert download.summary["sha256"] == network.file.sha256


def test_all_services_dead_leaves_a_plain_download(network: Doomed) -> None:
    lab = network.lab
    download = lab.get(network.resource)
    download.until_written(SIZE // 8)
    names = list(lab.running)
    for name in names:
        lab.kill(name)
    download.is_right(network.file)
    lab.start(*names)


def test_a_peer_that_dies_at_nine_tenths(seeded: Doomed) -> None:
    lab = seeded.lab
    lab.start("peer")
    lab.running["peer"].wait_for("seeding big.bin")
    download = lab.get(f"magnet:?xt=urn:btmh:1220{seeded.resource}", "--mirror", seeded.url, site="tracker-only.toml")
    download.until_written(SIZE * 9 // 10)
    lab.kill("peer")
    download.is_right(seeded.file)
    assert download.by_kind["peer"] > 0


def test_an_origin_that_dies_when_a_peer_has_everything(seeded: Doomed) -> None:
    lab = seeded.lab
    url, origin = lab.origin(seeded.file, RATE / 4)
    lab.start("peer")
    lab.running["peer"].wait_for("seeding big.bin")
    download = lab.get(f"magnet:?xt=urn:btmh:1220{seeded.resource}", "--mirror", url, site="tracker-only.toml")
    download.until_written(SIZE // 4)
    origin.kill()
    download.is_right(seeded.file)
    lab.kill("peer")
    assert download.by_kind["peer"] > SIZE // 4
