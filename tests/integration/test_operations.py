"""Does what lies in `etc` for operators fit the program: monitoring, systemd?"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from p2sp.net.api_client import ApiClient
from p2sp.site.init import init_site
from tests.integration.processes import Network, Process, free_port, twistd

reactor: Any = installed_reactor

ETC = Path(__file__).parents[2] / "etc"
PORTS = {"index": 9101, "tracker": 9102, "statistics": 9103, "manager": 9104, "supernode": 9105, "peer": 9107}
"""Where each role's example has its metrics."""

ROLES = tuple(PORTS)


def named_in(dashboard: dict[str, Any]) -> set[str]:
    """The metrics that a dashboard's questions name."""
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return {name for expression in asked for name in re.findall(r"\b(?:p2sp|process)_[a-z_]+", expression)}


def lines_of(url: str) -> list[str]:
    with urlopen(url, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return [*answer.read().decode().splitlines()]


@pytest.mark.integration
class MonitoringTests(TestCase):
    """All roles as processes, with metrics."""

    timeout = 180

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def start(self, plugin: str, config: str) -> Process:
        process = Process(twistd(plugin, self.folder / config), self.folder)
        self.addCleanup(process.stop)
        return process

    def test_every_role_tells_and_the_dashboard_asks_for_nothing_else(self) -> None:
        init_site(self.folder, "127.0.0.1", 9400, [])
        ports = {role: free_port() for role in ROLES}
        for role in ROLES:
            path = self.folder / f"{role}.toml"
            text = re.sub(r'(listen|wire|pages) = "127.0.0.1:\d+"', r'\1 = "127.0.0.1:0"', path.read_text())
            text = re.sub(r'metrics = "127.0.0.1:\d+"', f'metrics = "127.0.0.1:{ports[role]}"', text)
            more = 'foreign_http = "127.0.0.1:0"\n' if role == "tracker" else ""
            path.write_text(text + more)
        plugins = {"p2sp-site": "p2sp-site.toml", "p2sp-supernode": "supernode.toml", "p2sp-peer": "peer.toml"}
        started = [self.start(plugin, config) for plugin, config in plugins.items()]
        for process, listeners in zip(started, (11, 2, 2), strict=True):
            process.wait_until_listening(listeners)
        urls = [f"http://127.0.0.1:{port}" for port in ports.values()]
        known: set[str] = set()
        for url in urls:
            lines = lines_of(f"{url}/metrics")
            kinds = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
            assert "p2sp_loop_lag_seconds" in kinds
            assert "p2sp_http_refused_total" in kinds
            assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
            for name, kind in kinds.items():
                known |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"} if kind == "histogram" else {name}
            # Asked again it says all of it again: no registry grows.
            again = [line.split()[2] for line in lines_of(f"{url}/metrics") if line.startswith("# TYPE")]
            assert sorted(again) == sorted(kinds)
            promtool("check", "metrics", said="\n".join([*lines, ""]))
        asked = named_in(json.loads((ETC / "grafana-dashboard.json").read_text()))
        assert asked <= known, sorted(asked - known)
        assert {"p2sp_statistics_received_bytes_total", "p2sp_manager_placements", "p2sp_node_links"} <= asked


def promtool(*arguments: str, said: str = "") -> None:
    """Prometheus' own tool has nothing to say against it."""
    result = subprocess.run(
        ["promtool", *arguments], input=said, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_reads_where_the_examples_serve() -> None:
    promtool("check", "config", str(ETC / "prometheus.yml"))
    text = (ETC / "prometheus.yml").read_text()
    told = re.findall(r'targets: \["127\.0\.0\.1:(\d+)"\]\s+labels: \{role: (\w+)\}', text)
    assert {role: int(port) for port, role in told} == PORTS
    for role, port in PORTS.items():
        assert f'\n# metrics = "127.0.0.1:{port}"\n' in (ETC / f"{role}.toml").read_text()


def test_no_panel_of_the_dashboard_lies_on_another() -> None:
    places: set[tuple[int, int]] = set()
    for panel in json.loads((ETC / "grafana-dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in (ETC / "systemd").iterdir():
        # Programs lie elsewhere here, and systemd asks for them.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/p2sp/bin/twistd", "/bin/true"))
    template = tmp_path / "p2sp@.service"
    units = sorted(str(each) for each in tmp_path.glob("*.socket"))
    for role in ROLES:
        shutil.copy(template, tmp_path / f"p2sp@{role}.service")
        units.append(str(tmp_path / f"p2sp@{role}.service"))
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")


def test_sockets_are_where_the_examples_listen() -> None:
    for unit in (ETC / "systemd").glob("*.socket"):
        role = unit.stem.partition("@")[2]
        held = re.findall(r"^ListenStream=0\.0\.0\.0:(\d+)$", unit.read_text(), re.M)
        asked = re.findall(r'^(?:listen|wire) = "127\.0\.0\.1:(\d+)"$', (ETC / f"{role}.toml").read_text(), re.M)
        assert held == asked, role


@pytest.mark.integration
class ActivationTests(TestCase):
    """systemd's own tool holds the socket and starts the role when somebody comes."""

    timeout = 60

    async def test_a_role_takes_over_the_socket_of_its_address(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        network = Network.create(Path(folder.name))
        port, other = free_port(), free_port()
        config = network.config("index", f'metrics = "127.0.0.1:{other}"', listen=f"127.0.0.1:{port}")
        # The manager of systemd names what it hands over, its tool only when it is told to.
        tool = ["systemd-socket-activate", "--fdname=index", "-l", f"127.0.0.1:{port}"]
        command = [*tool, *twistd("p2sp-index", config)]
        with Process(command, network.folder) as process:
            process.wait_for("Listening on 127.0.0.1")
            api = ApiClient(reactor, f"https://127.0.0.1:{port}", policy=network.peer_policy())
            self.addCleanup(api.close)
            health = await api.get("/v1/health", dict[str, Any])
            assert health["role"] == "index"
            # Bound by somebody else already, it can only have been handed over; the other is the role's own.
            assert process.wait_until_listening(2) == [f"https://127.0.0.1:{port}", f"http://127.0.0.1:{other}"]
            assert process.terminate() == 0
