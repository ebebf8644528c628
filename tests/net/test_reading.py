"""Does TLS of ours hand up whole reads, and end when the other side does?"""

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from p2sp.net.reading import Gathering, GatheringTLSFactory
from p2sp.net.trust import client_policy, server_context
from tests.net.kit import SERVER, TRUST


@implementer(IPushProducer)
class Sender(Protocol):
    """Has always something to send."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]

    def pauseProducing(self) -> None:
        """It is waited for."""

    def resumeProducing(self) -> None:
        """There is nothing more to send."""

    def stopProducing(self) -> None:
        """It is over."""


class Reader(Protocol, Gathering):
    def __init__(self) -> None:
        self.reads: list[int] = []

    def dataReceived(self, data: bytes) -> None:
        if not self.kept(data):
            self.reads.append(len(data))


class TLSTests(SynchronousTestCase):
    """Two sides of a connection whose bytes the test carries."""

    def setUp(self) -> None:
        serving, reading = Factory.forProtocol(Sender), Factory.forProtocol(Reader)
        clock = Clock()
        self.server = GatheringTLSFactory(server_context(SERVER), False, serving, clock).buildProtocol(None)
        creator = client_policy(None, TRUST).creatorForNetloc(b"127.0.0.1", 1)
        self.client = GatheringTLSFactory(creator, True, reading, clock).buildProtocol(None)
        self.below = StringTransport(), StringTransport()
        self.server.makeConnection(self.below[0])
        self.client.makeConnection(self.below[1])
        self.carry()

    def carry(self) -> None:
        """Bring bytes over, as long as there are any."""
        while self.below[0].value() or self.below[1].value():
            for transport, other in zip(self.below, (self.client, self.server), strict=True):
                if data := transport.value():
                    transport.clear()
                    other.dataReceived(data)

    def test_records_of_one_read_come_at_once(self) -> None:
        self.server.write(b"x" * 100_000)
        self.carry()
        self.assertEqual(self.client.wrappedProtocol.reads, [100_000])  # type: ignore[attr-defined]

    def test_who_waits_to_send_does_not_keep_a_connection_that_the_other_side_has_ended(self) -> None:
        self.assertIsNotNone(self.below[0].producer)
        self.client.loseConnection()
        self.carry()
        self.assertTrue(self.below[0].disconnecting)
        self.assertIsNone(self.below[0].producer)
