"""Is a super node of use to programs that others wrote: curl, aria2, libtorrent, and nginx in front of it?"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest

from p2sp.resource.descriptor import parse_torrent
from tests.integration.foreign import Libtorrent
from tests.integration.lab import MIB, NORTH, Bytes, Lab, digest_of, make_file, until
from tests.integration.processes import Process, free_port
from tests.integration.servers import NginxProcess, OriginProcess, program

pytestmark = pytest.mark.integration

CACHE = "supernode"
SIZE = 3 * MIB // 2 + 12345
ROOM = 16 * SIZE
RATE = 900_000
WITHIN = 30.0

_CACHE = """
    proxy_cache_path {folder}/cache keys_zone=cache:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            slice 256k;
            proxy_cache cache;
            proxy_cache_key $uri$slice_range;
            proxy_cache_valid 200 206 1d;
            proxy_set_header Range $slice_range;
            proxy_http_version 1.1;
            proxy_pass {behind};
            proxy_ssl_protocols TLSv1.3;
        }}
    }}
"""


@attrs.frozen
class Cached:
    """A super node that reads through."""

    lab: Lab

    @property
    def authority(self) -> Path:
        """The certificate to judge the super node by."""
        return self.lab.folder / "pki" / "ca.pem"

    @contextmanager
    def new(self, seed: int, rate: float | None = None, size: int = SIZE) -> Iterator["New"]:
        """A file at a server, which the index knows and the super node does not."""
        file = make_file(self.lab.folder / f"{seed}.bin", size, seed)
        with OriginProcess(file.path, rate) as origin:
            resource = self.lab.publish(file.path, "--mirror", origin.url("honest"))
            yield New(file, origin, resource, f"{self.lab.url(CACHE)}/r/{resource}/{file.path.name}")

    def start_curl(self, url: str, to: Path, *options: str) -> Process:
        """curl, told of nothing but the network's authority."""
        command = [program("curl"), "--silent", "--show-error", "--fail", "--max-time", "30", "-o", str(to)]
        return Process([*command, "--cacert", str(self.authority), *options, url], self.lab.folder)

    def curl(self, url: str, to: Path, *options: str) -> None:
        """The same, to its good end."""
        with self.start_curl(url, to, *options) as running:
            assert running.wait(WITHIN) == 0, running.log


@attrs.frozen
class New:
    """A file that somebody published, its server, its id, and where a super node would have it."""

    file: Bytes
    origin: OriginProcess
    resource: str
    url: str


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cached]:
    with Lab(tmp_path_factory.mktemp("webseed")) as lab:
        lab.add_core()
        # Of the manager nothing is heard: the cache goes on as it is.
        cache = lab.add_node("supernode", CACHE, NORTH + "3", manager="https://127.0.0.1:1", capacity=ROOM)
        settings = {"public_url": cache.url, "allow_targets": ["127.0.0.0/8"], "read_through": True}
        lab.rewrite(attrs.evolve(cache, settings={**cache.settings, **settings}))
        lab.start()
        yield Cached(lab)


def test_many_who_ask_for_what_is_not_there_cost_one_copy(cached: Cached, tmp_path: Path) -> None:
    with cached.new(1, RATE) as new, ExitStack() as stack:
        targets = [tmp_path / str(number) for number in range(6)]
        curls = [stack.enter_context(cached.start_curl(new.url, target)) for target in targets]
        for running, target in zip(curls, targets, strict=True):
            assert running.wait(WITHIN) == 0, running.log
            assert digest_of(target) == new.file.sha256
        # A fetch that another one takes over ends a little late.
        assert new.origin.sent() < 2 * SIZE


def test_curl_goes_on_where_it_was_and_learns_the_digest(cached: Cached, tmp_path: Path) -> None:
    with cached.new(2) as new:
        target = tmp_path / "part"
        target.write_bytes(new.file.path.read_bytes()[:700_000])
        cached.curl(new.url, target, "--continue-at", "-")
        assert digest_of(target) == new.file.sha256
        wanted = f"repr-digest: sha-256=:{b64encode(bytes.fromhex(new.file.sha256)).decode()}:"

        def told() -> bool:
            cached.curl(new.url, tmp_path / "head", "--head")
            return wanted in (tmp_path / "head").read_text().replace("Repr-Digest", "repr-digest")

        until(told, WITHIN, "the digest is known")


def test_aria2_over_four_connections(cached: Cached, tmp_path: Path) -> None:
    with cached.new(3, RATE) as new:
        command = [program("aria2c"), "--no-conf", f"--ca-certificate={cached.authority}", "-x4", "-s4", "-k1M"]
        command += [f"--checksum=sha-256={new.file.sha256}", f"--dir={tmp_path}", "--out=got", new.url]
        with Process(command, tmp_path) as running:
            assert running.wait(WITHIN) == 0, running.log
        assert digest_of(tmp_path / "got") == new.file.sha256


def test_libtorrent_with_nobody_but_it(cached: Cached, tmp_path: Path) -> None:
    with cached.new(4) as new:
        torrent = parse_torrent(cached.lab.call("index", f"/v1/resources/{new.resource}.torrent"))
        told = tmp_path / "seeded.torrent"
        # The folder's URL, to which a client adds the name (BEP 19).
        told.write_bytes(torrent.descriptor.to_torrent(mirrors=[new.url.rpartition("/")[0] + "/"]))
        with Libtorrent(told, tmp_path / "got") as client:
            client.wait_for("complete", WITHIN)
            # It says so before its last writes are done.
            got = tmp_path / "got" / new.file.path.name
            until(lambda: got.exists() and digest_of(got) == new.file.sha256, WITHIN, "it is on disk")


def test_nginx_in_front_keeps_slices(cached: Cached, tmp_path: Path) -> None:
    port = free_port()
    servers = _CACHE.format(folder=tmp_path, port=port, behind=cached.lab.url(CACHE))
    with cached.new(5) as new, NginxProcess(tmp_path, servers, port):
        front = f"http://127.0.0.1:{port}/r/{new.resource}/{new.file.path.name}"
        whole = new.file.path.read_bytes()
        cached.curl(front, tmp_path / "part", "--range", "300000-999999")
        assert (tmp_path / "part").read_bytes() == whole[300_000:1_000_000]
        for _ in range(2):
            cached.curl(front, tmp_path / "all")
            assert (tmp_path / "all").read_bytes() == whole


def test_what_it_has_no_room_for_comes_from_who_has_it(cached: Cached, tmp_path: Path) -> None:
    with cached.new(7, size=ROOM + 1) as new:
        cached.curl(new.url, tmp_path / "got", "--location")
        assert digest_of(tmp_path / "got") == new.file.sha256
        assert new.origin.sent() == ROOM + 1


def test_who_is_being_served_when_it_stops_gets_the_rest(cached: Cached, tmp_path: Path) -> None:
    with cached.new(6, RATE) as new:
        target = tmp_path / "late"
        with cached.start_curl(new.url, target) as running:
            until(lambda: target.exists() and target.stat().st_size > 0, WITHIN, "the first bytes come")
            cached.lab.stop(CACHE)
            assert running.wait(WITHIN) == 0, running.log
        assert digest_of(target) == new.file.sha256
        cached.lab.start(CACHE)
        # It was whole when the super node ended, or is fetched on. Until its cache is open, who asks is to come back.
        cached.curl(new.url, target, "--retry", "9")
        assert digest_of(target) == new.file.sha256
