"""What does a program share among all its transfers? Its key, its disk pool, its wire, and the way to servers and
services.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from cryptography import x509

from p2sp.download.server_memory import ServerMemory
from p2sp.index.client import IndexClient
from p2sp.net.addresses import Network
from p2sp.net.api_client import ApiClient
from p2sp.net.identity import Identity
from p2sp.net.mirrors import mirror_policy
from p2sp.net.proxy import ProxySettings
from p2sp.net.throttle import TokenBucket
from p2sp.net.trust import Trust, client_policy
from p2sp.sources.http_credentials import Credentials
from p2sp.sources.http_lane import Deadlines
from p2sp.sources.http_probe import Connect
from p2sp.storage.pool import DiskPool
from p2sp.wire.listener import PeerNetwork

BURST_SECONDS = 0.25
"""How far ahead of a rate limit bytes may run."""

SMALLEST_BURST = 32 * 1024


def bucket(rate: float | None) -> TokenBucket | None:
    """The limiter for a rate in bytes a second; None for no limit."""
    return None if not rate else TokenBucket(rate, max(rate * BURST_SECONDS, SMALLEST_BURST))


class Node:
    """One node of the network, with or without services to ask.

    `trust` and `identity` are for the network's services; HTTP servers are judged by the platform's authorities, and
    by the network's too where the node trusts one. `address` is the local address to connect from, `listen` address
    and port of the wire; `clear_text` has it speak with foreign BitTorrent clients too. `authorities`, `credentials` and `proxy` are about servers: whom else to trust, what to tell
    them, through whom to reach them.
    """

    def __init__(
        self,
        reactor: Any,
        identity: Identity,
        *,
        rng: Random,
        trust: Trust | None = None,
        index: str | None = None,
        trackers: Sequence[str] = (),
        address: str | None = None,
        listen: tuple[str, int] | None = None,
        max_upload: float | None = None,
        max_download: float | None = None,
        slots: int = 8,
        clear_text: bool = False,
        connections: int = 4,
        deadlines: Deadlines | None = None,
        allowed: Sequence[Network] | None = None,
        authorities: Sequence[x509.Certificate] = (),
        credentials: Credentials | None = None,
        proxy: ProxySettings | None = None,
    ) -> None:
        self.reactor = reactor
        self.identity = identity
        self.rng = rng
        self.trackers = list(trackers)
        self.connections = connections
        self.address = address
        self.download_limit = bucket(max_download)
        self.memory: ServerMemory | None = None
        """What is known of servers from earlier runs, for a program that keeps it."""
        self._listen = listen
        self._trust = trust
        self._services = client_policy(identity, trust)
        self.pool = DiskPool(reactor)
        self.connect = Connect(
            reactor,
            mirror_policy(trust, authorities),
            bind_address=address,
            deadlines=deadlines or Deadlines(),
            allowed=allowed,
            credentials=credentials,
            proxy=proxy,
        )
        self.wire = PeerNetwork(reactor, identity, upload=bucket(max_upload), slots=slots, clear_text=clear_text)
        self._index_api = self.api(index) if index else None
        self.index = IndexClient(self._index_api) if self._index_api is not None else None

    def api(self, url: str) -> ApiClient:
        """A client for one of the network's services, showing our key."""
        return ApiClient(self.reactor, url, policy=self._services, bind_address=self.address)

    @property
    def port(self) -> int:
        """Where our wire listens; 0 for nowhere."""
        return self.wire.port

    def start(self) -> None:
        """Begin: threads for the disk, and the wire's listener. Raises CannotListen."""
        self.pool.start()
        if self._listen is not None:
            self.wire.listen(*self._listen)

    async def stop(self) -> None:
        """End in order: links, then what asks services, then the disk."""
        await self.wire.close()
        if self._index_api is not None:
            await self._index_api.close()
        await self.pool.stop()
