"""Do a global and a local tracker, run as operators run them, work together and without each other?"""

import contextlib
import json
import os
import signal
import socket
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from p2sp.net.api_client import ApiClient
from p2sp.net.identity import Identity, create_identity
from p2sp.statistics.client import StatisticsClient
from p2sp.statistics.schema import Rollup
from p2sp.tracker.client import TrackerClient
from p2sp.tracker.schema import Event, Scope, TrackerRef
from tests.contracts.redis_process import Redis
from tests.integration.processes import Network, free_port, run_once, twistd
from tests.integration.servers import until
from tests.tracker.entries import RESOURCE, request
from tests.tracker.kit import MAP

reactor: Any = installed_reactor
ETC = Path(__file__).parents[2] / "etc"
MIB = 1024 * 1024


@pytest.mark.integration
class TrackerProcessTests(TestCase):
    """The real programs, over TLS on loopback."""

    timeout = 120

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.network = Network.create(Path(folder.name))
        (self.network.folder / "map.json").write_text(json.dumps(MAP), encoding="utf-8")

    def api(self, url: str, identity: Identity, address: str = "127.0.0.1") -> ApiClient:
        api = ApiClient(reactor, url, policy=self.network.policy(identity), bind_address=address)
        self.addCleanup(api.close)
        return api

    def node(self, url: str, address: str) -> TrackerClient:
        return TrackerClient(self.api(url, create_identity(), address))

    async def test_global_and_local_together_and_apart(self) -> None:
        addresses = {name: f"127.0.0.1:{free_port()}" for name in ("global", "local")}
        global_url, local_url = f"https://{addresses['global']}", f"https://{addresses['local']}"
        common = 'network_map = "map.json"\ninterval = 0.5\nexpiry = "60s"\n'
        config = self.network.config("tracker", common, name="global", listen=addresses["global"])
        local_settings = f"""
            scope = "local"
            isps = ["one"]
            public_url = "{local_url}"
            global_tracker = "{global_url}"
        """
        local_config = self.network.config("tracker", common + local_settings, name="local", listen=addresses["local"])
        with self.network.start("tracker", local_config) as local:
            assert local.wait_until_listening() == [local_url]
            local.wait_for("the global tracker does not know us")
            with self.network.start("tracker", config) as first:
                first.wait_until_listening()
                local.wait_for("registered at the global tracker for one")
                begun = await self.node(global_url, "127.1.0.1").announce(request())
                assert begun.trackers == [TrackerRef(local_url, Scope.LOCAL)]
                assert (await self.node(global_url, "127.2.0.1").announce(request())).trackers == []
                alone = await self.node(local_url, "127.1.0.1").announce(request())
                assert (alone.isp, alone.nodes) == ("one", [])
                assert alone.trackers == [TrackerRef(global_url, Scope.GLOBAL)]
                assert first.terminate() == 0, first.log
                assert "Traceback" not in first.log
            together = await self.node(local_url, "127.1.0.2").announce(request())
            assert [(each.host, each.local) for each in together.nodes] == [("127.1.0.1", True)]
            local.wait_for("(?s)registered at the global.*does not know us")
            with self.network.start("tracker", config) as second:
                second.wait_until_listening()
                local.wait_for("(?s)registered at the global.*does not know us.*registered at the global")
                again = await self.node(global_url, "127.1.0.1").announce(request())
                assert again.trackers == begun.trackers
                assert again.epoch != begun.epoch
                assert again.nodes == []
                # The local tracker told of its swarm: it has two nodes.
                for _ in range(200):
                    if again.leeches == 2:
                        break
                    await deferLater(reactor, 0.1)
                    again = await self.node(global_url, "127.1.0.1").announce(request())
                assert again.leeches == 2
            assert local.terminate() == 0, local.log
            assert "Traceback" not in local.log

    async def test_what_nodes_report_reaches_the_statistics_server_when_it_comes_back(self) -> None:
        address = f"127.0.0.1:{free_port()}"
        statistics_config = self.network.config("statistics", "interval = 1", listen=address)
        config = self.network.config(
            "tracker", f'network_map = "map.json"\nstatistics = "https://{address}"\nreport_interval = 0.2'
        )
        with self.network.start("tracker", config) as tracker:
            [url] = tracker.wait_until_listening()
            node = self.node(url, "127.1.0.1")
            await node.announce(request(event=Event.STARTED, left=2 * MIB))
            await node.announce(request(server=MIB))
            await self.node(url, "127.2.0.1").announce(request(server=5 * MIB, home=False))
            tracker.wait_for("samples wait for the statistics server")
            with self.network.start("statistics", statistics_config) as statistics:
                statistics.wait_until_listening()
                api = self.api(f"https://{address}", self.network.identity("manager"))
                assert await self.volume(StatisticsClient(api), MIB) == {("one", RESOURCE): MIB}
                # What is reported last is sent when the tracker stops.
                await node.announce(request(event=Event.COMPLETED, left=0, server=2 * MIB))
                assert tracker.terminate() == 0, tracker.log
                assert await self.volume(StatisticsClient(api), 2 * MIB) == {("one", RESOURCE): 2 * MIB}
                assert statistics.terminate() == 0, statistics.log
            assert "Traceback" not in tracker.log

    async def volume(self, client: StatisticsClient, wanted: int) -> dict[tuple[str | None, str], int]:
        """Bytes from servers by ISP and resource, once they are `wanted` altogether; what there is after 20 s."""
        volumes: dict[tuple[str | None, str], int] = {}
        for _ in range(200):
            rollups: list[Rollup] = (await client.rollups()).rollups
            volumes = {}
            for each in rollups:
                key = (each.isp, each.resource)
                volumes[key] = volumes.get(key, 0) + each.server
            if sum(volumes.values()) >= wanted:
                break
            await deferLater(reactor, 0.1)
        return volumes

    def test_the_example_configuration_is_good(self) -> None:
        done = run_once(twistd("p2sp-tracker", ETC / "tracker.toml", "--check-config"), self.network.folder)
        assert done.returncode == 0, done.stderr
        assert "is good" in done.stdout

    def test_what_is_wrong_is_one_line(self) -> None:
        broken = {**MAP, "network-map": {"one": {"ipv4": ["127.1.0.0/99"]}}}
        (self.network.folder / "broken.json").write_text(json.dumps(broken), encoding="utf-8")
        for settings, says in (
            ("intervall = 3", "$.intervall is not a setting"),
            ('network_map = "broken.json"', "broken.json: PID 'one': '127.1.0.0/99' is not a prefix"),
        ):
            config = self.network.config("tracker", settings)
            for options in (["--check-config"], []):
                done = run_once(twistd("p2sp-tracker", config, *options), self.network.folder)
                assert done.returncode == 1
                assert says in done.stderr
                assert "Traceback" not in done.stdout + done.stderr

    async def test_several_processes_share_a_port_and_the_swarms_in_redis(self) -> None:
        redis = Redis()
        self.addCleanup(redis.close)
        address = f"127.0.0.1:{free_port()}"
        settings = f'network_map = "map.json"\nstore = "{redis.url}"\nworkers = 3\n'
        config = self.network.config("tracker", settings, listen=address)
        with self.network.start("tracker", config) as tracker:
            tracker.wait_until_listening(3)
            # Connections are spread by the system: of so many some go to each.
            epochs = set()
            for number in range(1, 25):
                answer = await self.node(f"https://{address}", f"127.1.0.{number}").announce(request(wanted=100))
                epochs.add(answer.epoch)
                assert {each.host for each in answer.nodes} == {f"127.1.0.{earlier}" for earlier in range(1, number)}
            assert len(epochs) == 1
            killed = worker_of(tracker.pid)
            os.kill(killed, signal.SIGKILL)
            tracker.wait_for("(?s)worker . ended; it is started again.*listening on")
            assert tracker.terminate() == 0, tracker.log
            assert not tracker_processes(config)
        with self.network.start("tracker", config) as tracker:
            tracker.wait_until_listening(3)
            tracker.kill()
            # Nobody is left behind, also not by a crash.
            until(lambda: not tracker_processes(config), "the workers end")

    async def test_several_processes_answer_datagrams_and_take_each_others_numbers(self) -> None:
        redis = Redis()
        self.addCleanup(redis.close)
        listen, udp = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        settings = f'store = "{redis.url}"\nworkers = 2\nforeign_udp = "{udp}"\n'
        config = self.network.config("tracker", settings, listen=listen)
        with self.network.start("tracker", config) as tracker:
            tracker.wait_for(r"(?s)(listening on udp.*){2}")
            to = ("127.0.0.1", int(udp.rpartition(":")[2]))
            with contextlib.ExitStack() as opened:
                # The system spreads senders by their ports: of so many some meet each process.
                sockets = [opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(24)]
                for each in sockets:
                    each.settimeout(20.0)
                sockets[0].sendto(struct.pack(">QII", 0x41727101980, 0, 5), to)
                number = struct.unpack(">IIQ", sockets[0].recv(100))[2]
                for port, each in enumerate(sockets, 1):
                    each.sendto(
                        struct.pack(
                            ">QII20s20sQQQIIIiH", number, 1, port, b"x" * 20, b"y" * 20, 0, 1, 0, 2, 0, 0, -1, port
                        ),
                        to,
                    )
                    answer = each.recv(2000)
                    assert struct.unpack(">IIIII", answer[:20])[:2] == (1, port)
                    assert len(answer[20:]) == 6 * (port - 1)
            assert tracker.terminate() == 0, tracker.log
            assert "Traceback" not in tracker.log


def worker_of(pid: int) -> int:
    """One of a process' children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 2
    return int(children[0])


def tracker_processes(config: Path) -> list[str]:
    """Processes that run with this configuration."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(config).encode() in line.read_bytes():
                found.append(line.parent.name)
    return found
