"""Are torrents that others made downloaded, and ours by others? With clients, trackers and servers of others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2sp.download.report import ExitCode
from p2sp.net.authority import Authority
from tests.integration.foreign import (
    FILES,
    Libtorrent,
    OpenTracker,
    clear_text_get,
    contents,
    foreign_torrent,
    magnet_of,
    make_tree,
)
from tests.integration.foreign_clients import Transmission
from tests.integration.processes import free_port, run_once
from tests.integration.servers import P2SP, Nginx, PythonServer, get, names, program

pytestmark = pytest.mark.integration

WITHIN = 30.0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "www")


@pytest.fixture
def nginx(tmp_path: Path, tree: Path) -> Iterator[Nginx]:
    with Nginx(tmp_path / "nginx", tree.parent, Authority.create("test")) as server:
        yield server


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_web_seeds_are_enough(tmp_path: Path, tree: Path, nginx: Nginx, kind: str) -> None:
    torrent = foreign_torrent(tree, tmp_path / "t.torrent", kind, seeds=[f"{nginx.plain}/"])
    result = get(tmp_path, torrent)
    assert result.returncode == ExitCode.OK, result.stderr
    assert contents(tmp_path / "tree") == contents(tree)


def test_a_web_seed_may_know_neither_ranges_nor_lasting_connections(tmp_path: Path, tree: Path) -> None:
    with PythonServer(tree.parent) as server:
        torrent = foreign_torrent(tree, tmp_path / "t.torrent", "v2", seeds=[f"{server.url}/"])
        result = get(tmp_path, torrent, "--why")
    assert result.returncode == ExitCode.OK, result.stderr
    assert "failure" not in result.stderr
    assert contents(tmp_path / "tree") == contents(tree)


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_files_are_picked(tmp_path: Path, tree: Path, nginx: Nginx, kind: str) -> None:
    torrent = foreign_torrent(tree, tmp_path / "t.torrent", kind, seeds=[f"{nginx.plain}/"])
    shown = run_once([P2SP, "show", str(torrent)], tmp_path).stdout
    (number,) = [line.split()[1].rstrip(":") for line in shown.splitlines() if "a.bin" in line]
    result = get(tmp_path, torrent, "--select", f"{number},*.txt")
    assert result.returncode == ExitCode.OK, result.stderr
    picked = contents(tmp_path / "tree")
    assert picked == {name: data for name, data in contents(tree).items() if name in ("a.bin", "docs/b.txt")}
    assert names(tmp_path) == sorted(["nginx", "t.torrent", "tree", "www"])


def test_what_cannot_be_picked(tmp_path: Path, tree: Path) -> None:
    torrent = foreign_torrent(tree, tmp_path / "t.torrent", "v2", seeds=["http://127.0.0.1:1/"])
    for choice, sentence in (("9", "has files 1 to 4, not 9"), ("*.iso", "has no file"), ("0", "counted from 1")):
        result = get(tmp_path, torrent, "--select", choice)
        assert result.returncode == ExitCode.BAD_INPUT
        assert sentence in result.stderr
    assert names(tmp_path) == ["t.torrent", "www"]


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_a_tracker_names_clients(tmp_path: Path, tree: Path, kind: str) -> None:
    dead = f"http://127.0.0.1:{free_port()}/announce"
    torrent = tmp_path / "t.torrent"
    foreign_torrent(tree, torrent, kind)
    with OpenTracker(tmp_path / "tracker", [torrent]) as tracker:
        url = tracker.udp if kind == "hybrid" else tracker.url
        foreign_torrent(tree, torrent, kind, trackers=[[dead], [url]])
        with Libtorrent(torrent, tree.parent) as seed:
            seed.wait_for("complete")
            with clear_text_get(tmp_path, torrent, "-o", "by-file") as ours:
                assert ours.wait(WITHIN) == ExitCode.OK, ours.log
            assert f"tracker {dead} does not help" in ours.log
            with clear_text_get(tmp_path, magnet_of(torrent, url), "-o", "by-link", "--select", "1") as ours:
                assert ours.wait(WITHIN) == ExitCode.OK, ours.log
    assert f"peer 127.0.0.1:{seed.port}" in ours.log
    assert contents(tmp_path / "by-file") == contents(tree)
    assert contents(tmp_path / "by-link") == {"a.bin": (tree / "a.bin").read_bytes()}


@pytest.mark.parametrize("kind", ["v1", "v2", "hybrid"])
def test_foreign_clients_get_it_from_us(tmp_path: Path, tree: Path, nginx: Nginx, kind: str) -> None:
    torrent = foreign_torrent(tree, tmp_path / "ours.torrent", kind, seeds=[f"{nginx.plain}/"])
    with OpenTracker(tmp_path / "tracker", [torrent]) as tracker:
        foreign_torrent(tree, torrent, kind, seeds=[f"{nginx.plain}/"], trackers=[[tracker.url]])
        theirs = foreign_torrent(tree, tmp_path / "theirs.torrent", kind, trackers=[[tracker.url]])
        with clear_text_get(tmp_path, torrent, "-o", "first", "--seed", "60") as ours:
            ours.wait_for("serving it")
            with Libtorrent(theirs, tmp_path / "second") as other:
                other.wait_for("complete", WITHIN)
    assert contents(tmp_path / "second" / "tree") == contents(tree)


def test_without_clear_text_it_is_said_why_nobody_is_asked(tmp_path: Path, tree: Path) -> None:
    torrent = foreign_torrent(tree, tmp_path / "t.torrent", "v2", trackers=[["http://127.0.0.1:1/announce"]])
    result = get(tmp_path, torrent)
    assert result.returncode == ExitCode.NOT_FOUND
    assert "foreign clients, which are asked only with --clear-text" in result.stderr
    assert names(tmp_path) == ["t.torrent", "www"]
    result = get(tmp_path, magnet_of(torrent, "http://127.0.0.1:1/announce"))
    assert result.returncode == ExitCode.NOT_FOUND
    assert "have foreign clients asked with --clear-text" in result.stderr


def test_a_private_torrent_is_never_spoken_of_in_clear_text(tmp_path: Path, tree: Path) -> None:
    torrent = foreign_torrent(tree, tmp_path / "t.torrent", "v2", private=True)
    with OpenTracker(tmp_path / "tracker", [torrent]) as tracker:
        foreign_torrent(tree, torrent, "v2", private=True, trackers=[[tracker.url]])
        with Libtorrent(torrent, tree.parent) as seed, clear_text_get(tmp_path, torrent) as ours:
            seed.wait_for("complete")
            assert ours.wait(WITHIN) == ExitCode.NOT_FOUND
    assert "it is private" in ours.log
    assert "no source" in ours.log


def publish(cwd: Path, *arguments: str | Path) -> list[str]:
    result = run_once([P2SP, "publish", *map(str, arguments)], cwd)
    assert result.returncode == ExitCode.OK, result.stderr
    return result.stdout.splitlines()


def test_our_hybrid_of_a_file_is_read_by_aria2(tmp_path: Path, tree: Path, nginx: Nginx) -> None:
    mirror = f"{nginx.plain}/tree/"
    publish(tmp_path, tree / "a.bin", "--hybrid", "--torrent", "a.torrent", "--mirror", mirror)
    quiet = ["--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--listen-port", str(free_port())]
    command = [program("aria2c"), "--seed-time=0", "--dir=theirs", *quiet, "a.torrent"]
    result = run_once(command, tmp_path)
    assert result.returncode == 0, result.stdout
    assert contents(tmp_path / "theirs")["a.bin"] == (tree / "a.bin").read_bytes()


def test_we_get_it_from_transmission(tmp_path: Path, tree: Path) -> None:
    torrent = foreign_torrent(tree, tmp_path / "t.torrent", "v1")
    with OpenTracker(tmp_path / "tracker", [torrent]) as tracker:
        foreign_torrent(tree, torrent, "v1", trackers=[[tracker.url]])
        with Transmission(torrent, tree.parent, tmp_path / "home"):
            tracker.wait_for_seed(torrent)
            with clear_text_get(tmp_path, torrent, "-o", "ours") as ours:
                assert ours.wait(WITHIN) == ExitCode.OK, ours.log
    assert contents(tmp_path / "ours") == contents(tree)


def test_our_hybrid_of_a_folder_is_read_by_libtorrent_and_by_us(tmp_path: Path, tree: Path, nginx: Nginx) -> None:
    tracker = "http://127.0.0.1:1/announce"
    named, link = publish(
        tmp_path, tree, "--hybrid", "--torrent", "t.torrent", "--mirror", nginx.plain, "--tracker", tracker
    )
    assert named in link
    assert "urn:btih:" in link
    assert "tr=http%3A%2F%2F127.0.0.1%3A1%2Fannounce" in link
    with Libtorrent(tmp_path / "t.torrent", tmp_path / "theirs") as other:
        other.wait_for("complete", WITHIN)
    assert contents(tmp_path / "theirs" / "tree") == contents(tree)
    result = get(tmp_path, "t.torrent", "-o", "ours")
    assert result.returncode == ExitCode.OK, result.stderr
    assert contents(tmp_path / "ours") == contents(tree)
    shown = run_once([P2SP, "show", "t.torrent"], tmp_path).stdout
    assert f"id: {named}" in shown
    assert "hybrid of BitTorrent v1 and v2" in shown
    assert f"tracker: {tracker}" in shown
    assert [f"file {at}:" in shown for at in range(1, len(FILES) + 2)] == [True] * len(FILES) + [False]
