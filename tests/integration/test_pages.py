"""Can people look at the pages of real roles, in a real browser: live, on a phone, by night, without scripts?"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from p2sp.index.client import IndexClient
from p2sp.index.schema import PublishRequest
from p2sp.manager.client import ManagerClient
from p2sp.manager.schema import Heartbeat, Held
from p2sp.net.api_client import ApiClient
from p2sp.net.identity import Identity
from p2sp.statistics.client import StatisticsClient
from p2sp.statistics.schema import Sample
from p2sp.tracker.schema import Counters, Event
from tests.index.resources import single_file
from tests.integration.browser import Browser
from tests.integration.processes import Network, Process

reactor: Any = installed_reactor

MIB = 1024 * 1024
RESOURCE = "c" * 64
TOKEN = "the operators' own word"
NETWORK_MAP = {
    "meta": {"vtag": {"resource-id": "isps", "tag": "1"}},
    "network-map": {"campus": {"ipv4": ["127.1.0.0/16"]}},
}
WIDTHS = (1180, 700, 390, 320)


@pytest.mark.integration
class PagesTests(TestCase):
    """Statistics and manager as processes, and Debian's Chromium."""

    timeout = 180

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.network = Network.create(Path(folder.name))
        (self.network.folder / "map.json").write_text(json.dumps(NETWORK_MAP), encoding="utf-8")

    def api(self, url: str, identity: Identity | None, address: str | None = None) -> ApiClient:
        api = ApiClient(reactor, url, policy=self.network.policy(identity), bind_address=address)
        self.addCleanup(api.close)
        return api

    def start(self, role: str, extra: str) -> tuple[Process, str, str]:
        """A role with pages; its process, and the URLs of its API and its page."""
        process = self.network.start(role, self.network.config(role, extra))
        self.addCleanup(process.stop)
        api, page = process.wait_until_listening(2)
        return process, api, page + "/"

    async def report(self, client: StatisticsClient, share: int, resource: str = RESOURCE) -> None:
        """Two clients that have got so much of a file of 8 MiB from each kind."""
        counters = Counters(server=4 * share, supernode=share, peer_local=2 * share, peer_remote=share)
        samples = [
            Sample(
                session=letter * 32,
                resource=resource,
                node_id=letter * 64,
                at=time.time(),
                event=Event.PROGRESS if share < MIB else Event.COMPLETED,
                counters=counters,
                length=8 * MIB,
                left=8 * (MIB - share),
                isp="campus",
                rate=100_000,
            )
            for letter in "de"
        ]
        assert (await client.send(samples)).accepted == 2

    async def look(self, page: str, browser: Browser) -> None:
        """Everything is to be seen and nothing complained of, at every width, by day and by night."""
        grounds = set()
        browser.open(page)
        for dark in (False, True):
            for width in WIDTHS:
                browser.be(width, dark=dark)
                assert browser.overflowing() == [], width
            grounds.add(browser.ask("return getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2
        assert browser.complaints() == []

    async def test_statistics(self) -> None:
        _, url, page = self.start("statistics", 'interval = "1s"\npages = "127.0.0.1:0"')
        client = StatisticsClient(self.api(url, self.network.identity("tracker")))
        await self.report(client, MIB // 2)
        with Browser() as browser:
            await self.look(page + "?window=10m", browser)
            browser.be(1180)
            browser.open(page + "?window=10m")
            assert "8.00 MiB" in browser.text(".tiles")
            assert "50 %" in browser.text(".tiles")
            browser.ask("window.same = true")
            await self.report(client, MIB)
            browser.until(lambda: "16.0 MiB" in browser.text(".tiles"))
            assert browser.ask("return window.same"), "the page was loaded anew, not freshened"
            assert browser.complaints() == []
            shown = browser.text("main")
            for words in (
                "campus",
                "cccccccccccc",
                "resource servers 8.00 MiB (50 %)",
                "peers, same ISP 4.00 MiB (25 %)",
            ):
                assert words in shown, shown
            browser.ask("document.querySelector('a[href*=resource]').click()")
            browser.until(lambda: RESOURCE in browser.text(".lead"))
            browser.be(1180, scripts=False)
            browser.open(page)
            assert "16.0 MiB" in browser.text(".tiles")
            assert browser.text("#live").startswith("as of ")

    async def test_resources_are_called_by_the_names_the_index_knows(self) -> None:
        index = self.network.start("index", self.network.config("index"))
        self.addCleanup(index.stop)
        (url,) = index.wait_until_listening()
        descriptor = single_file("a film & more.mkv", 700_000)
        publisher = IndexClient(self.api(url, self.network.identity("publisher")))
        resource = (await publisher.publish(PublishRequest(descriptor.to_torrent()))).id
        _, statistics, page = self.start("statistics", f'interval = "1s"\npages = "127.0.0.1:0"\nindex = "{url}"')
        await self.report(StatisticsClient(self.api(statistics, self.network.identity("tracker"))), MIB, resource)
        with urlopen(page, timeout=20) as answer:
            text = answer.read().decode()
        assert ">a film &amp; more.mkv</span></a>" in text
        assert f'<code title="{resource}">{resource[:12]}</code>' in text

    async def test_manager_behind_a_token(self) -> None:
        _, statistics, _ = self.start("statistics", 'interval = "1s"\npages = "127.0.0.1:0"')
        await self.report(StatisticsClient(self.api(statistics, self.network.identity("tracker"))), MIB)
        (self.network.folder / "pages.token").write_text(TOKEN + "\n")
        _, url, page = self.start(
            "manager",
            f'statistics = "{statistics}"\nnetwork_map = "map.json"\nmin_demand = "1MiB"\nhalf_life = "60s"\n'
            'period = "200ms"\nsync_interval = "200ms"\nheartbeat_interval = "2s"\n'
            # Not the address that needs no token: TLS with the role's certificate.
            'pages = "0.0.0.0:0"\npages_token = "pages.token"',
        )
        page = page.replace("0.0.0.0", "127.0.0.1")
        assert page.startswith("https://")
        manager = ManagerClient(self.api(url, self.network.identity("supernode"), "127.1.0.1"))
        beat = Heartbeat(url="https://127.0.0.1:9006", port=9007, capacity=16 * MIB, used=0)
        while not (await manager.heartbeat(beat)).desired:
            await deferLater(reactor, 0.05)
        held = Heartbeat(beat.url, beat.port, beat.capacity, 8 * MIB, MIB, [Held(RESOURCE, 8 * MIB, 0.25)])
        await manager.heartbeat(held)
        with Browser() as browser:
            browser.open(page)
            assert browser.text("h1") == "Who is there?"
            assert "campus" not in browser.text("body")
            browser.ask("document.getElementById('token').value = arguments[0]; document.forms[0].submit()", TOKEN)
            browser.until(lambda: browser.text("h1") == "What lies where, and why")
            assert "campus" in browser.text(".nodes")
            assert "8.00 MiB of 16.0 MiB, 50 % full" in browser.text(".nodes")
            assert "filling 25 %" in browser.text("main")
            assert "hot: 1" in browser.text("td.words")
            # The form's answer was 401, which a browser writes down.
            assert [each for each in browser.complaints() if "401" not in each] == []
            await self.look(page, browser)
