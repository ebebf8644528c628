"""What do the tests of the tracker's API share: a network's keys, running trackers, and nodes at other addresses?"""

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from p2sp.net.api_client import ApiClient
from p2sp.net.errors import Refused
from p2sp.net.identity import Identity, create_identity
from p2sp.ops.config import load_config
from p2sp.ops.service import RoleService
from p2sp.tracker.client import TrackerClient
from p2sp.tracker.config import TrackerConfig
from p2sp.tracker.service import make_service
from tests.integration.processes import Network

reactor: Any = installed_reactor

MAP = {
    "meta": {"vtag": {"resource-id": "test", "tag": "1"}},
    "network-map": {
        "one": {"ipv4": ["127.1.0.0/16"]},
        "two": {"ipv4": ["127.2.0.0/16"]},
        "six": {"ipv6": ["::1/128"]},
    },
}
ISP_ONE, ISP_TWO, NO_ISP = "127.1.0.{}", "127.2.0.{}", "127.0.0.1"


class TrackerCase(TestCase):
    """Tests of whole trackers over TLS on the loopback interface; what is opened is closed afterwards."""

    timeout = 30

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.network = Network.create(Path(folder.name))
        (self.network.folder / "map.json").write_text(json.dumps(MAP), encoding="utf-8")
        self.now = 1000.0
        self.wall = 1_700_000_000.0

    def tracker(
        self,
        extra: str = "",
        *,
        name: str = "tracker",
        listen: str = "127.0.0.1:0",
        network_map: str | None = "map.json",
    ) -> str:
        """Run a tracker in this process; the answer is its URL."""
        settings = extra if network_map is None else f'network_map = "{network_map}"\n{extra}'
        path = self.network.config("tracker", settings, name=name, listen=listen)
        return self.run_role(
            make_service(
                load_config(path, TrackerConfig),
                path,
                reactor,
                now=lambda: self.now,
                wall=lambda: self.wall,
                rng=random.Random(7),
            )
        )

    def run_role(self, role: RoleService) -> str:
        """Start a role; it stops with the test."""
        role.startService()
        self.addCleanup(role.stopService)
        self.role = role
        host: Any = role.ports[0].getHost()
        return f"https://[{host.host}]:{host.port}" if ":" in host.host else f"https://{host.host}:{host.port}"

    async def unwatched(self) -> None:
        """From now on the tracker's load is what a test says it is, however late this machine is."""
        for job in self.role.jobs:
            if job.name == "watching the load":
                await job.stop()

    def api(self, url: str, identity: Identity | None, address: str = NO_ISP) -> ApiClient:
        """A connection of its own, from `address`, showing `identity`."""
        bind = None if ":" in address else address
        client = ApiClient(reactor, url, policy=self.network.policy(identity), bind_address=bind)
        self.addCleanup(client.close)
        return client

    def node(self, url: str, address: str = NO_ISP, identity: Identity | None = None) -> TrackerClient:
        """A node that announces from `address`, with a key of its own unless one is given."""
        return TrackerClient(self.api(url, identity or create_identity(), address))

    async def refusal(self, call: Any) -> tuple[int, str, str]:
        """Status, code and message of a call that must be refused."""
        try:
            await call
        except Refused as error:
            return error.status, error.code, error.message
        raise AssertionError("the call was answered")
