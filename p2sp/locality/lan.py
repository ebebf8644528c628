"""Are two addresses one and the same local network, as seen from outside?"""

from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import Final

_NETWORK_BITS: Final = 64


def same_lan(host: str, other: str) -> bool:
    """Whether two observed addresses are one subscriber's: the same one, or in the same /64 of IPv6.

    Loopback is nobody's network: whatever talks over it shares a machine, as a whole network in a test does.
    """
    if ":" in host and ":" in other:
        one, two = _network(host), _network(other)
        return one is not None and one == two
    return host == other and bool(host) and not host.startswith("127.")


def lan_of(host: str) -> Callable[[str], bool]:
    """`same_lan` with one of the two known; one of IPv4 needs no more than a look at the other."""
    if not same_lan(host, host):
        return lambda other: False
    return partial(same_lan, host) if ":" in host else host.__eq__


def _network(host: str) -> int | None:
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if not isinstance(parsed, IPv6Address) or parsed.is_loopback:
        return None
    return int(parsed) >> (128 - _NETWORK_BITS)
