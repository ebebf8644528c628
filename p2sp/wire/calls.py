"""By which way is another node called?"""

from ipaddress import ip_address
from typing import Any, Final

from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from p2sp.net.identity import Identity
from p2sp.net.reading import TLSEndpoint
from p2sp.net.trust import Pinning
from p2sp.wire.link import ALPN

CONNECT_SECONDS: Final = 10.0

HEAD_START: Final = 0.3
"""Seconds after which a name's next address is tried beside the one that does not answer (RFC 8305)."""


class Ways:
    """Connections to others: through TLS to a node whose key is known, in clear text to a foreign client."""

    def __init__(self, reactor: Any, identity: Identity) -> None:
        self._reactor = reactor
        self._pinning = Pinning(identity, alpn=ALPN)

    def to(self, host: str, port: int, node_id: str, bind_address: str | None) -> IStreamClientEndpoint:
        """The way to an address or a name; an empty node id is a foreign client's.

        Of a name all addresses are tried, a little after one another, and the first that answers is taken.
        """
        bind = (bind_address, 0) if bind_address else None
        endpoint: IStreamClientEndpoint
        try:
            version = ip_address(host).version
        except ValueError:
            endpoint = HostnameEndpoint(
                self._reactor, host, port, timeout=CONNECT_SECONDS, bindAddress=bind, attemptDelay=HEAD_START
            )
        else:
            kind = TCP4ClientEndpoint if version == 4 else TCP6ClientEndpoint
            endpoint = kind(self._reactor, host, port, timeout=CONNECT_SECONDS, bindAddress=bind)
        if not node_id:
            return endpoint
        return TLSEndpoint(self._pinning.to(node_id), endpoint, IReactorTime(self._reactor))
