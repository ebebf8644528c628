"""Does a tracker process that is asked for ten times what it allows keep serving those who ask for little?"""

from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from p2sp.net.api_client import ApiClient
from p2sp.net.identity import create_identity
from p2sp.tracker.client import TrackerClient
from tests.integration.processes import Network, free_port
from tests.tracker.entries import request

reactor: Any = installed_reactor
RATE, BURST = 2.0, 10
FLOOD = 10 * BURST
LIMITS = f"""
[limits]
rate_per_address = {RATE}
burst_per_address = {BURST}
rate_per_node = {RATE}
burst_per_node = {BURST}
"""


class Flooder(Protocol):
    """Sends all it has at once; keeps what comes back, and says when it was first refused."""

    transport: Any

    def __init__(self, demand: bytes) -> None:
        self.heard = b""
        self.refused: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._demand = demand

    def connectionMade(self) -> None:
        self.transport.write(self._demand)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if b"HTTP/1.1 429" in self.heard and not self.refused.called:
            self.refused.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


@pytest.mark.integration
class FloodTests(TestCase):
    """From other addresses of loopback."""

    timeout = 120

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.network = Network.create(Path(folder.name))

    async def flood(self, port: int, address: str, demand: bytes, *, tls: bool) -> Flooder:
        """A flooder that has met its limit and has plenty to ask still."""
        endpoint: Any = HostnameEndpoint(reactor, "127.0.0.1", port, bindAddress=(address, 0))
        if tls:
            policy = self.network.policy(create_identity())
            endpoint = wrapClientTLS(policy.creatorForNetloc(b"127.0.0.1", port), endpoint)
        flooder: Flooder = await connectProtocol(endpoint, Flooder(demand))

        async def leave() -> None:
            if not flooder.ended.called:
                flooder.transport.abortConnection()
            await flooder.ended

        self.addCleanup(lambda: Deferred.fromCoroutine(leave()))
        await flooder.refused
        return flooder

    def node(self, url: str, address: str) -> TrackerClient:
        api = ApiClient(reactor, url, policy=self.network.policy(create_identity()), bind_address=address)
        self.addCleanup(api.close)
        return TrackerClient(api)

    async def metrics(self, address: str) -> dict[tuple[str, str], float]:
        """What the metrics page says, by name and first label."""
        api = ApiClient(reactor, f"http://{address}", policy=self.network.policy())
        self.addCleanup(api.close)
        text = (await api.get_bytes("/metrics", 1024 * 1024)).decode()
        return {
            (sample.name, next(iter(sample.labels.values()), "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def test_who_asks_for_little_is_served_while_others_flood(self) -> None:
        http, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
        settings = f'foreign_http = "{http}"\nmetrics = "{metrics}"\n{LIMITS}'
        with self.network.start("tracker", self.network.config("tracker", settings)) as tracker:
            [url] = [each for each in tracker.wait_until_listening(3) if each.startswith("https:")]
            modest = [self.node(url, f"127.2.0.{number}") for number in range(1, 6)]
            for node in modest:
                await node.announce(request())
            began = monotonic()
            body = msgspec.json.encode(request())
            native = b"POST /v1/announce HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            foreign = b"GET /announce?info_hash=%s&peer_id=%s&port=1&left=1 HTTP/1.1\r\nHost: x\r\n\r\n" % (
                b"x" * 20,
                b"y" * 20,
            )
            port = int(url.rpartition(":")[2])
            flooders = [
                await self.flood(port, f"127.1.0.{number}", FLOOD * native, tls=True) for number in range(1, 5)
            ] + [
                await self.flood(int(http.rpartition(":")[2]), f"127.1.1.{number}", FLOOD * foreign, tls=False)
                for number in range(1, 5)
            ]
            for node in modest:
                answer = await node.announce(request())
                assert answer.leeches == len(modest) + 4
            said = await self.metrics(metrics)
            for flooder in flooders:
                served = flooder.heard.count(b"HTTP/1.1 200")
                assert 1 <= served <= BURST + RATE * (monotonic() - began)
                # What they are not listened to stays with them.
                assert flooder.heard.count(b"HTTP/1.1") < FLOOD
                assert flooder.heard.count(b"HTTP/1.1 429") == flooder.heard.count(b"Retry-After")
            assert said["p2sp_http_refused_total", "too-many"] >= 4
            assert said["p2sp_tracker_foreign_requests_total", "limited"] >= 4
            assert said["p2sp_http_connections", ""] == len(modest) + 4
            assert tracker.terminate() == 0, tracker.log
            assert "Traceback" not in tracker.log
