"""Does a resource index, run as operators run it, keep what it was told?"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from p2sp.index.client import IndexClient
from p2sp.index.schema import PublishRequest
from p2sp.net.api_client import ApiClient
from p2sp.net.identity import Identity
from tests.index.resources import single_file
from tests.integration.processes import Network, free_port, run_once, twistd


@pytest.mark.integration
class IndexProcessTests(TestCase):
    """The real program, over TLS on loopback."""

    timeout = 120

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.network = Network.create(Path(folder.name))

    def client(self, url: str, identity: Identity) -> IndexClient:
        api = ApiClient(reactor, url, policy=self.network.policy(identity))
        self.addCleanup(api.close)
        return IndexClient(api)

    async def test_publish_stop_restart_still_known(self) -> None:
        config = self.network.config("index")
        publisher = self.network.identity("publisher")
        descriptor = single_file("big.iso", 700_000)
        mirror = "https://mirror.example/big.iso"
        with self.network.start("index", config) as first:
            client = self.client(first.wait_until_listening()[0], publisher)
            answer = await client.publish(PublishRequest(descriptor.to_torrent(), [mirror]))
            assert answer.id == descriptor.resource_id.hex()
            torrent = await client.torrent(answer.id)
            assert torrent.descriptor == descriptor
            assert first.terminate() == 0, first.log
            assert "Traceback" not in first.log
        with self.network.start("index", config) as second:
            client = self.client(second.wait_until_listening()[0], publisher)
            view = await client.resource(answer.id)
            assert (view.name, view.mirrors) == ("big.iso", [mirror])
            assert [each.id for each in await client.lookup_url(mirror)] == [answer.id]
            assert second.terminate() == 0, second.log

    async def test_what_was_answered_outlives_a_crash(self) -> None:
        config = self.network.config("index")
        publisher = self.network.identity("publisher")
        descriptor = single_file("crash.bin", 300_000)
        with self.network.start("index", config) as first:
            client = self.client(first.wait_until_listening()[0], publisher)
            answer = await client.publish(PublishRequest(descriptor.to_torrent()))
            first.kill()
        with self.network.start("index", config) as second:
            client = self.client(second.wait_until_listening()[0], publisher)
            assert (await client.torrent(answer.id)).descriptor == descriptor

    def test_port_in_use(self) -> None:
        port = free_port()
        config = self.network.config("index", listen=f"127.0.0.1:{port}")
        with self.network.start("index", config) as first:
            first.wait_until_listening()
            other = self.network.config("index", name="other", listen=f"127.0.0.1:{port}")
            result = run_once(twistd("p2sp-index", other), self.network.folder, timeout=20.0)
        assert result.returncode == 1
        assert f"cannot listen on 127.0.0.1:{port}" in result.stdout + result.stderr
        assert "Traceback" not in result.stdout + result.stderr

    def test_check_config_good(self) -> None:
        config = self.network.config("index")
        result = run_once(twistd("p2sp-index", config, "--check-config"), self.network.folder)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout == f"p2sp-index: configuration {config} is good\n"

    def test_check_config_of_the_example(self) -> None:
        example = Path(__file__).parents[2] / "etc" / "index.toml"
        result = run_once(twistd("p2sp-index", example, "--check-config"), self.network.folder)
        assert (result.returncode, result.stderr) == (0, "")

    def test_bad_config(self) -> None:
        for extra, complaint in {
            "colour = 1": "$.colour is not a setting",
            'listen = "nowhere"': "is not TOML",
            "database = 5": "$.database: expected `str | null`, got `int`",
        }.items():
            config = self.network.config("index", extra)
            result = run_once(twistd("p2sp-index", config, "--check-config"), self.network.folder)
            assert result.returncode == 1
            assert complaint in result.stderr
            assert str(config) in result.stderr
            assert len(result.stderr.splitlines()) == 1
        config = self.network.config("index", listen="nowhere")
        result = run_once(twistd("p2sp-index", config, "--check-config"), self.network.folder)
        assert result.returncode == 1
        assert "$.listen: 'nowhere' is not an address and port" in result.stderr

    def test_no_identity(self) -> None:
        config = self.network.config("index")
        (self.network.folder / "pki" / "index.pem").unlink()
        result = run_once(twistd("p2sp-index", config), self.network.folder)
        assert result.returncode == 1
        assert "index.pem is not a usable identity" in result.stderr
        assert "Traceback" not in result.stdout + result.stderr
