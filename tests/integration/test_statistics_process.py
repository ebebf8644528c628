"""Does a statistics server, run as operators run it, keep what it was told?"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.trial.unittest import TestCase

from p2sp.net.api_client import ApiClient
from p2sp.net.identity import Identity
from p2sp.statistics.client import StatisticsClient
from tests.integration.processes import Network, run_once, twistd
from tests.statistics.samples import a_sample


@pytest.mark.integration
class StatisticsProcessTests(TestCase):
    """The real program, over TLS on loopback."""

    timeout = 120

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.network = Network.create(Path(folder.name))

    def client(self, url: str, identity: Identity) -> StatisticsClient:
        api = ApiClient(IReactorTime(reactor), url, policy=self.network.policy(identity))
        self.addCleanup(api.close)
        return StatisticsClient(api)

    async def test_stop_and_crash_lose_no_account(self) -> None:
        config = self.network.config("statistics", "interval = 86400")
        tracker, manager = self.network.identity("tracker"), self.network.identity("manager")
        now = time.time()
        for counter in (1000, 1500, 4000):
            with self.network.start("statistics", config) as process:
                (url,) = process.wait_until_listening()
                sent = await self.client(url, tracker).send([a_sample(at=now, server=counter)])
                assert sent.accepted == 1
                page = await self.client(url, manager).rollups()
                assert [(each.server, each.clients) for each in page.rollups] == [(counter, 1)]
                if counter == 1500:
                    process.kill()
                else:
                    assert process.terminate() == 0, process.log
                    assert "Traceback" not in process.log

    def test_check_config(self) -> None:
        example = Path(__file__).parents[2] / "etc" / "statistics.toml"
        good = run_once(twistd("p2sp-statistics", example, "--check-config"), self.network.folder)
        assert (good.returncode, good.stderr) == (0, "")
        assert good.stdout == f"p2sp-statistics: configuration {example} is good\n"
        for extra, complaint in {
            "colour = 1": "$.colour is not a setting",
            'pages = "*:9203"': "$.pages: '*:9203' is not a loopback address: others may look only with",
            'interval = "often"': "$.interval: 'often' is not a duration",
        }.items():
            config = self.network.config("statistics", extra)
            bad = run_once(twistd("p2sp-statistics", config, "--check-config"), self.network.folder)
            assert bad.returncode == 1
            assert complaint in bad.stderr
            assert len(bad.stderr.splitlines()) == 1
