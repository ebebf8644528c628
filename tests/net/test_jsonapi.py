"""Does every call get the answer its route and its caller deserve?"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from twisted.web.resource import Resource

from p2sp.net.calls import Call
from p2sp.net.errors import Overloaded
from p2sp.net.identity import Identity
from p2sp.net.jsonapi import Api, ApiError, RateLimit, Reply
from p2sp.net.trust import Caller, client_policy
from p2sp.net.web import BoundedSite
from tests.net.kit import AUTHORITY, SERVER, STRANGER, TRACKER, TRUST, LoopbackCase, reactor


class Greeting(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    times: int = 1


class Page(msgspec.Struct):
    limit: int = 10


async def greet(call: Call) -> Greeting:
    return Greeting(f"hello {call.body.name}", call.body.times)


class ApiCase(LoopbackCase):
    """An API behind TLS and one connection pool for each caller."""

    def api(self, **options: Any) -> Api:
        return Api(TRUST, reactor, role="index", node_id=SERVER.node_id, **options)

    async def ask(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        identity: Identity | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[IResponse, bytes]:
        pool = HTTPConnectionPool(reactor, persistent=False)
        client = HTTPClient(Agent(reactor, client_policy(identity, TRUST), pool=pool))
        response = await client.request(
            method,
            url,
            data=body,
            headers=Headers({k: [v] for k, v in (headers or {}).items()}),
            timeout=10,
            unbuffered=True,
        )
        return response, await response.content()

    async def error(self, expected: int, *args: Any, **kwargs: Any) -> tuple[str, str]:
        """The code and message of an answer that must have this status."""
        response, body = await self.ask(*args, **kwargs)
        self.assertEqual(response.code, expected, body)
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json"])
        told = json.loads(body)
        self.assertEqual(set(told), {"error"})
        self.assertEqual(set(told["error"]), {"code", "message"})
        return told["error"]["code"], told["error"]["message"]


class RouteTests(ApiCase):
    async def test_a_typed_call(self) -> None:
        api = self.api()
        api.route("POST", "/v1/greet", greet, body=Greeting)
        response, body = await self.ask(self.serve(api) + "/v1/greet", "POST", b'{"name": "you"}')
        self.assertEqual((response.code, json.loads(body)), (200, {"name": "hello you", "times": 1}))
        self.assertEqual(response.length, len(body))
        self.assertEqual(response.headers.getRawHeaders("cache-control"), ["no-store"])

    async def test_what_a_handler_gets_to_see(self) -> None:
        seen: list[Call] = []

        async def look(call: Call) -> None:
            seen.append(call)

        api = self.api()
        api.route("GET", "/v1/things/{thing}.json", look)
        url = self.serve(api) + "/v1/things/a%20b.json?x=1&x=2&y=%ff&z="
        response, body = await self.ask(url, identity=TRACKER, headers={"X-One": "1"})
        self.assertEqual((response.code, body), (204, b""))
        [call] = seen
        self.assertEqual(call.caller, Caller(TRACKER.node_id, frozenset({"tracker"})))
        self.assertEqual(call.address, "127.0.0.1")
        self.assertEqual(call.path, {"thing": "a b"})
        self.assertEqual(call.query, {"x": "2", "y": "�", "z": ""})
        self.assertEqual((call.body, call.header("x-one"), call.header("x-two")), (None, "1", None))
        self.assertEqual(call.request.args[b"y"], [b"\xff"])

    async def test_a_typed_query(self) -> None:
        async def page(call: Call) -> Page:
            return call.query_as(Page)

        api = self.api()
        api.route("GET", "/v1/pages", page)
        url = self.serve(api) + "/v1/pages"
        self.assertEqual((await self.ask(url + "?limit=7"))[1], b'{"limit":7}')
        code, message = await self.error(422, url + "?limit=many")
        self.assertEqual(code, "invalid-query")
        self.assertIn("$.limit", message)

    async def test_a_raw_body_and_a_raw_reply(self) -> None:
        async def echo(call: Call) -> Reply:
            return Reply(call.body[::-1], "text/plain", 201, {"Cache-Control": "max-age=5"})

        api = self.api()
        api.route("PUT", "/v1/raw", echo, body=bytes)
        response, body = await self.ask(
            self.serve(api) + "/v1/raw", "PUT", b"\x00\xff", headers={"Content-Type": "application/x-bittorrent"}
        )
        self.assertEqual((response.code, body), (201, b"\xff\x00"))
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["text/plain"])
        self.assertEqual(response.headers.getRawHeaders("cache-control"), ["max-age=5"])

    async def test_head_is_get_without_a_body(self) -> None:
        async def word(call: Call) -> Reply:
            return Reply(b"seven77", "text/plain")

        api = self.api()
        api.route("GET", "/v1/word", word)
        self.serve(api, tls=False)
        talk = await self.talk()
        talk.say(b"HEAD /v1/word HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await talk.ended
        head, _, body = talk.heard.partition(b"\r\n\r\n")
        self.assertIn(b"200 OK", head)
        self.assertIn(b"content-length: 7", head.lower())
        self.assertEqual(body, b"")

    async def test_404_and_405(self) -> None:
        api = self.api()
        api.route("POST", "/v1/greet", greet, body=Greeting)
        url = self.serve(api)
        for path in ("", "/", "/v1", "/v1/greet/", "/v1/greet/more"):
            self.assertEqual((await self.error(404, url + path))[0], "not-found")
        response, body = await self.ask(url + "/v1/greet")
        self.assertEqual((response.code, json.loads(body)["error"]["code"]), (405, "method"))
        self.assertEqual(response.headers.getRawHeaders("allow"), ["POST"])
        response, body = await self.ask(url + "/v1/health", "DELETE")
        self.assertEqual(response.headers.getRawHeaders("allow"), ["GET, HEAD"])

    async def test_bodies_that_do_not_fit(self) -> None:
        api = self.api()
        api.route("POST", "/v1/greet", greet, body=Greeting)
        url = self.serve(api) + "/v1/greet"
        for body, status, code, hint in [
            (b"", 400, "bad-json", "JSON"),
            (b"{", 400, "bad-json", "JSON"),
            (b'{"name": "\xff"}', 400, "bad-json", "JSON"),
            (b'{"name": 5}', 422, "invalid", "$.name"),
            (b'{"name": "x", "times": "5"}', 422, "invalid", "$.times"),
            (b'{"name": "x", "more": 1}', 422, "invalid", "more"),
            (b"{}", 422, "invalid", "name"),
            (b"[]", 422, "invalid", "object"),
        ]:
            told, message = await self.error(status, url, "POST", body)
            self.assertEqual(told, code)
            self.assertIn(hint, message)
        told, _ = await self.error(415, url, "POST", b"{}", headers={"Content-Type": "text/xml"})
        self.assertEqual(told, "media-type")
        kind = {"Content-Type": "application/vnd.x+json; charset=utf-8"}
        self.assertEqual((await self.ask(url, "POST", b'{"name": "x"}', headers=kind))[0].code, 200)

    async def test_a_body_beyond_the_limit(self) -> None:
        api = self.api(max_body=100)
        api.route("POST", "/v1/small", greet, body=Greeting)
        api.route("POST", "/v1/large", greet, body=Greeting, max_body=2000)
        url = self.serve(api)
        body = b'{"name": "%s"}' % (b"x" * 200)
        self.assertEqual((await self.error(413, url + "/v1/small", "POST", body))[0], "too-large")
        self.assertEqual((await self.ask(url + "/v1/large", "POST", body))[0].code, 200)

    async def test_a_handlers_own_error(self) -> None:
        async def fail(call: Call) -> None:
            raise ApiError(409, "conflict", "it is there already", {"X-Hint": "look"})

        api = self.api()
        api.route("GET", "/v1/fail", fail)
        url = self.serve(api) + "/v1/fail"
        self.assertEqual(await self.error(409, url), ("conflict", "it is there already"))
        self.assertEqual((await self.ask(url))[0].headers.getRawHeaders("x-hint"), ["look"])

    async def test_an_accident_is_logged_and_not_told(self) -> None:
        async def fail(call: Call) -> None:
            raise RuntimeError("the secret is 42")

        api = self.api()
        api.route("GET", "/v1/fail", fail)
        code, message = await self.error(500, self.serve(api) + "/v1/fail")
        self.assertEqual(code, "internal")
        self.assertNotIn("secret", message)
        [logged] = self.flushLoggedErrors(RuntimeError)
        self.assertIn("42", str(logged.value))

    async def test_an_answer_that_cannot_be_encoded_is_an_accident(self) -> None:
        async def fail(call: Call) -> object:
            return object()

        api = self.api()
        api.route("GET", "/v1/fail", fail)
        self.assertEqual((await self.error(500, self.serve(api) + "/v1/fail"))[0], "internal")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    async def test_overload_is_not_an_accident(self) -> None:
        async def fail(call: Call) -> None:
            raise Overloaded("1000 jobs wait")

        api = self.api()
        api.route("GET", "/v1/fail", fail)
        self.assertEqual(await self.error(503, self.serve(api) + "/v1/fail"), ("overloaded", "1000 jobs wait"))

    async def test_a_handler_beyond_its_deadline_is_cancelled(self) -> None:
        cancelled: list[bool] = []

        async def stall(call: Call) -> None:
            await Deferred(lambda _: cancelled.append(True))

        api = self.api()
        api.route("GET", "/v1/stall", stall, deadline=0.01)
        self.assertEqual((await self.error(503, self.serve(api) + "/v1/stall"))[0], "deadline")
        self.assertEqual(cancelled, [True])

    async def test_a_handler_is_cancelled_when_its_client_goes_away(self) -> None:
        begun: Deferred[None] = Deferred()
        ended: Deferred[str] = Deferred()

        async def stall(call: Call) -> None:
            begun.callback(None)
            try:
                await Deferred()
            except CancelledError:
                ended.callback("cancelled")
                raise

        api = self.api()
        api.route("GET", "/v1/stall", stall)
        self.serve(api, tls=False)
        talk = await self.talk()
        talk.say(b"GET /v1/stall HTTP/1.1\r\nHost: x\r\n\r\n")
        await begun
        talk.transport.abortConnection()  # type: ignore[union-attr]
        self.assertEqual(await ended, "cancelled")

    async def test_work_that_was_cancelled_inside_still_gets_an_answer(self) -> None:
        async def give_up(call: Call) -> None:
            raise CancelledError

        api = self.api()
        api.route("GET", "/v1/x", give_up)
        self.assertEqual((await self.error(503, self.serve(api) + "/v1/x"))[0], "cancelled")

    async def test_a_header_that_cannot_be_sent_ends_the_connection(self) -> None:
        async def broken(call: Call) -> Reply:
            return Reply(b"", "text/plain", 200, {"X-Bad": "\udcff"})

        api = self.api()
        api.route("GET", "/v1/x", broken)
        self.serve(api, tls=False)
        talk = await self.talk()
        talk.say(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
        await talk.ended
        self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 1)


class CallerTests(ApiCase):
    async def test_identity_and_roles(self) -> None:
        async def whoami(call: Call) -> dict[str, object]:
            assert call.caller is not None
            return {"id": call.caller.node_id, "roles": sorted(call.caller.roles)}

        api = self.api()
        api.route("GET", "/v1/known", whoami, needs_identity=True)
        api.route("GET", "/v1/ours", whoami, roles=frozenset({"tracker", "manager"}))
        url = self.serve(api)
        self.assertEqual((await self.error(401, url + "/v1/known"))[0], "identity")
        self.assertEqual((await self.error(401, url + "/v1/ours"))[0], "identity")
        code, message = await self.error(403, url + "/v1/ours", identity=STRANGER)
        self.assertEqual((code, message), ("role", "this call is for the role manager or tracker"))
        other = AUTHORITY.issue("supernode", [], "s")
        self.assertEqual((await self.error(403, url + "/v1/ours", identity=other))[0], "role")
        for path, who in (("/v1/known", STRANGER), ("/v1/ours", TRACKER)):
            response, body = await self.ask(url + path, identity=who)
            self.assertEqual((response.code, json.loads(body)["id"]), (200, who.node_id))

    async def test_a_role_ends_while_the_connection_lasts(self) -> None:
        now = [datetime.now(UTC)]

        async def ours(call: Call) -> None: ...

        api = self.api(wall=lambda: now[0])
        api.route("GET", "/v1/ours", ours, roles=frozenset({"tracker"}))
        client = self.client(self.serve(api), TRACKER)
        await client.get("/v1/ours", type(None))
        now[0] += timedelta(days=365 * 10)
        with pytest.raises(Exception, match="403 role"):
            await client.get("/v1/ours", type(None))
        self.assertEqual(len(self.site.channels), 1)

    async def test_one_address_cannot_flood(self) -> None:
        clock = Clock()
        api = Api(TRUST, clock, rate_limit=RateLimit(0.5, 2))

        async def fine(call: Call) -> None: ...

        api.route("GET", "/v1/x", fine)
        url = self.serve_raw(_site_on_the_reactor(api))
        for _ in range(2):
            self.assertEqual((await self.ask(url + "/v1/x"))[0].code, 204)
        response, body = await self.ask(url + "/v1/x")
        self.assertEqual((response.code, json.loads(body)["error"]["code"]), (429, "too-many"))
        self.assertEqual(response.headers.getRawHeaders("retry-after"), ["2"])
        self.assertEqual((await self.ask(url + "/v1/x", identity=STRANGER))[0].code, 429)
        self.assertEqual((await self.ask(url + "/v1/x", identity=TRACKER))[0].code, 204)
        clock.advance(2)
        self.assertEqual((await self.ask(url + "/v1/x"))[0].code, 204)

    async def test_how_a_caller_is_found_can_be_replaced(self) -> None:
        async def ours(call: Call) -> None: ...

        api = self.api(identify=lambda request: Caller("ab" * 32, frozenset({"tracker"})))
        api.route("GET", "/v1/ours", ours, roles=frozenset({"tracker"}))
        self.assertEqual((await self.ask(self.serve(api, tls=False) + "/v1/ours"))[0].code, 204)


def _site_on_the_reactor(api: Api) -> Any:
    return BoundedSite(api, api, reactor, timeout=10)


class HealthTests(ApiCase):
    async def test_health(self) -> None:
        async def more() -> dict[str, Any]:
            return {"resources": 7}

        response, body = await self.ask(self.serve(self.api(health=more)) + "/v1/health")
        told = json.loads(body)
        self.assertEqual(response.code, 200)
        self.assertGreaterEqual(told.pop("uptime"), 0)
        self.assertTrue(told.pop("version"))
        self.assertEqual(told, {"status": "ok", "role": "index", "node_id": SERVER.node_id, "resources": 7})

    async def test_bad_health_is_503(self) -> None:
        async def more() -> dict[str, Any]:
            raise OSError("the disk is gone")

        code, message = await self.error(503, self.serve(self.api(health=more)) + "/v1/health")
        self.assertEqual(code, "unhealthy")
        self.assertIn("the disk is gone", message)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class Shelf(Resource):
    """A foreign resource that says where it thinks it is."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"|".join([b"/".join(request.prepath), b"/".join(request.postpath)])


class MountTests(ApiCase):
    async def test_foreign_resources_stand_beside_the_routes(self) -> None:
        api = self.api()
        api.mount("/r/", Shelf())
        api.mount("/r/special", Shelf())
        url = self.serve(api)
        self.assertEqual((await self.ask(url + "/r/a/b.iso"))[1], b"r|a/b.iso")
        self.assertEqual((await self.ask(url + "/r/special/x"))[1], b"r/special|x")
        self.assertEqual((await self.ask(url + "/v1/health"))[0].code, 200)
        self.assertEqual((await self.ask(url + "/rr/x"))[0].code, 404)

    def test_an_empty_prefix_is_refused(self) -> None:
        with pytest.raises(ValueError, match="segment"):
            self.api().mount("/", Shelf())


def test_routes_are_checked_when_they_are_made() -> None:
    api = Api(None, Clock())
    with pytest.raises(ValueError, match="routed twice"):
        api.route("GET", "/v1/health", greet)
