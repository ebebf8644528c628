"""Is a node in our ISP that called us, when nobody has said so of it?"""

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

MOST = 2000
"""Addresses of which is remembered what trackers said."""

PREFIX = {4: 24, 6: 48}
"""Bits of an address that neighbours have in common: who shares them is where the others are."""


FIRST_WAIT = 0.1
QUESTIONS = 6
"""How often trackers are asked about who called us, and the seconds before the first time, doubled each time."""


class Whereabouts:
    """Remembers of which addresses trackers said that they are in our ISP, and takes neighbours to be there, too.

    About others `ask` is called: an announce more, which brings the trackers' answers through `told`.
    """

    def __init__(self, clock: IReactorTime, rng: Random, ask: Callable[[], None]) -> None:
        self._clock = clock
        self._rng = rng
        self._ask = ask
        self._asked = 0
        self._asking: IDelayedCall | None = None
        self._strangers: set[str] = set()
        self._hosts: dict[str, bool] = {}
        self._networks: dict[str, bool | None] = {}

    def told(self, host: str, *, local: bool) -> None:
        """A tracker named a node at that address."""
        if host not in self._hosts and len(self._hosts) >= MOST:
            return
        self._hosts[host] = local
        self._strangers.discard(host)
        network = _network_of(host)
        # Where some are and some are not nothing follows for the others.
        self._networks[network] = local if self._networks.get(network, local) is local else None

    def is_local(self, host: str) -> bool:
        """Whether a node at that address is in our ISP, as far as can be told."""
        known = self._hosts.get(host)
        return known if known is not None else bool(self._networks.get(_network_of(host)))

    def met(self, host: str) -> None:
        """Somebody called us from that address."""
        if host not in self._hosts and len(self._strangers) < MOST:
            self._strangers.add(host)
            self._ask_soon()

    def stop(self) -> None:
        """Ask no more."""
        self._asked = QUESTIONS
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _ask_soon(self) -> None:
        if self._asking is None and self._asked < QUESTIONS and self._strangers:
            wait = FIRST_WAIT * 2.0**self._asked * self._rng.uniform(1.0, 2.0)
            self._asked += 1
            self._asking = self._clock.callLater(wait, self._turn)

    def _turn(self) -> None:
        self._asking = None
        if self._strangers:
            self._ask()
            self._ask_soon()


def _network_of(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return str(ip_network((address, PREFIX[address.version]), strict=False))
