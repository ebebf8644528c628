"""Does a call end, with a clear word, whatever the other side does?"""

from typing import Any

import msgspec
import pytest
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.api_client import ApiClient
from p2sp.net.calls import Call
from p2sp.net.client_endpoints import HEADERS
from p2sp.net.errors import BadAnswer, NetError, Refused, Unreachable, UntrustedServer
from p2sp.net.jsonapi import Api, ApiError, Reply
from p2sp.net.listen import listen_tcp
from p2sp.net.trust import client_policy
from tests.net.kit import STRANGER, TRACKER, TRUST, LoopbackCase, RudeFactory, reactor


class Word(msgspec.Struct):
    text: str
    count: int = 0


LARGE = 60_000


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"", body])


class FriendlyTests(LoopbackCase):
    def api(self) -> Api:
        self.calls: list[Call] = []

        async def look(call: Call) -> Word:
            self.calls.append(call)
            return Word(call.query.get("text", ""), 1)

        async def keep(call: Call) -> Word:
            self.calls.append(call)
            return call.body  # type: ignore[no-any-return]

        async def nothing(call: Call) -> None:
            self.calls.append(call)

        async def raw(call: Call) -> Reply:
            return Reply(b"\x00" * 1000, "application/octet-stream")

        async def large(call: Call) -> Reply:
            return Reply(bytes(LARGE), "application/octet-stream")

        async def refuse(call: Call) -> None:
            raise ApiError(409, "conflict", "it is there already")

        api = Api(TRUST, reactor)
        api.route("GET", "/v1/words/{word}", look)
        api.route("POST", "/v1/words", keep, body=Word)
        api.route("PUT", "/v1/raw", nothing, body=bytes)
        api.route("DELETE", "/v1/words/{word}", nothing)
        api.route("GET", "/v1/raw", raw)
        api.route("GET", "/v1/large", large)
        api.route("GET", "/v1/refuse", refuse)
        return api

    async def test_each_answer_on_a_kept_connection_is_counted_for_itself(self) -> None:
        client = self.client(self.serve(self.api()), TRACKER, max_answer=1)
        for _ in range(2 * HEADERS // LARGE):
            self.assertEqual(len(await client.get_bytes("/v1/large", LARGE)), LARGE)

    async def test_get_and_post(self) -> None:
        client = self.client(self.serve(self.api()), TRACKER)
        params = {"text": "a&b ü", "n": 5, "no": None}
        self.assertEqual(await client.get("/v1/words/x y", Word, params), Word("a&b ü", 1))
        self.assertEqual(await client.post("/v1/words", Word("z", 9), Word), Word("z", 9))
        get, post = self.calls
        self.assertEqual((get.path, get.query), ({"word": "x y"}, {"text": "a&b ü", "n": "5"}))
        self.assertEqual(get.header("accept-encoding"), "identity")
        self.assertEqual(post.header("content-type"), "application/json")
        self.assertEqual(get.caller and get.caller.node_id, TRACKER.node_id)

    async def test_raw_bodies_and_empty_answers(self) -> None:
        client = self.client(self.serve(self.api()))
        self.assertIsNone(await client.send("PUT", "/v1/raw", b"\xff\x00", type(None)))
        self.assertIsNone(await client.send("DELETE", "/v1/words/x", None, type(None)))
        self.assertEqual(self.calls[0].body, b"\xff\x00")
        self.assertEqual(await client.get_bytes("/v1/raw", 1000), b"\x00" * 1000)
        with pytest.raises(BadAnswer, match="larger than 999 bytes"):
            await client.get_bytes("/v1/raw", 999)

    async def test_a_refusal_says_what_the_server_said(self) -> None:
        url = self.serve(self.api())
        with pytest.raises(Refused, match="it is there already") as caught:
            await self.client(url).get("/v1/refuse", Word)
        error = caught.value
        self.assertEqual((error.status, error.code, error.message), (409, "conflict", "it is there already"))
        self.assertEqual(error.url, url + "/v1/refuse")
        self.assertIn(url, str(error))

    async def test_a_connection_is_used_again(self) -> None:
        client = self.client(self.serve(self.api()))
        for _ in range(5):
            await client.get("/v1/words/x", Word)
        self.assertEqual(len(self.site.channels), 1)

    async def test_many_calls_at_once(self) -> None:
        client = self.client(self.serve(self.api()))
        calls = [Deferred.fromCoroutine(client.get("/v1/words/x", Word, {"text": i})) for i in range(30)]
        results = await DeferredList(calls)
        self.assertEqual([good and word.text for good, word in results], [str(i) for i in range(30)])

    async def test_it_calls_from_the_address_it_is_told(self) -> None:
        client = self.client(self.serve(self.api()), bind_address="127.0.0.9")
        await client.get("/v1/words/x", Word)
        self.assertEqual(self.calls[0].address, "127.0.0.9")

    async def test_a_base_path_is_kept_and_names_are_resolved(self) -> None:
        self.serve(self.api())
        client = self.client(f"https://localhost:{self.port}/v1/")
        self.assertEqual(await client.get("/words/x", Word), Word("", 1))

    async def test_a_restarted_server_is_called_anew(self) -> None:
        api = self.api()
        client = self.client(self.serve(api))
        await client.get("/v1/words/x", Word)
        await self.site.drain(1)
        self.assertEqual(await client.post("/v1/words", Word("again"), Word), Word("again"))


class HostileTests(LoopbackCase):
    async def fails(self, kind: type[NetError], hint: str, url: str, **options: Any) -> NetError:
        client = self.client(url, **options)
        with pytest.raises(kind, match=hint) as caught:
            await client.get("/v1/word", Word)
        self.assertIn(url.split("//")[1], str(caught.value))
        return caught.value

    async def gone(self, factory: RudeFactory) -> None:
        """The connection is cut, not left to the server."""
        await factory.lost

    async def test_nobody_there(self) -> None:
        port = listen_tcp(reactor, "127.0.0.1:0", RudeFactory())
        url = f"https://127.0.0.1:{port.getHost().port}"  # type: ignore[attr-defined]
        await maybeDeferred(port.stopListening)
        await self.fails(Unreachable, "refused", url)

    async def test_a_silent_server(self) -> None:
        factory = RudeFactory()
        url = self.serve_raw(factory)
        await self.fails(Unreachable, r"no answer within 0\.2 s", url, timeout=0.2)
        await self.gone(factory)

    async def test_a_server_that_never_ends_its_headers(self) -> None:
        factory = RudeFactory(answer=b"HTTP/1.1 200 OK\r\n", repeat=b"X-More: and more\r\n" * 100)
        client = self.client(self.serve_raw(factory), max_answer=100_000)
        with pytest.raises(BadAnswer, match=r"127\.0\.0\.1.*larger than \d+ bytes with its headers"):
            await client.get("/v1/word", Word)
        await self.gone(factory)
        self.assertLess(factory.talks[0].sent, 32 * 1024 * 1024)

    async def test_a_server_that_stops_within_the_body(self) -> None:
        factory = RudeFactory(answer=ok(b'{"te', b"Content-Length: 50"))
        await self.fails(Unreachable, "no answer within", self.serve_raw(factory), timeout=0.2)
        await self.gone(factory)

    async def test_a_server_that_closes_within_the_body(self) -> None:
        factory = RudeFactory(answer=ok(b'{"te', b"Content-Length: 50"), then_close=True)
        await self.fails(Unreachable, "broke off", self.serve_raw(factory))

    async def test_a_server_that_closes_without_a_word(self) -> None:
        factory = RudeFactory(then_close=True)
        await self.fails(Unreachable, "cannot be reached", self.serve_raw(factory))
        self.assertEqual(len(factory.talks), 2, "tried once more and no more")

    async def test_an_endless_body(self) -> None:
        for tls in (True, False):
            for head in (b"Content-Length: 99999999", b"Connection: close"):
                factory = RudeFactory(answer=ok(b"", head), repeat=b"x" * 65536)
                url = self.serve_raw(factory, tls=tls)
                await self.fails(BadAnswer, "larger than 100000 bytes", url, max_answer=100_000)
                await self.gone(factory)
                self.assertLess(factory.talks[0].sent, 32 * 1024 * 1024)

    async def test_an_endless_error(self) -> None:
        answer = b"HTTP/1.1 500 Oh\r\nContent-Length: 99999999\r\n\r\n"
        factory = RudeFactory(answer=answer, repeat=b"x" * 65536)
        await self.fails(BadAnswer, "larger than 100000 bytes", self.serve_raw(factory), max_answer=100_000)
        await self.gone(factory)

    async def test_what_is_no_http(self) -> None:
        await self.fails(
            Unreachable, "cannot be reached", self.serve_raw(RudeFactory(answer=b"SSH-2.0-x\r\n", then_close=True))
        )

    async def test_what_is_no_tls(self) -> None:
        self.serve_raw(RudeFactory(answer=b"HTTP/1.1 400 No\r\n\r\n", then_close=True), tls=False)
        await self.fails(Unreachable, "cannot be reached", f"https://127.0.0.1:{self.port}")

    async def test_an_answer_of_another_kind(self) -> None:
        for body, hint in (
            (b"", "truncated"),
            (b"<html>", "malformed"),
            (b'{"text": 5}', r"\$\.text"),
            (b"[]", "object"),
            (b'{"text": "\xff"}', "utf-8|invalid"),
        ):
            answer = ok(body, b"Content-Length: %d" % len(body))
            await self.fails(BadAnswer, hint, self.serve_raw(RudeFactory(answer=answer)))

    async def test_an_error_that_is_not_ours(self) -> None:
        answer = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>"
        error = await self.fails(Refused, "502", self.serve_raw(RudeFactory(answer=answer)))
        self.assertIn("Bad Gateway", str(error))

    async def test_a_redirect_is_not_followed(self) -> None:
        answer = b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        await self.fails(Refused, "302", self.serve_raw(RudeFactory(answer=answer)))

    async def test_a_server_with_a_strange_certificate(self) -> None:
        client = self.client(self.serve_raw(RudeFactory(), identity=STRANGER))
        with pytest.raises(UntrustedServer, match=r"127\.0\.0\.1.*no authority"):
            await client.get("/v1/word", Word)

    async def test_a_call_can_be_cancelled(self) -> None:
        factory = RudeFactory(answer=ok(b"", b"Content-Length: 5"))
        client = self.client(self.serve_raw(factory))
        call = Deferred.fromCoroutine(client.get("/v1/word", Word))
        await factory.asked
        call.cancel()
        with pytest.raises(CancelledError):
            await call
        await self.gone(factory)

    async def test_a_call_can_be_cancelled_before_it_is_connected(self) -> None:
        client = self.client(self.serve_raw(RudeFactory()))
        call = Deferred.fromCoroutine(client.get("/v1/word", Word))
        call.cancel()
        with pytest.raises(CancelledError):
            await call

    async def test_closing_ends_calls_and_connections(self) -> None:
        factory = RudeFactory()
        client = self.client(self.serve_raw(factory))
        call = Deferred.fromCoroutine(client.get("/v1/word", Word))
        await factory.asked
        client.close()
        with pytest.raises(Unreachable, match="closed"):
            await call
        await self.gone(factory)
        with pytest.raises(Unreachable, match="closed"):
            await client.get("/v1/word", Word)


class MemoryTests(SynchronousTestCase):
    def test_an_api_answers_without_a_network(self) -> None:
        """What the roles' own tests stand on: the client talks to the resource itself."""

        async def keep(call: Call) -> Word:
            return call.body  # type: ignore[no-any-return]

        clock = Clock()
        api = Api(None, clock)
        api.route("POST", "/v1/words", keep, body=Word)
        agent = RequestTraversalAgent(api)
        client = ApiClient(clock, "https://x.example", policy=client_policy(None, TRUST), agent=agent)
        call = Deferred.fromCoroutine(client.post("/v1/words", Word("a"), Word))
        agent.flush()
        self.assertEqual(self.successResultOf(call), Word("a"))
        large = Deferred.fromCoroutine(client.post("/v1/words", Word("a" * 2_000_000), Word))
        agent.flush()
        self.failureResultOf(large, Refused)

    def test_a_base_url_is_checked(self) -> None:
        with pytest.raises(ValueError, match="https"):
            ApiClient(Clock(), "host:80", policy=client_policy(None, TRUST))
