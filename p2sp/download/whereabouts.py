"""Is a node in our ISP that called us, when nobody has said so of it?"""

from ipaddress import ip_address, ip_network

MOST = 2000
"""Addresses of which is remembered what trackers said."""

PREFIX = {4: 24, 6: 48}
"""Bits of an address that neighbours have in common: who shares them is where the others are."""


class Whereabouts:
    """Remembers of which addresses trackers said that they are in our ISP, and takes neighbours to be there, too."""

    def __init__(self) -> None:
        self._hosts: dict[str, bool] = {}
        self._networks: dict[str, bool | None] = {}

    def told(self, host: str, *, local: bool) -> None:
        """A tracker named a node at that address."""
        if host not in self._hosts and len(self._hosts) >= MOST:
            return
        self._hosts[host] = local
        network = _network_of(host)
        # Where some are and some are not nothing follows for the others.
        self._networks[network] = local if self._networks.get(network, local) is local else None

    def is_local(self, host: str) -> bool:
        """Whether a node at that address is in our ISP, as far as can be told."""
        known = self._hosts.get(host)
        return known if known is not None else bool(self._networks.get(_network_of(host)))


def _network_of(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return str(ip_network((address, PREFIX[address.version]), strict=False))
