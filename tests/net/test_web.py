"""Can a rude client make a listener buffer, wait or serve without end?"""

import json
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.calls import Call
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.trust import client_policy
from p2sp.net.web import DRAINED_BODY, BoundedChannel
from tests.net.kit import TRUST, LoopbackCase, Talk, reactor


class Text(msgspec.Struct):
    text: str


class Line(StringTransport):
    """A transport in memory that knows whether it was cut."""

    cut = False

    def abortConnection(self) -> None:
        self.cut = True


class BodyTests(LoopbackCase):
    async def start(self, **options: Any) -> Talk:
        self.calls: list[Call] = []

        async def take(call: Call) -> None:
            self.calls.append(call)

        api = Api(TRUST, reactor, **options)
        api.route("POST", "/v1/text", take, body=Text, max_body=1000)
        api.route("POST", "/v1/book", take, body=bytes, max_body=3 * DRAINED_BODY)
        api.route("POST", "/v1/shelf", take, body=bytes, roles=frozenset({"publisher"}), max_body=3 * DRAINED_BODY)
        self.serve(api, tls=False)
        return await self.talk()

    def refusal(self, heard: bytes) -> None:
        head, _, body = heard.partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 413 "), head)
        self.assertIn(b"Connection: close", head)
        self.assertEqual(json.loads(body)["error"]["code"], "too-large")
        self.assertEqual(self.calls, [])

    async def test_a_body_told_to_be_too_large_is_refused_before_it_comes(self) -> None:
        talk = await self.start()
        talk.say(b"POST /v1/text HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
        self.refusal(await talk.until(b"}}"))

    async def test_no_body_is_invited_that_will_be_refused(self) -> None:
        talk = await self.start()
        talk.say(b"POST /v1/text HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        self.refusal(await talk.until(b"}}"))
        self.assertNotIn(b"100 Continue", talk.heard)

    async def test_the_refusal_is_read_by_a_client_that_sends_its_body_anyway(self) -> None:
        talk = await self.start()
        size = DRAINED_BODY - 1000
        talk.say(b"POST /v1/text HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await talk.ended
        self.refusal(talk.heard)

    async def test_a_body_of_untold_length_is_cut_at_the_limit(self) -> None:
        talk = await self.start()
        talk.say(b"POST /v1/text HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        talk.say(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        talk.say(b"1\r\nx\r\n")
        self.refusal(await talk.until(b"}}"))
        talk.say(b"0\r\n\r\n")
        await talk.ended

    async def test_who_goes_on_sending_is_cut_off(self) -> None:
        talk = await self.start()
        talk.say(b"POST /v1/text HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        transport: Any = talk.transport
        sent = 0
        while not talk.ended.called and sent < 20 * DRAINED_BODY:
            transport.write(piece)
            sent += 65536
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn
        await talk.ended
        self.assertLess(sent, 20 * DRAINED_BODY)
        self.assertEqual(self.calls, [])

    async def test_each_route_has_its_own_limit(self) -> None:
        talk = await self.start()
        size = 2 * DRAINED_BODY
        talk.say(b"POST /v1/book?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        await talk.until(b"204 No Content")
        self.assertEqual(len(self.calls[0].body), size)

    async def test_a_body_nobody_asked_for_is_small_or_refused(self) -> None:
        talk = await self.start()
        talk.say(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789")
        await talk.until(b'"status":"ok"')
        talk.say(b"GET /v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        await talk.until(b"HTTP/1.1 413 ")

    async def test_who_may_not_call_may_not_send_a_large_body_either(self) -> None:
        talk = await self.start()
        talk.say(b"POST /v1/shelf HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % DRAINED_BODY)
        heard = await talk.until(b"}}")
        self.assertTrue(heard.startswith(b"HTTP/1.1 401 "), heard)
        self.assertEqual(self.calls, [])

    async def test_a_body_for_no_route_is_bounded(self) -> None:
        talk = await self.start(max_body=50)
        talk.say(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 51\r\n\r\n")
        self.refusal(await talk.until(b"}}"))

    async def test_two_requests_at_once_are_answered_in_order(self) -> None:
        talk = await self.start()
        one = b"POST /v1/text HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n" + b'{"text":"abc"}'
        talk.say(one + b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + one)
        await talk.until(b"404 Not Found")
        await self.three()
        self.assertEqual(talk.heard.count(b"204 No Content"), 2)
        self.assertEqual([call.body for call in self.calls], [Text("abc"), Text("abc")])

    async def three(self) -> None:
        """Wait for the answer that follows."""
        talk = await self.talk()
        talk.say(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        await talk.until(b'"status":"ok"')


class TimeTests(SynchronousTestCase):
    """Time is a Clock, the connection a transport in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.waiting: list[Deferred[None]] = []

        async def stall(call: Call) -> None:
            waiting: Deferred[None] = Deferred()
            self.waiting.append(waiting)
            await waiting

        self.api = Api(None, self.clock, rate_limit=None)
        self.api.route("GET", "/v1/stall", stall, deadline=1000)
        self.site = make_site(self.api, timeout=60)

    def connect(self) -> tuple[BoundedChannel, Line]:
        channel = self.site.buildProtocol(None)
        line = Line()
        channel.makeConnection(line)
        return channel, line

    def lose(self, channel: BoundedChannel) -> None:
        channel.connectionLost(Failure(connectionDone.value or Exception()))

    def test_a_client_that_says_nothing_is_dismissed(self) -> None:
        channel, line = self.connect()
        self.clock.advance(59)
        self.assertFalse(line.disconnecting)
        self.clock.advance(1)
        self.assertTrue(line.disconnecting)
        self.lose(channel)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_client_that_drips_is_cut_off(self) -> None:
        for drop in (b"G", b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nContent-Length: 999\r\n\r\n"):
            channel, line = self.connect()
            channel.dataReceived(drop)
            for _ in range(6):
                self.assertFalse(line.cut)
                self.clock.advance(10)
                channel.dataReceived(b"a")
            self.assertTrue(line.cut)
            self.lose(channel)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_handler_may_take_longer_than_the_client(self) -> None:
        channel, line = self.connect()
        channel.dataReceived(b"GET /v1/stall HTTP/1.1\r\nHost: x\r\n\r\n")
        self.clock.advance(500)
        self.assertFalse(line.cut or line.disconnecting)
        self.waiting[0].callback(None)
        self.assertIn(b"204 No Content", line.value())
        self.clock.advance(60)
        self.assertTrue(line.disconnecting)
        self.lose(channel)

    def test_a_client_that_does_not_say_goodbye_is_cut_off(self) -> None:
        channel, line = self.connect()
        channel.dataReceived(b"GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        self.assertTrue(line.disconnecting)
        self.assertFalse(line.cut)
        self.clock.advance(60)
        self.assertTrue(line.cut)
        self.lose(channel)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_too_many_connections_are_turned_away(self) -> None:
        self.site.most_connections = 2
        channel, _ = self.connect()
        self.connect()
        self.assertIsNone(self.site.buildProtocol(None))
        self.lose(channel)
        self.assertIsNotNone(self.site.buildProtocol(None))

    def test_winding_down_answers_and_hangs_up(self) -> None:
        channel, line = self.connect()
        channel.dataReceived(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertNotIn(b"connection: close", line.value().lower())
        line.clear()
        self.site.wind_down()
        self.assertFalse(line.disconnecting)
        self.clock.advance(0)
        channel.dataReceived(b"GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertIn(b"connection: close", line.value().lower())
        self.assertTrue(line.disconnecting)
        self.lose(channel)

    def test_draining_ends_the_idle_at_once_and_lets_work_end(self) -> None:
        idle, idle_line = self.connect()
        busy, busy_line = self.connect()
        busy.dataReceived(b"GET /v1/stall HTTP/1.1\r\nHost: x\r\n\r\n")
        drained = self.site.drain(10)
        self.assertTrue(idle_line.cut)
        self.assertFalse(busy_line.cut)
        self.lose(idle)
        self.waiting[0].callback(None)
        self.assertIn(b"connection: close", busy_line.value().lower())
        self.assertTrue(busy_line.disconnecting)
        self.assertNoResult(drained)
        self.lose(busy)
        self.successResultOf(drained)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_draining_cuts_work_that_does_not_end(self) -> None:
        busy, line = self.connect()
        busy.dataReceived(b"GET /v1/stall HTTP/1.1\r\nHost: x\r\n\r\n")
        drained = self.site.drain(10)
        self.clock.advance(9)
        self.assertFalse(line.cut)
        self.clock.advance(1)
        self.assertTrue(line.cut)
        self.lose(busy)
        self.successResultOf(drained)

    def test_draining_an_empty_site_is_done_at_once(self) -> None:
        self.successResultOf(self.site.drain(10))


class TlsTests(LoopbackCase):
    async def test_a_drained_tls_connection_is_really_gone(self) -> None:
        self.serve(Api(TRUST, reactor))
        talk = Talk()
        creator = client_policy(None, TRUST).creatorForNetloc(b"127.0.0.1", self.port)
        endpoint = wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", self.port))
        await connectProtocol(endpoint, talk)
        talk.say(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        await talk.until(b'"status":"ok"')
        # A client that reads nothing more never answers the goodbye of TLS.
        transport: Any = talk.transport
        transport.transport.pauseProducing()
        await self.site.drain(5)
        self.assertEqual(self.site.channels, set())
        transport.abortConnection()
        await talk.ended
