"""Do all seven commands of twistd check what they are given, start whole or not at all, and stop in order?"""

import re
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from shutil import copytree

import pytest

from p2sp.site.init import init_site
from p2sp.site.services import METRICS, PAGES
from tests.integration.lab import CORE, MIB, NORTH, TROUBLE, Lab, make_file, steady_port, until
from tests.integration.processes import Process, run_once, twistd

pytestmark = pytest.mark.integration

ETC = Path(__file__).parents[2] / "etc"
FILES = {
    "index": "index.toml",
    "tracker": "tracker.toml",
    "statistics": "statistics.toml",
    "manager": "manager.toml",
    "supernode": "supernode.toml",
    "peer": "peer.toml",
    "site": "p2sp-site.toml",
}
"""Each role, and what its configuration is called in `etc` and by `p2sp site init`."""


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading options sets the process's hook for uncaught exceptions; it is put back."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def checked(role: str, path: Path) -> str:
    """What ends `twistd p2sp-<role> --config PATH --check-config`: "good", or the complaint."""
    options = import_module(f"p2sp.{role}.tap").Options()
    with pytest.raises(SystemExit) as ended:
        options.parseOptions(["--config", str(path), "--check-config"])
    return "good" if ended.value.code == 0 else str(ended.value.code)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder by `p2sp site init`, on ports that are free."""
    folder = tmp_path_factory.mktemp("made") / "net"
    init_site(folder, CORE, free_run(), [])
    return folder


def free_run() -> int:
    """The first of ten free ports, with as many for metrics and pages."""
    while True:
        first = steady_port(CORE)
        with ExitStack() as stack:
            try:
                for port in range(first, first + 10):
                    for each in (port, port + METRICS, port + PAGES):
                        stack.enter_context(socket.create_server((CORE, each)))
            except (OSError, OverflowError):
                continue
        return first


@pytest.mark.parametrize("role", FILES)
def test_the_examples_are_good(role: str) -> None:
    assert checked(role, ETC / FILES[role]) == "good"


@pytest.mark.parametrize(
    ("host", "isps"),
    [
        ("127.0.0.1", ()),
        ("::1", ()),
        ("p2sp.example.org", ()),
        ("192.0.2.7", ("north=10.1.0.0/16,fd00:1::/32", "south=10.2.0.0/16")),
    ],
)
def test_what_site_init_writes_is_good(tmp_path: Path, host: str, isps: tuple[str, ...]) -> None:
    init_site(tmp_path, host, 9400, isps)
    written = {path.name for path in tmp_path.glob("*.toml")} - {"site.toml"}
    locals_ = dict.fromkeys(written - set(FILES.values()), "tracker")
    assert set(locals_) == {f"tracker-{isp.partition('=')[0]}.toml" for isp in isps}
    for name, role in [*((name, role) for role, name in FILES.items()), *locals_.items()]:
        assert checked(role, tmp_path / name) == "good"


@pytest.mark.parametrize("role", FILES)
def test_a_key_that_does_not_exist_is_named(made: Path, tmp_path: Path, role: str) -> None:
    copytree(made, tmp_path / "net")
    path = tmp_path / "net" / FILES[role]
    path.write_text(path.read_text() + "colour = 1\n")
    assert checked(role, path) == f"p2sp-{role}: {path}: $.colour is not a setting"


def test_a_mistake_in_one_roles_file_stops_the_site(made: Path, tmp_path: Path) -> None:
    copytree(made, tmp_path / "net")
    broken = tmp_path / "net" / "manager.toml"
    broken.write_text(broken.read_text().replace("statistics = ", "# statistics = "))
    said = checked("site", tmp_path / "net" / "p2sp-site.toml")
    assert said == f"p2sp-site: {broken}: $.statistics is required"


@pytest.mark.parametrize(
    ("role", "line", "complaint"),
    [
        ("supernode", 'capacity = "much"', "$.capacity: 'much' is not a size"),
        ("supernode", 'allow_targets = ["10.0.0.0/40"]', "$.allow_targets: '10.0.0.0/40'"),
        ("supernode", 'public_url = "ftp://x"', "$.public_url: 'ftp://x' must begin with https:// or http://"),
        ("supernode", "trackers = []", "$.trackers: must name at least one tracker"),
        ("peer", 'wire = "somewhere"', "$.wire: 'somewhere' is not an address"),
        ("peer", 'max_upload = "fast"', "$.max_upload: 'fast' is not a"),
        ("peer", 'scan_interval = "0s"', "$.scan_interval: must be more than 0"),
        ("peer", "slots = 0", "$.slots: expected `int` >= 1"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(made: Path, tmp_path: Path, role: str, line: str, complaint: str) -> None:
    copytree(made, tmp_path / "net")
    path = tmp_path / "net" / FILES[role]
    key = line.partition(" ")[0]
    kept = [each for each in path.read_text().splitlines() if not each.startswith(f"{key} =")]
    path.write_text("\n".join([*kept, line, ""]))
    assert f"p2sp-{role}: {path}: {complaint}" in checked(role, path)


def test_a_taken_port_is_one_line_and_status_1_for_every_role(made: Path) -> None:
    def start(role: str, key: str) -> None:
        path = made / FILES[role]
        home = made / ("index.toml" if role == "site" else path.name)
        wanted = re.search(rf'(?m)^{key} = "127\.0\.0\.1:(\d+)"$', home.read_text())
        assert wanted is not None
        with socket.create_server((CORE, int(wanted[1]))):
            result = run_once(twistd(f"p2sp-{role}", path), made)
        output = result.stdout + result.stderr
        assert result.returncode == 1, output
        assert "Traceback" not in output
        said = [line for line in output.splitlines() if "cannot listen" in line]
        assert len(said) == 1, output
        assert said[0].endswith(f"cannot listen on {CORE}:{wanted[1]}: Address already in use")

    jobs = [(role, "listen") for role in FILES if role != "site"] + [("supernode", "wire"), ("peer", "wire")]
    with ThreadPoolExecutor(2) as pool:
        # One after the other where they would take each other's ports: the site has those of four roles.
        list(pool.map(lambda job: start(*job), [job for job in jobs if job[0] in ("supernode", "peer")][:2]))
        list(pool.map(lambda job: start(*job), jobs[:4]))
        list(pool.map(lambda job: start(*job), [job for job in jobs if job[1] == "wire"]))
        start("site", "listen")


def test_twistd_lists_seven_commands() -> None:
    result = run_once([str(Path(sys.prefix) / "bin" / "twistd"), "--help"], Path.cwd())
    assert result.returncode == 0
    listed = set(re.findall(r"(?m)^\s+(p2sp-[a-z]+)\s+\S", result.stdout))
    assert listed == {f"p2sp-{role}" for role in FILES}


def test_a_site_starts_four_roles_and_stops_them_the_other_way_round(made: Path) -> None:
    with Process(twistd("p2sp-site", made / "p2sp-site.toml"), made) as process:
        # Four services, the metrics of each, and two pages.
        process.wait_until_listening(10)
        assert process.terminate() == 0
    order = [*dict.fromkeys(re.findall(r"(\w+) listening on", process.log))]
    assert order == ["statistics", "manager", "index", "tracker"]
    assert re.findall(r"(\w+) has stopped", process.log) == order[::-1]
    assert TROUBLE.search(process.log) is None


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("peers")) as lab:
        lab.add_core()
        for number in (1, 2):
            address = f"{NORTH}{number}"
            lab.add_node("peer", f"peer-{number}", address, folder=f"seed-{number}", scan_interval=0.3)
        yield lab


def test_a_peer_daemon_seeds_fetches_and_names_what_is_wrong(lab: Lab) -> None:
    one = make_file(lab.folder / "one.bin", 2 * MIB + 7, seed=1)
    two = make_file(lab.folder / "two.bin", MIB, seed=2)
    lab.start()
    resources = [lab.publish(each.path) for each in (one, two)]
    lab.seed("seed-1", resources[0], one.path)
    first, second = lab.running["peer-1"], lab.running["peer-2"]
    first.wait_for(f"seeding one.bin, {resources[0]}")
    # A .torrent alone is an order to fetch.
    lab.seed("seed-2", resources[0], None)
    second.wait_for("fetching one.bin")
    second.wait_for("one.bin is complete; seeding it")
    assert (lab.folder / "seed-2" / "one.bin").read_bytes() == one.path.read_bytes()
    # What was fetched is served: its first owner is gone now.
    lab.kill("peer-1")
    lab.get(resources[0], address=NORTH + "30").is_right(one)
    # A file that is not what the .torrent says is left alone and named.
    wrong = lab.folder / "seed-2" / "two.bin"
    wrong.write_bytes(b"something else")
    lab.seed("seed-2", resources[1], None)
    second.wait_for(rf"{resources[1][:8]}\.torrent is not seeded: \S+two\.bin is not what \S+\.torrent describes")
    assert wrong.read_bytes() == b"something else"
    # So is a .torrent that is none.
    (lab.folder / "seed-2" / "bad.torrent").write_bytes(b"junk")
    second.wait_for(r"bad\.torrent is not seeded: ")
    # Once it is taken away, so is the resource.
    (lab.folder / "seed-2" / f"{resources[0][:8]}.torrent").unlink()
    until(lambda: lab.entries() == 0, 20, "nobody seeds it any more")
    lab.stop("peer-2", "tracker", "index")
    assert re.search(r"(?s)leaving the swarms.*stopping the wire.*peer has stopped", second.log)
    lab.assert_quiet()


def test_a_stop_in_the_middle_of_a_transfer_is_in_time(lab: Lab) -> None:
    """A seeder, a fetcher and their tracker are all told to stop at once while bytes flow."""
    big = make_file(lab.folder / "big.bin", 8 * MIB, seed=3)
    node = lab.services["peer-1"]
    lab.rewrite(type(node)(node.role, node.name, node.address, node.port, {**node.settings, "max_upload": "4MB/s"}))
    lab.start()
    resource = lab.publish(big.path)
    lab.seed("seed-1", resource, big.path)
    lab.running["peer-1"].wait_for("seeding big.bin")
    lab.seed("seed-2", resource, None)
    part = lab.folder / "seed-2" / "big.bin.part"
    until(lambda: part.exists() and part.stat().st_blocks * 512 > MIB, 20, "bytes flow")
    lab.stop("peer-1", "peer-2", "tracker", "index")
    assert part.exists()
    lab.start()
    # It goes on from there by itself.
    until((lab.folder / "seed-2" / "big.bin").exists, 30, "the fetch goes on after the restart")
    assert (lab.folder / "seed-2" / "big.bin").read_bytes() == big.path.read_bytes()
    lab.assert_quiet()
