"""Does the index answer over real TLS what it should, and refuse whom it should?"""

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import attrs
import msgspec
import pytest
from treq.client import HTTPClient
from twisted.internet.threads import deferToThreadPool
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from p2sp.index.api import MAX_PUBLISH_BODY, IndexApi
from p2sp.index.client import IndexClient
from p2sp.index.publication import examine
from p2sp.index.schema import PublishRequest
from p2sp.index.store import SqlIndexStore, metadata
from p2sp.net.authority import Authority
from p2sp.net.calls import Call, Reply
from p2sp.net.errors import BadAnswer, Refused
from p2sp.net.identity import Identity
from p2sp.net.jsonapi import Api
from p2sp.net.trust import client_policy
from p2sp.ops.database import Database
from p2sp.resource.descriptor import parse_torrent
from tests.index.resources import single_file, tree
from tests.net.kit import AUTHORITY, SERVER, STRANGER, TRACKER, TRUST, LoopbackCase, reactor

PUBLISHER = AUTHORITY.issue("publisher", ["127.0.0.1"], "publisher")
OPERATOR = AUTHORITY.issue("operator", ["127.0.0.1"], "operator")
FOREIGN = Authority.create("another network").issue("publisher", ["127.0.0.1"], "publisher")
EXPIRED = AUTHORITY.issue(
    "publisher",
    ["127.0.0.1"],
    "publisher of old",
    now=datetime.now(UTC) - timedelta(days=30),
    lifetime=timedelta(days=1),
)
LONE = single_file("a file.iso", 700_000)
ID = LONE.resource_id.hex()
MIRROR = "https://m.example/pub/"


class IndexCase(LoopbackCase):
    """An index with an empty store in memory, listening on loopback."""

    def setUp(self) -> None:
        database = Database(reactor, "sqlite://", metadata)
        database.open()
        self.addCleanup(database.close)
        api = Api(TRUST, reactor, role="index", node_id=SERVER.node_id, rate_limit=None)
        IndexApi(
            SqlIndexStore(database),
            reactor,
            lambda request: deferToThreadPool(reactor, reactor.getThreadPool(), examine, request),
        ).mount(api)
        self.url = self.serve(api)

    def index(self, identity: Identity | None = None) -> IndexClient:
        return IndexClient(self.client(self.url, identity))

    async def ask(
        self,
        path: str,
        method: str = "GET",
        *,
        body: bytes | None = None,
        identity: Identity | None = None,
        **headers: str,
    ) -> tuple[IResponse, bytes]:
        pool = HTTPConnectionPool(reactor, persistent=False)
        client = HTTPClient(Agent(reactor, client_policy(identity, TRUST), pool=pool))
        given = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
        response = await client.request(method, self.url + path, data=body, headers=given, timeout=10, unbuffered=True)
        return response, await response.content()

    async def refused(self, status: int, coroutine: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            await coroutine
        assert caught.value.status == status, caught.value
        return caught.value


class PublishTests(IndexCase):
    async def test_publish_and_read_back(self) -> None:
        stated = "5" * 64
        answer = await self.index(PUBLISHER).publish(PublishRequest(LONE.to_torrent(), [MIRROR], stated))
        assert (answer.id, answer.magnet) == (ID, str(LONE.magnet()))
        anybody = self.index()
        view = await anybody.resource(ID.upper())
        assert (view.id, view.name, view.mirrors, view.sha256) == (ID, "a file.iso", [MIRROR], stated)
        torrent = await anybody.torrent(ID)
        assert (torrent.descriptor, torrent.mirrors) == (LONE, (MIRROR,))
        assert await anybody.lookup_url("https://M.example:443/pub/a%20file.iso#x") == [view]
        assert await anybody.lookup_digest(stated) == [view]
        root = view.files[0].root
        assert root is not None
        assert await anybody.lookup_root(view.length, root) == [view]
        assert await anybody.listing(name="FILE") == [view]
        assert await anybody.listing(after=ID) == []

    async def test_an_operator_may_add_mirrors(self) -> None:
        await self.index(PUBLISHER).publish(PublishRequest(LONE.to_torrent(), ["https://m.example/1"]))
        await self.index(OPERATOR).publish(PublishRequest(LONE.to_torrent(), ["https://m.example/2"]))
        assert (await self.index().resource(ID)).mirrors == ["https://m.example/1", "https://m.example/2"]

    async def test_who_may_not_publish(self) -> None:
        request = PublishRequest(LONE.to_torrent())
        for identity, status in ((None, 401), (STRANGER, 403), (TRACKER, 403), (FOREIGN, 403), (EXPIRED, 403)):
            await self.refused(status, self.index(identity).publish(request))
        await self.refused(404, self.index().resource(ID))

    async def test_a_bad_torrent_is_named(self) -> None:
        client = self.index(PUBLISHER)
        for torrent, complaint in {
            b"": "not valid bencoding",
            b"d4:infod": "not valid bencoding",
            b"de": "without an info dict",
            b"d4:infodee": "v1 metainfo",
            attrs.evolve(LONE, layers={}).to_torrent(): "no piece layer for 'a file.iso'",
        }.items():
            error = await self.refused(422, client.publish(PublishRequest(torrent)))
            assert error.code == "torrent"
            assert complaint in error.message
        await self.refused(422, client.publish(PublishRequest(tree("t", [1, 2]).to_torrent(), sha256="1" * 64)))

    async def test_a_bad_request_is_named(self) -> None:
        for body, status, complaint in (
            (b"{", 400, "not JSON"),
            (b"{}", 422, "`torrent`"),
            (b'{"torrent": "?"}', 422, "$.torrent"),
            (b'{"torrent": "", "mirrors": ["ftp://m.example/"]}', 422, "$.mirrors[0]"),
            (b'{"torrent": "", "sha256": "5"}', 422, "$.sha256"),
            (b'{"torrent": "", "mirror": []}', 422, "mirror"),
        ):
            response, answer = await self.ask("/v1/resources", "POST", body=body, identity=PUBLISHER)
            assert response.code == status, (body, answer)
            assert complaint in json.loads(answer)["error"]["message"]

    async def test_a_bad_mirror_is_named(self) -> None:
        request = PublishRequest(LONE.to_torrent(), ["https://user:secret@m.example/a"])
        error = await self.refused(422, self.index(PUBLISHER).publish(request))
        assert error.code == "mirror"
        assert "credentials" in error.message
        assert "secret" not in error.message

    async def test_contradictions(self) -> None:
        client = self.index(PUBLISHER)
        await client.publish(PublishRequest(LONE.to_torrent(), sha256="1" * 64))
        error = await self.refused(409, client.publish(PublishRequest(LONE.to_torrent(), sha256="2" * 64)))
        assert error.code == "contradiction"
        for at in (0, 1):
            urls = [f"https://m{number}.example/" for number in range(at * 60, at * 60 + 60)]
            publishing = client.publish(PublishRequest(LONE.to_torrent(), urls))
            if at == 0:
                await publishing
            else:
                assert (await self.refused(409, publishing)).code == "too-many-mirrors"

    async def test_a_body_beyond_the_limit(self) -> None:
        client = self.client(self.url, PUBLISHER)
        await self.refused(413, client.send("POST", "/v1/resources", b" " * (MAX_PUBLISH_BODY + 1), dict))

    def test_the_largest_torrent_fits_the_body(self) -> None:
        request = PublishRequest(bytes(32 * 1024 * 1024), ["http://m.example/" + "x" * 2000] * 100, "1" * 64)
        assert len(msgspec.json.encode(request)) < MAX_PUBLISH_BODY


class ReadTests(IndexCase):
    async def test_unknown(self) -> None:
        client = self.index()
        for resource in ("0" * 64, "xyz", "0" * 63):
            assert (await self.refused(404, client.resource(resource))).code == "unknown"
            assert (await self.refused(404, client.torrent(resource))).code == "unknown"
        assert await client.lookup_url("https://m.example/") == []
        assert await client.lookup_digest("0" * 64) == []
        assert await client.lookup_root(7, "0" * 64) == []

    async def test_bad_questions(self) -> None:
        client = self.client(self.url)
        for query, status, complaint in (
            ("", 400, "exactly one"),
            ("?url=http://a.example/&digest=sha-256:" + "0" * 64, 400, "exactly one"),
            ("?url=ftp://a.example/", 400, "not an http or https URL"),
            ("?digest=md5:123", 400, "not a digest"),
            ("?length=5", 400, "go together"),
            ("?length=-5&root=" + "0" * 64, 422, "$.length"),
            ("?length=5&root=0", 422, "$.root"),
            ("?colour=red", 422, "colour"),
        ):
            response, body = await self.ask("/v1/lookup" + query)
            assert response.code == status, (query, body)
            assert complaint in json.loads(body)["error"]["message"]
        for params in ({"limit": 0}, {"limit": 101}, {"after": "x"}, {"name": ""}):
            await self.refused(422, client.get("/v1/resources", dict, params))

    async def test_a_torrent_to_save(self) -> None:
        await self.index(PUBLISHER).publish(PublishRequest(LONE.to_torrent(), [MIRROR]))
        response, body = await self.ask(f"/v1/resources/{ID}.torrent")
        assert response.code == 200
        assert parse_torrent(body).descriptor == LONE
        head, empty = await self.ask(f"/v1/resources/{ID}.torrent", "HEAD")
        for each in (response, head):
            assert _header(each, "content-type") == "application/x-bittorrent"
            assert _header(each, "content-disposition") == (
                "attachment; filename=\"a file.iso.torrent\"; filename*=UTF-8''a%20file.iso.torrent"
            )
        assert empty == b""

    async def test_a_name_in_any_alphabet_to_save(self) -> None:
        lone = single_file('Größe"\r.iso'.replace("\r", ""), 5)
        await self.index(PUBLISHER).publish(PublishRequest(lone.to_torrent()))
        response, _ = await self.ask(f"/v1/resources/{lone.resource_id.hex()}.torrent")
        assert _header(response, "content-disposition") == (
            "attachment; filename=\"Gr__e_.iso.torrent\"; filename*=UTF-8''Gr%C3%B6%C3%9Fe%22.iso.torrent"
        )

    async def test_entity_tags(self) -> None:
        client = self.index(PUBLISHER)
        await client.publish(PublishRequest(LONE.to_torrent(), [MIRROR]))
        for path in (f"/v1/resources/{ID}", f"/v1/resources/{ID}.torrent"):
            response, body = await self.ask(path)
            tag = _header(response, "etag")
            assert tag == f'"{sha256(body).hexdigest()[:32]}"'
            for held in (tag, f'"other", W/{tag}', "*"):
                response, again = await self.ask(path, If_None_Match=held)
                assert (response.code, again, _header(response, "etag")) == (304, b"", tag)
            response, _ = await self.ask(path, If_None_Match='"other"')
            assert response.code == 200
        await client.publish(PublishRequest(LONE.to_torrent(), ["https://m.example/more"]))
        response, _ = await self.ask(path, If_None_Match=tag)
        assert response.code == 200
        assert _header(response, "etag") != tag


class SuspicionTests(LoopbackCase):
    """An index that lies is found out by its client."""

    def lying(self, answer: Reply) -> IndexClient:
        api = Api(TRUST, reactor, role="index")

        async def lie(call: Call) -> Reply:
            return answer

        api.route("GET", "/v1/resources/{id}", lie)
        return IndexClient(self.client(self.serve(api)))

    async def test_another_resource(self) -> None:
        client = self.lying(Reply(LONE.to_torrent(), "application/x-bittorrent"))
        with pytest.raises(BadAnswer, match="describes another resource"):
            await client.torrent("0" * 64)

    async def test_incomplete_layers(self) -> None:
        client = self.lying(Reply(attrs.evolve(LONE, layers={}).to_torrent(), "application/x-bittorrent"))
        with pytest.raises(BadAnswer, match="not complete"):
            await client.torrent(ID)

    async def test_rubbish(self) -> None:
        client = self.lying(Reply(b"rubbish", "application/x-bittorrent"))
        with pytest.raises(BadAnswer, match="not valid bencoding"):
            await client.torrent(ID)
        with pytest.raises(BadAnswer):
            await client.resource(ID)

    async def test_another_view(self) -> None:
        view = {
            "id": "1" * 64,
            "name": "x",
            "length": 1,
            "piece_length": 16384,
            "files": [],
            "mirrors": [],
            "magnet": "",
        }
        client = self.lying(Reply(msgspec.json.encode(view), "application/json"))
        with pytest.raises(BadAnswer, match="describes another resource"):
            await client.resource(ID)


def _header(response: IResponse, name: str) -> str:
    (value,) = response.headers.getRawHeaders(name, [""])
    return str(value)
