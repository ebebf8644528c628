"""Are others called by the right way, and does a dead address of a name delay nobody?"""

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from p2sp.net.identity import create_identity
from p2sp.wire.calls import CONNECT_SECONDS, HEAD_START, Ways

IDENTITY = create_identity()


@implementer(IHostnameResolver)
class TwoAddresses:
    """A resolver for which every name has an IPv6 and an IPv4 address."""

    def resolveHostName(self, receiver: IResolutionReceiver, hostName: str, portNumber: int = 0, *_: Any) -> Any:
        receiver.resolutionBegan(self)  # type: ignore[arg-type]
        receiver.addressResolved(IPv6Address("TCP", "2001:db8::1", portNumber))
        receiver.addressResolved(IPv4Address("TCP", "192.0.2.1", portNumber))
        receiver.resolutionComplete()
        return self


class Calling(SynchronousTestCase):
    """What a call asks of the reactor."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.nameResolver = TwoAddresses()
        self.ways = Ways(self.reactor, IDENTITY)

    def call(self, host: str, node_id: str = "", bind: str | None = None) -> Any:
        return self.ways.to(host, 7000, node_id, bind).connect(Factory.forProtocol(Protocol))

    @property
    def called(self) -> list[str]:
        return [client[0] for client in self.reactor.tcpClients]

    def test_an_address_is_called_at_once_and_from_the_address_wanted(self) -> None:
        for host in ("192.0.2.7", "2001:db8::7"):
            self.call(host, bind="127.0.0.3")
        self.assertEqual(self.called, ["192.0.2.7", "2001:db8::7"])
        self.assertEqual([client[3:] for client in self.reactor.tcpClients], [(CONNECT_SECONDS, ("127.0.0.3", 0))] * 2)

    def test_the_next_address_of_a_name_is_tried_beside_a_silent_one(self) -> None:
        for node_id in ("", "ab" * 32):
            self.reactor.tcpClients.clear()
            call = self.call("node.example", node_id)
            self.assertEqual(self.called, ["2001:db8::1"])
            self.reactor.advance(HEAD_START - 0.01)
            self.assertEqual(self.called, ["2001:db8::1"])
            self.reactor.advance(0.02)
            self.assertEqual(self.called, ["2001:db8::1", "192.0.2.1"])
            call.cancel()
            self.failureResultOf(call)
