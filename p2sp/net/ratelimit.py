"""Has this address asked too often?"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

import attrs

from p2sp.net.throttle import TokenBucket

MOST_CLIENTS: Final = 16_384
# What one subscriber of an IPv6 provider holds; a limit per address would be no limit.
IPV6_PREFIX: Final = 64
AT_ONCE: Final = 8
"""Calls that a client may make at once however dear they are."""


@attrs.frozen
class RateLimit:
    """How often one client may call: `rate` a second in the long run, `burst` at once."""

    rate: float
    burst: float


@attrs.define
class RateTable:
    """A bucket for each client seen lately; the one unseen for longest is forgotten when the table is full."""

    limit: RateLimit
    most: int = MOST_CLIENTS
    _buckets: OrderedDict[str, TokenBucket] = attrs.field(factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._buckets)

    def wait(self, address: str, now: float, price: float = 1.0) -> float:
        """Count a call from `address`: 0.0 when it may go on, else in how many seconds it may be tried again.

        It counts as `price` calls, at least 1.0 and no more than the burst. The dearer a call, the less is left of
        what clients saved up at leisure, down to what is good for `AT_ONCE` calls.
        """
        client = client_key(address)
        bucket = self._buckets.get(client)
        if bucket is None:
            while len(self._buckets) >= self.most:
                self._buckets.popitem(last=False)
            bucket = self._buckets[client] = TokenBucket(self.limit.rate, self.limit.burst)
        else:
            self._buckets.move_to_end(client)
        if price > 1.0:
            bucket.trim(max(AT_ONCE * price, self.limit.burst / price**2))
        return bucket.try_take(price, now)


def client_key(address: str) -> str:
    """Whom an address stands for: itself, or for IPv6 its /64; what is no address stands for itself."""
    if ":" not in address:
        return address
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            # A socket for both kinds shows IPv4 in this way.
            return str(parsed.ipv4_mapped)
        return f"{int(parsed) >> (128 - IPV6_PREFIX):x}/{IPV6_PREFIX}"
    return str(parsed)
