"""What does a program share among all its transfers? Its key, its disk pool, its wire, and the way to servers and
services.

A client of servers alone never uses the network's half of it, so that is imported and made when it is first asked for.
"""

from collections.abc import Sequence
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

from cryptography import x509

from p2sp.download.server_memory import ServerMemory
from p2sp.download.tally import Tally
from p2sp.net.addresses import Network
from p2sp.net.mirrors import mirror_policy
from p2sp.net.proxy import ProxySettings
from p2sp.net.throttle import TokenBucket
from p2sp.sources.http_credentials import Credentials
from p2sp.sources.http_lane import Deadlines
from p2sp.sources.http_probe import Connect
from p2sp.storage.pool import DiskPool

if TYPE_CHECKING:
    from twisted.web.iweb import IPolicyForHTTPS

    from p2sp.download.discovery import RememberedNames
    from p2sp.index.client import IndexClient
    from p2sp.net.api_client import ApiClient
    from p2sp.net.identity import Identity
    from p2sp.net.lan import Lan
    from p2sp.net.trust import Trust
    from p2sp.wire.listener import PeerNetwork

WINDOW_SECONDS = 0.125
LEAST_WINDOW = 32 * 1024
"""What a limited download lets wait unread on each of its connections: all that is lost when one of them is cut."""

BURST_SECONDS = 0.25
"""How far ahead of a rate limit bytes may run."""

SMALLEST_BURST = 32 * 1024


def bucket(rate: float | None) -> TokenBucket | None:
    """The limiter for a rate in bytes a second; None for no limit."""
    return None if not rate else TokenBucket(rate, max(rate * BURST_SECONDS, SMALLEST_BURST))


class Node:
    """One node of the network, with or without services to ask.

    `trust` and `identity` are for the network's services; HTTP servers are judged by the platform's authorities, and
    by the network's too where the node trusts one. Without an identity it makes a fresh one when somebody is to see
    it. `address` is the local address to connect from, `listen` address and port of the wire. A `generous` node serves
    others whatever they give, and tells trackers soon what it has fetched; `clear_text` has it speak with foreign
    BitTorrent clients too, `lan` call out what it shares on the networks it listens on. `authorities`, `credentials`
    and `proxy` are about servers: whom else to trust, what to tell them, through whom to reach them.
    """

    def __init__(
        self,
        reactor: Any,
        identity: "Identity | None" = None,
        *,
        rng: Random,
        trust: "Trust | None" = None,
        index: str | None = None,
        trackers: Sequence[str] = (),
        address: str | None = None,
        listen: tuple[str, int] | None = None,
        max_upload: float | None = None,
        max_download: float | None = None,
        slots: int = 8,
        generous: bool = False,
        clear_text: bool = False,
        lan: bool = False,
        connections: int = 4,
        deadlines: Deadlines | None = None,
        allowed: Sequence[Network] | None = None,
        authorities: Sequence[x509.Certificate] = (),
        credentials: Credentials | None = None,
        proxy: ProxySettings | None = None,
    ) -> None:
        self.reactor = reactor
        self.rng = rng
        self.trackers = list(trackers)
        self.connections = connections
        self.address = address
        self.download_limit = bucket(max_download)
        self.tally = Tally()
        self.memory: ServerMemory | None = None
        """What is known of servers from earlier runs, for a program that keeps it."""
        self._listen = listen
        self._trust = trust
        self._given = identity
        self.pool = DiskPool(reactor)
        self.connect = Connect(
            reactor,
            mirror_policy(trust, authorities),
            bind_address=address,
            deadlines=deadlines or Deadlines(),
            allowed=allowed,
            credentials=credentials,
            proxy=proxy,
            window=None if max_download is None else max(int(max_download * WINDOW_SECONDS), LEAST_WINDOW),
        )
        self._upload_limit = bucket(max_upload)
        self._slots = slots
        self.generous = generous
        self.clear_text = clear_text
        self.calls_out = lan
        self._index_api = self.api(index) if index else None

    @cached_property
    def identity(self) -> "Identity":
        """Our key and its certificate."""
        from p2sp.net.identity import create_identity

        return self._given or create_identity()

    @cached_property
    def names(self) -> "RememberedNames":
        """What DNS says, for trackers that are found by it."""
        from p2sp.download.discovery import RememberedNames, SystemNames

        return RememberedNames(SystemNames(self.reactor), self.reactor.seconds)

    @cached_property
    def wire(self) -> "PeerNetwork":
        """Our links with peers and super nodes."""
        from p2sp.wire.listener import PeerNetwork

        return PeerNetwork(
            self.reactor,
            self.identity,
            upload=self._upload_limit,
            slots=self._slots,
            generous=self.generous,
            rng=self.rng,
            clear_text=self.clear_text,
        )

    @cached_property
    def lan(self) -> "Lan | None":
        """Who finds nodes on our own network, where we are to be found there ourselves."""
        if self._listen is None or not self.calls_out:
            return None
        from p2sp.net.lan import Lan

        return Lan(self.reactor, self.identity.node_id, self._listen[0], lambda: self.port, self.rng)

    @cached_property
    def index(self) -> "IndexClient | None":
        """The network's index, if it has one."""
        if self._index_api is None:
            return None
        from p2sp.index.client import IndexClient

        return IndexClient(self._index_api)

    @cached_property
    def _services(self) -> "IPolicyForHTTPS":
        from p2sp.net.trust import client_policy

        return client_policy(self.identity, self._trust)

    def api(self, url: str) -> "ApiClient":
        """A client for one of the network's services, showing our key."""
        from p2sp.net.api_client import ApiClient

        return ApiClient(self.reactor, url, policy=self._services, bind_address=self.address)

    @property
    def port(self) -> int:
        """Where our wire listens; 0 for nowhere."""
        return self.wire.port if "wire" in vars(self) else 0

    def start(self) -> None:
        """Begin: threads for the disk, and the wire's listener. Raises CannotListen."""
        self.pool.start()
        if self._listen is not None:
            self.wire.listen(*self._listen)
        if self.lan is not None:
            self.lan.start()

    async def stop(self) -> None:
        """End in order: links, then what asks services, then the disk."""
        if "lan" in vars(self) and self.lan is not None:
            await self.lan.stop()
        if "wire" in vars(self):
            await self.wire.close()
        if self._index_api is not None:
            await self._index_api.close()
        await self.pool.stop()
