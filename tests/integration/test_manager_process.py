"""Does a manager, run as operators run it, turn statistics into orders and keep them over a restart?"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from p2sp.manager.client import ManagerClient
from p2sp.manager.schema import Heartbeat, Held, Order
from p2sp.net.api_client import ApiClient
from p2sp.net.identity import Identity
from p2sp.statistics.client import StatisticsClient
from p2sp.statistics.schema import Sample
from p2sp.tracker.schema import Counters, Event
from tests.integration.processes import Network, free_port, run_once, twistd

reactor: Any = installed_reactor

MIB = 1024 * 1024
RESOURCE = "c" * 64
BEAT = Heartbeat(url="https://127.0.0.1:9006", port=9007, capacity=1024 * MIB, used=0)
NETWORK_MAP = {
    "meta": {"vtag": {"resource-id": "isps", "tag": "1"}},
    "network-map": {"campus": {"ipv4": ["127.1.0.0/16"]}},
}


@pytest.mark.integration
class ManagerProcessTests(TestCase):
    """The real programs, over TLS on loopback."""

    timeout = 180

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.network = Network.create(Path(folder.name))
        (self.network.folder / "map.json").write_text(json.dumps(NETWORK_MAP), encoding="utf-8")
        self.supernode = self.network.identity("supernode")

    def config(self, statistics: str, **options: str) -> Path:
        extra = (
            f'statistics = "{statistics}"\nnetwork_map = "map.json"\nmin_demand = "1MiB"\nhalf_life = "60s"\n'
            'period = "200ms"\nsync_interval = "200ms"\nheartbeat_interval = "2s"\n'
        )
        return self.network.config("manager", extra, **options)

    def api(self, url: str, identity: Identity | None, address: str | None = None) -> ApiClient:
        api = ApiClient(reactor, url, policy=self.network.policy(identity), bind_address=address)
        self.addCleanup(api.close)
        return api

    async def orders(self, manager: ManagerClient, beat: Heartbeat = BEAT) -> list[Order]:
        """Report until there are orders."""
        for _ in range(300):
            answer = await manager.heartbeat(beat)
            assert answer.isp == "campus"
            if answer.desired:
                return answer.desired
            await deferLater(reactor, 0.05)
        raise AssertionError("no orders came")

    async def report(self, url: str) -> None:
        """Two clients say that they fetched a file slowly, from outside."""
        tracker = StatisticsClient(self.api(url, self.network.identity("tracker")))
        samples = [
            Sample(
                session=letter * 32,
                resource=RESOURCE,
                node_id=letter * 64,
                at=time.time(),
                event=Event.COMPLETED,
                counters=Counters(server=8 * MIB),
                length=8 * MIB,
                left=0,
                isp="campus",
                rate=100_000,
            )
            for letter in "de"
        ]
        assert (await tracker.send(samples)).accepted == 2

    async def test_statistics_become_orders_which_outlive_a_restart_and_the_statistics(self) -> None:
        statistics_config = self.network.config("statistics", 'interval = "1s"')
        with self.network.start("statistics", statistics_config) as statistics:
            (statistics_url,) = statistics.wait_until_listening()
            await self.report(statistics_url)
            config = self.config(statistics_url)
            with self.network.start("manager", config) as first:
                (url,) = first.wait_until_listening()
                (order,) = await self.orders(ManagerClient(self.api(url, self.supernode, "127.1.0.1")))
                assert order.resource == RESOURCE
                assert order.reason.startswith("hot: 1")
                assert "by 2 clients" in order.reason
                assert "100% from outside the ISP" in order.reason
                assert first.terminate() == 0, first.log
                assert "Traceback" not in first.log
            assert statistics.terminate() == 0
        with self.network.start("manager", config) as second:
            (url,) = second.wait_until_listening()
            manager = ManagerClient(self.api(url, self.supernode, "127.1.0.1"))
            beat = Heartbeat(BEAT.url, BEAT.port, BEAT.capacity, 8 * MIB, 0, [Held(RESOURCE, 8 * MIB, 1.0)])
            assert [each.resource for each in await self.orders(manager, beat)] == [RESOURCE]
            second.wait_for("no statistics: .*; what is placed stays")
            operator = ManagerClient(self.api(url, None))
            (placement,) = (await operator.placements()).placements
            assert (placement.state, placement.reason) == ("held", order.reason)
            (node,) = (await operator.nodes()).nodes
            assert (node.node_id, node.address, node.alive) == (self.supernode.node_id, "127.1.0.1", True)
            assert second.terminate() == 0, second.log
            assert "Traceback" not in second.log

    def test_port_in_use(self) -> None:
        port = free_port()
        config = self.config("https://127.0.0.1:1", listen=f"127.0.0.1:{port}")
        with self.network.start("manager", config) as first:
            first.wait_until_listening()
            other = self.config("https://127.0.0.1:1", name="other", listen=f"127.0.0.1:{port}")
            result = run_once(twistd("p2sp-manager", other), self.network.folder)
        assert result.returncode == 1
        # In the foreground twistd's log is its standard output.
        assert f"p2sp-manager: cannot listen on 127.0.0.1:{port}" in result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr

    def test_check_config(self) -> None:
        example = Path(__file__).parents[2] / "etc" / "manager.toml"
        result = run_once(twistd("p2sp-manager", example, "--check-config"), self.network.folder)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == f"p2sp-manager: configuration {example} is good\n"
        bad = self.config("ftp://nowhere")
        result = run_once(twistd("p2sp-manager", bad, "--check-config"), self.network.folder)
        assert result.returncode == 1
        assert "$.statistics" in result.stderr
        assert len(result.stderr.splitlines()) == 1
