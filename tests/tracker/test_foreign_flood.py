"""Can a foreign client that asks for more than it is given keep others waiting, or fill the memory?"""

import random

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.ratelimit import RateLimit, RateTable
from p2sp.net.web import FIRST_HOLD
from p2sp.tracker.core import Tracker
from p2sp.tracker.foreign import ForeignDesk
from p2sp.tracker.foreign_http import LARGEST_HEAD, PATIENCE, ForeignHttp, ForeignHttpFactory
from p2sp.tracker.load import LoadGauge
from p2sp.tracker.memory import MemorySwarmStore
from p2sp.tracker.schema import Scope
from p2sp.tracker.selection import make_policy
from tests.tracker.kit import reactor
from tests.tracker.test_foreign import Conversation, ForeignCase

GET = b"GET /scrape?info_hash=%s HTTP/1.1\r\n\r\n" % (b"x" * 20)


class FloodTests(SynchronousTestCase):
    """In memory; time is a Clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        tracker = Tracker(
            Scope.GLOBAL, "e", 60.0, MemorySwarmStore(60.0), make_policy("random"), self.clock.seconds,
            self.clock.seconds, random.Random(1),
        )  # fmt: skip
        self.desk = ForeignDesk(tracker, 300.0, RateTable(RateLimit(1000.0, 1000.0)), LoadGauge())
        self.factory = ForeignHttpFactory(self.desk, self.clock, most=8)

    def connect(self, host: str) -> tuple[ForeignHttp, StringTransport]:
        address = IPv4Address("TCP", host, 4711)
        connection = self.factory.buildProtocol(address)
        line = StringTransport(peerAddress=address)
        connection.makeConnection(line)
        return connection, line

    def lose(self, *connections: ForeignHttp) -> None:
        for each in connections:
            each.connectionLost(Failure(connectionDone.value or Exception()))

    def nothing_is_left(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.factory.connections, dict(self.factory.by_address)), (set(), {}))

    def test_what_is_sent_ahead_is_answered_one_in_a_turn(self) -> None:
        one, line = self.connect("192.0.2.1")
        one.dataReceived(5 * GET)
        self.assertEqual(self.desk.tally.scrapes, 1)
        other, _ = self.connect("192.0.2.2")
        other.dataReceived(GET)
        self.assertEqual(self.desk.tally.scrapes, 2)
        self.clock.advance(0)
        self.assertEqual(line.value().count(b"HTTP/1.1 200"), 5)
        self.lose(one, other)
        self.nothing_is_left()

    def test_more_than_a_bound_waits_where_it_comes_from(self) -> None:
        connection, line = self.connect("192.0.2.1")
        connection.dataReceived(2 * GET)
        sent = 2
        while line.producerState == "producing":
            connection.dataReceived(GET)
            sent += 1
        self.assertGreater(sent * len(GET), LARGEST_HEAD)
        self.assertEqual(self.desk.tally.scrapes, 1)
        self.clock.advance(0)
        self.assertEqual(line.producerState, "producing")
        self.assertEqual(self.desk.tally.scrapes, sent)
        self.lose(connection)
        self.nothing_is_left()

    def test_who_does_not_take_its_answers_gets_no_more_and_is_cut_off(self) -> None:
        connection, line = self.connect("192.0.2.1")
        connection.dataReceived(3 * GET)
        connection.pauseProducing()
        self.clock.advance(1)
        self.assertEqual(self.desk.tally.scrapes, 1)
        connection.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(self.desk.tally.scrapes, 3)
        connection.pauseProducing()
        while line.producerState == "producing":
            connection.dataReceived(GET)
        self.clock.advance(PATIENCE)
        self.assertEqual(self.desk.tally.scrapes, 3)
        self.assertTrue(line.disconnected)
        self.lose(connection)
        self.nothing_is_left()

    def test_who_goes_on_after_refusals_is_listened_to_more_and_more_seldom(self) -> None:
        self.desk.rates = RateTable(RateLimit(1e-9, 1.0))
        connection, line = self.connect("192.0.2.1")
        connection.dataReceived(100 * GET)
        self.clock.advance(0)
        self.assertEqual(line.value().count(b"HTTP/1.1 429"), 1)
        hold = FIRST_HOLD
        for refusals in range(2, 8):
            self.clock.advance(hold)
            self.assertEqual(line.value().count(b"HTTP/1.1 429"), refusals)
            hold *= 2.0
        self.assertEqual(line.value().count(b"Retry-After"), 7)
        # It sits out a hold in vain: nobody is kept for longer than this.
        self.clock.advance(PATIENCE)
        self.assertTrue(line.disconnected)
        self.lose(connection)
        self.nothing_is_left()

    def test_an_address_has_a_quarter_of_all_connections(self) -> None:
        first, _ = self.connect("192.0.2.1")
        second, _ = self.connect("192.0.2.1")
        self.assertIsNone(self.factory.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)))
        third, _ = self.connect("192.0.2.2")
        self.lose(first)
        fourth, _ = self.connect("192.0.2.1")
        self.assertEqual(self.desk.tally.ignored, 1)
        self.lose(second, third, fourth)
        self.nothing_is_left()


class UntakenTests(ForeignCase):
    """Over a socket."""

    async def test_a_client_that_reads_nothing_is_not_answered_without_end(self) -> None:
        self.open("limits = {rate_per_address = 1e6, burst_per_address = 1e6}")
        desk = self.desk()
        factory = self.role.ports[0].factory  # type: ignore[attr-defined]
        talk = Conversation()
        await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", self.http), talk)
        talk.transport.pauseProducing()
        while not any(each._full for each in factory.connections):
            talk.transport.write(100 * GET)
            await deferLater(reactor, 0.0)
        # What is under way to the client is in the kernel's buffers and one of ours, and no more is asked for.
        answered = desk.tally.scrapes
        for _ in range(20):
            talk.transport.write(100 * GET)
            await deferLater(reactor, 0.0)
        self.assertEqual(desk.tally.scrapes, answered)
        talk.transport.abortConnection()
        await talk.ended
