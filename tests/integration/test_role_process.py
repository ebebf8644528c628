"""Does a role under a real twistd start whole or not at all, in words, and stop in order?"""

import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.integration.processes import Network, run_once, twistd

pytestmark = pytest.mark.integration

PLUGIN = """
from twisted.application.service import ServiceMaker

p2sp_baker = ServiceMaker("p2sp-baker", "baker_role", "A role that bakes, for a test.", "p2sp-baker")
"""

ROLE = """
from typing import ClassVar

from twisted.internet import reactor

from p2sp.net.identity import load_identity
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.trust import Trust, server_context
from p2sp.ops.config import Base, resolve
from p2sp.ops.service import RoleService
from p2sp.ops.tap import RoleOptions, clean_exit


class Options(RoleOptions):
    role: ClassVar[str] = "baker"
    config_type = Base


def makeService(options):
    config = options.config
    with clean_exit("baker"):
        identity = load_identity(resolve(options.config_path, config.identity))
        trust = Trust.from_file(resolve(options.config_path, config.authority))
    service = RoleService("baker", reactor)
    api = Api(trust, reactor, role="baker", node_id=identity.node_id)
    service.on_start("oven", lambda: print("oven on", flush=True))
    service.on_stop("oven", lambda: print("oven off", flush=True))
    service.on_stop("bread", lambda: print("bread out", flush=True))
    service.every(0.05, lambda: 1 / 0, "burning")
    service.listen(config.listen, make_site(api), server_context(identity))
    return service
"""


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    """A network whose folder has the plugin of a role of its own."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    plugins = tmp_path / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "baker_dropin.py").write_text(PLUGIN)
    (tmp_path / "baker_role.py").write_text(ROLE)
    network = Network.create(tmp_path)
    network.identity("peer", "baker")
    return network


def fails(result: "subprocess.CompletedProcess[str]") -> list[str]:
    """The lines a failed start printed; never a stack trace."""
    output = result.stdout + result.stderr
    assert result.returncode == 1, output
    assert "Traceback" not in output
    return [line for line in output.splitlines() if "p2sp-baker:" in line]


def test_it_serves_survives_failing_jobs_and_stops_in_order(network: Network) -> None:
    with network.start("baker", network.config("baker")) as process:
        [url] = process.wait_until_listening()
        process.wait_for("(?s)burning failed.*burning failed")
        context = ssl.create_default_context(cadata=(network.folder / "pki" / "ca.pem").read_text())
        with urllib.request.urlopen(url + "/v1/health", context=context, timeout=10) as answer:
            health = json.load(answer)
        assert (health["status"], health["role"]) == ("ok", "baker")
        assert process.terminate() == 0
        log = process.log
        order = ["oven on", "baker listening on", "bread out", "oven off", "baker has stopped"]
        assert sorted(order, key=log.index) == order


def test_a_taken_port_is_one_line_and_status_1(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = network.config("baker", listen=address)
        lines = fails(run_once(twistd("p2sp-baker", config), network.folder))
    [line] = lines
    assert line.endswith(f"p2sp-baker: cannot listen on {address}: Address already in use")
    assert not list(network.folder.glob("*.pid"))


def test_a_taken_port_fails_a_daemon_too(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = network.config("baker", listen=f"127.0.0.1:{taken.getsockname()[1]}")
        log = network.folder / "baker.log"
        program = [str(Path(sys.prefix) / "bin" / "twistd"), "--pidfile", "baker.pid", "--logfile", str(log)]
        result = run_once([*program, "p2sp-baker", "--config", str(config)], network.folder)
    assert result.returncode == 1
    assert "cannot listen on 127.0.0.1" in result.stderr
    assert "p2sp-baker: cannot listen on 127.0.0.1" in log.read_text()
    assert "Traceback" not in log.read_text() + result.stderr
    assert not (network.folder / "baker.pid").exists()


@pytest.mark.parametrize(
    ("extra", "breakage", "reason"),
    [
        ("listn = 1", None, "$.listn is not a setting"),
        ("", "baker.pem", "baker.pem is not a usable identity: No such file or directory"),
        ("", "ca.pem", "ca.pem is not a usable identity: No such file or directory"),
    ],
)
def test_what_is_missing_is_one_line(network: Network, extra: str, breakage: str | None, reason: str) -> None:
    config = network.config("baker", extra)
    if breakage is not None:
        (network.folder / "pki" / breakage).unlink()
    [line] = fails(run_once(twistd("p2sp-baker", config), network.folder))
    assert reason in line


def test_a_listen_address_that_is_none_is_one_line(network: Network) -> None:
    config = network.config("baker", listen="somewhere")
    assert "'somewhere' is not an address" in fails(run_once(twistd("p2sp-baker", config), network.folder))[-1]


def test_checking_a_configuration(network: Network) -> None:
    config = network.config("baker")
    result = run_once(twistd("p2sp-baker", config, "--check-config"), network.folder)
    assert (result.returncode, result.stdout) == (0, f"p2sp-baker: configuration {config} is good\n")
    [line] = fails(run_once(twistd("p2sp-baker", network.folder / "x.toml", "--check-config"), network.folder))
    assert line == f"p2sp-baker: {network.folder / 'x.toml'}: No such file or directory"


def test_help_and_a_forgotten_configuration(network: Network) -> None:
    program = [str(Path(sys.prefix) / "bin" / "twistd"), "-n", "p2sp-baker"]
    result = run_once([*program, "--help"], network.folder)
    assert result.returncode == 0
    assert "p2sp site init" in " ".join(result.stdout.split())
    result = run_once(program, network.folder)
    assert result.returncode == 1
    assert "p2sp-baker needs --config PATH" in result.stdout + result.stderr
