"""Can a client that asks for more than it is given keep others waiting, or fill the memory?"""

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.calls import ApiError, Call
from p2sp.net.jsonapi import Api, make_site
from p2sp.net.web import FIRST_HOLD, LONGEST_HOLD, BoundedChannel
from tests.net.kit import TRUST, LoopbackCase, reactor

GET = b"GET /v1/ask HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/ask HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + 100 * b"x"


class Line(StringTransport):
    """A transport in memory, with the buffer size of one of TCP."""

    bufferSize = 2**16


class AheadTests(SynchronousTestCase):
    """Requests that are sent before the last one was answered. Time is a Clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.refuse = False
        self.retry = 60
        self.askers: list[str] = []

        async def answer(call: Call) -> None:
            self.askers.append(call.address)
            if self.refuse:
                raise ApiError(429, "too-many", "too many", {"Retry-After": str(self.retry)})

        api = Api(None, self.clock, rate_limit=None)
        api.route("GET", "/v1/ask", answer)
        api.route("POST", "/v1/ask", answer, body=bytes)
        self.site = make_site(api, read_size=4096)

    @property
    def asked(self) -> int:
        return len(self.askers)

    def connect(self, host: str = "192.0.2.1") -> tuple[BoundedChannel, Line]:
        address = IPv4Address("TCP", host, 4711)
        channel = self.site.buildProtocol(address)
        line = Line(peerAddress=address)
        channel.makeConnection(line)
        return channel, line

    def lose(self, channel: BoundedChannel) -> None:
        channel.connectionLost(Failure(connectionDone.value or Exception()))

    def test_they_are_answered_one_in_a_turn(self) -> None:
        one, line = self.connect("192.0.2.1")
        one.dataReceived(50 * GET)
        other, _ = self.connect("192.0.2.2")
        other.dataReceived(50 * GET)
        self.assertEqual(self.askers, ["192.0.2.1", "192.0.2.2"])
        self.clock.advance(0)
        self.assertEqual(self.askers, ["192.0.2.1", "192.0.2.2"] * 50)
        self.assertEqual(line.value().count(b"204 No Content"), 50)
        for each in (one, other):
            self.lose(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_more_than_a_bound_waits_where_it_comes_from(self) -> None:
        for one in (GET, POST):
            channel, line = self.connect()
            self.assertEqual(line.bufferSize, 4096)
            self.askers.clear()
            sent = 0
            # As a transport does: what is sent comes in portions, for as long as it is wanted.
            for _ in range(100):
                if line.producerState == "producing":
                    channel.dataReceived(100 * one)
                    sent += 100
                turn: Any
                [turn] = [each for each in self.clock.getDelayedCalls() if each.getTime() == self.clock.seconds()]
                # One turn of an event loop; a Clock would go on until nothing is left.
                begin, arguments = turn.func, turn.args
                turn.cancel()
                begin(*arguments)
            self.assertEqual(self.asked, 101)
            self.assertLess((sent - self.asked) * len(one), 2**14 + 100 * len(one))
            self.lose(channel)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_does_not_take_its_answers_gets_no_more(self) -> None:
        channel, line = self.connect()
        channel.dataReceived(3 * GET)
        channel.pauseProducing()
        self.clock.advance(1)
        self.assertEqual(self.asked, 1)
        channel.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.asked, 3)
        channel.dataReceived(2 * GET)
        channel.pauseProducing()
        self.clock.advance(0)
        self.clock.advance(59)
        self.assertFalse(line.disconnecting)
        self.clock.advance(1)
        self.assertTrue(line.disconnecting)
        self.lose(channel)
        self.assertEqual((self.asked, self.clock.getDelayedCalls()), (4, []))

    def test_who_goes_on_after_refusals_is_listened_to_more_and_more_seldom(self) -> None:
        channel, line = self.connect()
        self.refuse = True
        channel.dataReceived(20 * GET)
        hold, refusals = FIRST_HOLD, 1
        for _ in range(10):
            self.clock.advance(hold * 0.99)
            self.assertEqual(self.asked, refusals)
            self.clock.advance(hold * 0.01)
            refusals += 1
            self.assertEqual(self.asked, refusals)
            hold = min(2 * hold, LONGEST_HOLD)
        self.assertEqual(hold, LONGEST_HOLD)
        self.refuse = False
        self.clock.advance(LONGEST_HOLD)
        # Once it is served, it is as good as anybody.
        self.assertEqual(self.asked, 20)
        self.assertEqual(line.value().count(b"429 "), refusals)
        self.lose(channel)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_comes_back_when_it_was_told_to_is_always_heard(self) -> None:
        self.refuse, self.retry = True, 1
        channel, line = self.connect()
        for asked in range(1, 20):
            channel.dataReceived(GET)
            self.assertEqual(self.asked, asked)
            self.clock.advance(1.0)
        self.assertEqual(line.value().count(b"429 "), 19)
        self.lose(channel)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_leaves_while_it_is_not_listened_to_is_gone(self) -> None:
        channel, _ = self.connect()
        self.refuse = True
        channel.dataReceived(2 * GET)
        self.lose(channel)
        self.clock.advance(60)
        self.assertEqual(self.asked, 1)
        self.assertEqual((self.site.channels, dict(self.site.by_address)), (set(), {}))

    def test_an_address_has_a_quarter_of_all_connections(self) -> None:
        self.site.most_connections = 8
        first, _ = self.connect()
        self.connect()
        self.assertIsNone(self.site.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        self.connect("192.0.2.2")
        self.lose(first)
        self.connect()
        self.assertEqual(self.site.turned_away, 1)

    def test_who_calls_too_often_is_not_let_in(self) -> None:
        called: list[str] = []

        def admits(host: str) -> bool:
            called.append(host)
            return len(called) < 2

        self.site.admits = admits
        self.connect()
        self.assertIsNone(self.site.buildProtocol(IPv4Address("TCP", "192.0.2.7", 1)))
        self.assertEqual(called, ["192.0.2.1", "192.0.2.7"])


class TurnedAwayTests(LoopbackCase):
    """Over TLS."""

    async def test_a_connection_too_many_is_cut_before_it_costs_a_handshake(self) -> None:
        self.serve(Api(TRUST, reactor), tls=True)
        self.site.most_connections = 1
        first, second = await self.talk(), await self.talk()
        await second.ended
        self.assertEqual(second.heard, b"")
        self.assertEqual((self.site.turned_away, len(self.site.channels)), (1, 1))
        transport: Any = first.transport
        transport.abortConnection()

    async def test_of_many_handshakes_under_way_an_address_has_one(self) -> None:
        url = self.serve(Api(TRUST, reactor), tls=True)
        self.site.handshakes = 5
        # They say nothing, so that their handshakes last.
        for _ in range(5):
            await self.talk()
        while self.site.shaking["127.0.0.1"] < 5:
            await deferLater(reactor, 0.0)
        late = await self.talk()
        await late.ended
        elsewhere = self.client(url, bind_address="127.0.0.2")
        self.assertEqual((await elsewhere.get("/v1/health", dict[str, Any]))["status"], "ok")
        self.assertEqual(dict(self.site.shaking), {"127.0.0.1": 5})
        for channel in list(self.site.channels):
            channel.abort()
        while self.site.channels:
            await deferLater(reactor, 0.0)
        self.assertEqual(dict(self.site.shaking), {})
