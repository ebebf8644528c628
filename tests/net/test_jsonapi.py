"""Does every call get the answer its route and its caller deserve?"""

import json

import msgspec
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from p2sp.net.calls import Call
from p2sp.net.errors import Overloaded
from p2sp.net.jsonapi import Api, ApiError, Reply
from p2sp.net.trust import Caller
from tests.net.api_case import ApiCase
from tests.net.kit import TRACKER


class Greeting(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    times: int = 1


class Page(msgspec.Struct):
    limit: int = 10


async def greet(call: Call) -> Greeting:
    return Greeting(f"hello {call.body.name}", call.body.times)


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


def test_routes_are_checked_when_they_are_made() -> None:
    api = Api(None, Clock())
    with pytest.raises(ValueError, match="routed twice"):
        api.route("GET", "/v1/health", greet)
