"""Does the HTTPS face of a super node say what RFC 9110 says, byte for byte?"""

import hashlib
import json
from typing import Any
from urllib.parse import quote

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater

from p2sp.net.jsonapi import Api
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import DiskPool
from p2sp.supernode.interfaces import Elsewhere, Served, Unavailable
from p2sp.supernode.stream import Pace
from p2sp.supernode.via import name_of
from p2sp.supernode.web import CacheResource, media_type
from tests.net.kit import LoopbackCase
from tests.supernode.support import PIECE, Cache, content_of, fill, some_bytes

reactor: Any = installed_reactor

COUNT = 40
DATA = some_bytes(COUNT * PIECE - 123)
CONTENT = content_of("grüße an alle.iso", {("grüße an alle.iso",): DATA})
TREE_DATA = {("a.txt",): b"", ("deep", "b.bin"): some_bytes(3 * PIECE + 1, 1), ("deep", "c.html"): b"<p>"}
TREE = content_of("folder", TREE_DATA)
SHA256 = hashlib.sha256(DATA).digest()
OURS, OTHER = name_of("ab" * 32), name_of("cd" * 32)

Answer = tuple[int, dict[str, str], bytes]


def parse(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split()[1]), {name.lower(): value for name, value in headers.items()}, body


class WebCase(LoopbackCase):
    """A cache with one lone file and one tree, served on loopback."""

    tls = False
    pace = Pace(fill=0.4, client=20.0)

    def setUp(self) -> None:
        self.pool = DiskPool(reactor)
        self.pool.start()
        self.addCleanup(self.pool.stop)
        self.store = MemoryStore(CONTENT, self.pool)
        self.tree = MemoryStore(TREE, self.pool)
        self.cache = Cache({CONTENT.key: Served(CONTENT, self.store, SHA256), TREE.key: Served(TREE, self.tree)})
        self.resource = CacheResource(self.cache, reactor, pace=self.pace, max_streams=3, name=OURS)
        api = Api(None, reactor, role="supernode")
        api.mount("/r", self.resource)
        self.base = self.serve(api, tls=self.tls)
        self.path = f"/r/{CONTENT.key}/{quote(CONTENT.name)}"

    async def fill_all(self) -> None:
        await fill(self.store, range(COUNT), DATA)
        for number, path in enumerate(sorted(TREE_DATA)):
            start = TREE.layout.file_start(number)
            await fill(self.tree, TREE.layout.pieces_of(number), TREE_DATA[path], start)

    async def until_idle(self) -> None:
        while self.resource.streams:
            await deferLater(reactor, 0.01)
        assert +self.cache.readers == {}


class RawTests(WebCase):
    """Requests byte for byte."""

    async def ask(self, path: str | None = None, *headers: str, method: str = "GET") -> Answer:
        talk = await self.talk()
        lines = [f"{method} {path or self.path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
        talk.say("\r\n".join(lines).encode())
        await talk.ended
        return parse(talk.heard)

    async def test_the_whole_file(self) -> None:
        await self.fill_all()
        status, headers, body = await self.ask()
        assert (status, body) == (200, DATA)
        assert headers["content-length"] == str(len(DATA))
        assert headers["etag"] == f'"{CONTENT.key}"'
        assert headers["accept-ranges"] == "bytes"
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        assert headers["content-type"] == "application/octet-stream"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["repr-digest"].startswith("sha-256=:")
        assert headers["digest"].startswith("SHA-256=")
        assert "content-range" not in headers
        assert self.cache.counted[CONTENT.key] == len(DATA)

    async def test_ranges(self) -> None:
        await self.fill_all()
        total = len(DATA)
        for asked, start, stop in (
            ("0-0", 0, 1),
            (f"{PIECE - 1}-{PIECE}", PIECE - 1, PIECE + 1),
            (f"{total - 5}-", total - 5, total),
            ("-7", total - 7, total),
            (f"5-{10**20}", 5, total),
        ):
            status, headers, body = await self.ask(None, f"Range: bytes={asked}")
            assert (status, body) == (206, DATA[start:stop])
            assert headers["content-range"] == f"bytes {start}-{stop - 1}/{total}"
            assert headers["content-length"] == str(stop - start)
        status, _, body = await self.ask(None, "Range: bytes=0-1,5-6")
        assert (status, body) == (200, DATA)

    async def test_a_range_behind_the_end(self) -> None:
        status, headers, _ = await self.ask(None, f"Range: bytes={len(DATA)}-")
        assert (status, headers["content-range"]) == (416, f"bytes */{len(DATA)}")

    async def test_if_range(self) -> None:
        await self.fill_all()
        status, _, body = await self.ask(None, "Range: bytes=5-9", f'If-Range: "{CONTENT.key}"')
        assert (status, body) == (206, DATA[5:10])
        status, _, body = await self.ask(None, "Range: bytes=5-9", 'If-Range: "older"')
        assert (status, body) == (200, DATA)

    async def test_not_modified_needs_no_bytes(self) -> None:
        status, headers, body = await self.ask(None, f'If-None-Match: "x", "{CONTENT.key}"')
        assert (status, body) == (304, b"")
        assert headers["etag"] == f'"{CONTENT.key}"'

    async def test_what_shall_be_another_file_is_not_sent(self) -> None:
        await self.fill_all()
        status, headers, body = await self.ask(None, 'If-Match: "older"', "Range: bytes=5-9")
        assert (status, headers["etag"]) == (412, f'"{CONTENT.key}"')
        assert b"another" in body
        status, _, body = await self.ask(None, f'If-Match: "{CONTENT.key}"', "Range: bytes=5-9")
        assert (status, body) == (206, DATA[5:10])

    async def test_head_needs_no_bytes_and_knows_no_ranges(self) -> None:
        status, headers, body = await self.ask(None, "Range: bytes=5-9", method="HEAD")
        assert (status, body) == (200, b"")
        assert headers["content-length"] == str(len(DATA))
        assert self.cache.waits == []

    async def test_trees(self) -> None:
        await self.fill_all()
        for path, data in TREE_DATA.items():
            status, headers, body = await self.ask(f"/r/{TREE.key}/folder/{'/'.join(path)}")
            assert (status, body) == (200, data)
            assert "repr-digest" not in headers
        status, _, body = await self.ask(f"/r/{TREE.key}/folder/deep/b.bin", f"Range: bytes={PIECE}-")
        assert (status, body) == (206, TREE_DATA[("deep", "b.bin")][PIECE:])

    async def test_what_is_not_there(self) -> None:
        name = quote(CONTENT.name)
        for path in (
            f"/r/{CONTENT.key}/other.iso",
            f"/r/{CONTENT.key}/",
            f"/r/{CONTENT.key}",
            "/r/",
            "/r",
            f"/r/{CONTENT.key}/{name}/",
            f"/r/{CONTENT.key}/{name}/x",
            f"/r/{CONTENT.key}//{name}",
            f"/r/{'0' * 64}/{name}",
            f"/r/{CONTENT.key[:-1]}/{name}",
            f"/r/{CONTENT.key}0/{name}",
            f"/r/{CONTENT.key}%0a/{name}",
            f"/r/..%2f..%2fetc/{name}",
            f"/r/{TREE.key}/folder",
            f"/r/{TREE.key}/folder/deep",
            f"/r/{TREE.key}/folder/deep/../a.txt",
            f"/r/{TREE.key}/folder/deep%2fb.bin",
            f"/r/{TREE.key}/folder/%ff",
        ):
            status, headers, _ = await self.ask(path)
            assert (path, status) == (path, 404)
            assert headers["content-type"] == "application/json"

    async def test_what_others_have_is_there(self) -> None:
        def missed(resource: str) -> Deferred[Served | None]:
            mirrors = ["http://one.example/f/", "https://two.example/f/"]
            return fail(Unavailable("there is no room", 60, Elsewhere(TREE, mirrors)))

        self.cache.held.clear()
        self.cache.on_missed = missed
        status, headers, body = await self.ask(f"/r/{TREE.key}/folder/deep/b.bin")
        assert (status, headers["location"]) == (307, "https://two.example/f/folder/deep/b.bin")
        assert headers["cache-control"] == "no-store"
        assert b"there is no room" in body
        status, headers, _ = await self.ask(f"/r/{TREE.key}/folder/other")
        assert (status, headers["retry-after"]) == (503, "60")

    async def test_a_super_node_is_given_what_is_here_and_never_waits_for_itself(self) -> None:
        await fill(self.store, [0], DATA)
        via = f"Via: 1.1 {OTHER}, 1.1 {OURS}"
        status, _, body = await self.ask(None, "Range: bytes=5-9", via)
        assert (status, body) == (206, DATA[5:10])
        status, _, body = await self.ask(None, f"Range: bytes={2 * PIECE}-", via)
        assert (status, json.loads(body)["error"]["code"]) == (508, "circle")
        status, _, _ = await self.ask(f"/r/{'0' * 64}/x", via)
        assert status == 508
        assert self.cache.waits == []

    async def test_others_who_fetch_through_us_are_known_while_they_read(self) -> None:
        await fill(self.store, [0], DATA)
        status, _, _ = await self.ask(None, f"Range: bytes={PIECE}-", f"Via: 1.1 {OTHER}, 1.0 proxy.example")
        assert status == 503
        assert self.cache.waits == [1]
        assert self.cache.asked_by == [(OTHER,)]

    async def test_super_nodes_are_not_sent_to_others(self) -> None:
        self.cache.held.clear()
        self.cache.on_missed = lambda _: fail(Unavailable("no room", 60, Elsewhere(TREE, ["http://one.example/f"])))
        status, _, _ = await self.ask(f"/r/{TREE.key}/folder/a.txt", f"Via: 1.1 {OTHER}")
        assert status == 503

    async def test_other_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, _ = await self.ask(None, method=method)
            assert (status, headers["allow"]) == (405, "GET, HEAD")

    async def test_upper_case_ids_name_the_same(self) -> None:
        await self.fill_all()
        status, _, body = await self.ask(f"/r/{CONTENT.key.upper()}/{quote(CONTENT.name)}")
        assert (status, body) == (200, DATA)

    async def test_nothing_in_time_is_a_503_before_the_first_byte(self) -> None:
        status, headers, body = await self.ask()
        assert (status, headers["retry-after"]) == (503, "10")
        assert b"filling" in body
        assert self.cache.waits == [0]
        await self.until_idle()

    async def test_nothing_more_in_time_ends_short_with_true_bytes(self) -> None:
        await fill(self.store, range(3), DATA)
        status, headers, body = await self.ask()
        assert (status, headers["content-length"]) == (200, str(len(DATA)))
        assert body == DATA[: 3 * PIECE]
        assert self.cache.waits == [3]
        await self.until_idle()

    async def test_a_store_that_is_filled_while_it_is_read(self) -> None:
        self.cache.on_wanted = lambda piece: Deferred.fromCoroutine(fill(self.store, [piece], DATA))
        status, _, body = await self.ask(None, f"Range: bytes={2 * PIECE + 1}-")
        assert (status, body) == (206, DATA[2 * PIECE + 1 :])
        assert self.cache.waits == list(range(2, COUNT))

    async def test_a_client_that_goes_away_ends_the_work(self) -> None:
        await fill(self.store, range(2), DATA)
        talk = await self.talk()
        talk.say(f"GET {self.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await talk.until(DATA[2 * PIECE - 20 : 2 * PIECE])
        assert self.cache.readers[CONTENT.key] == 1
        talk.transport.abortConnection()  # type: ignore[union-attr]
        await self.until_idle()

    async def test_several_answers_on_one_connection(self) -> None:
        await self.fill_all()
        talk = await self.talk()
        for start in (0, 100, 200):
            talk.say(f"GET {self.path} HTTP/1.1\r\nHost: x\r\nRange: bytes={start}-{start + 9}\r\n\r\n".encode())
        heard = await talk.until(DATA[200:210])
        assert heard.count(b"HTTP/1.1 206") == 3

    async def test_no_more_answers_at_once_than_allowed(self) -> None:
        await fill(self.store, [0], DATA)
        talks = [await self.talk() for _ in range(3)]
        for talk in talks:
            talk.say(f"GET {self.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            await talk.until(DATA[PIECE - 20 : PIECE])
        status, headers, _ = await self.ask()
        assert (status, headers["retry-after"]) == (503, "10")
        for talk in talks:
            talk.transport.abortConnection()  # type: ignore[union-attr]
        await self.until_idle()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", "text/plain"),
        ("A.TXT", "text/plain"),
        ("a.tar.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_media_types_go_by_the_name_alone(name: str, kind: str) -> None:
    assert media_type(name) == kind
