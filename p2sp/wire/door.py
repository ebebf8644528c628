"""Who may come in at our port, before anything is spent on them?"""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.protocol import Factory, ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

if TYPE_CHECKING:
    from p2sp.wire.link import PeerLink
    from p2sp.wire.listener import PeerNetwork


class Door(ServerFactory):
    """Takes connections within the network's bounds and wraps them in TLS; closes the others at once."""

    noisy = False

    def __init__(self, network: "PeerNetwork", context: IOpenSSLServerConnectionCreator, clock: IReactorTime) -> None:
        self._network = network
        self._secure = TLSMemoryBIOFactory(context, False, _Incoming(network), clock)

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if not self._network.admits(str(getattr(addr, "host", ""))):
            return None
        return self._secure.buildProtocol(addr)


class _Incoming(Factory):
    noisy = False

    def __init__(self, network: "PeerNetwork") -> None:
        self._network = network

    def buildProtocol(self, addr: IAddress | None) -> "PeerLink":
        link = self._network.take()
        link.address = (str(getattr(addr, "host", "")), int(getattr(addr, "port", 0)))
        return link
