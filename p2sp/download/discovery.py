"""Which trackers does the network we are in name in its DNS? (as BEP 22 finds local trackers)"""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

SCHEME: Final = "srv:"
"""Begins what stands among trackers for those that a domain's DNS names: `srv:campus.example`."""

SERVICE: Final = "_p2sp-tracker._tcp"
MOST_LEVELS: Final = 4
MOST_TRACKERS: Final = 4
TIMEOUTS: Final = (1, 2)
"""Seconds for each attempt at a look-up."""

_LARGEST_DOMAIN: Final = 200
_RESOLV_CONF: Final = Path("/etc/resolv.conf")


@attrs.frozen
class Service:
    """One SRV record (RFC 2782)."""

    host: str
    port: int
    priority: int = 0
    weight: int = 0


LookUp = Callable[[str], "Deferred[list[Service]]"]
_log = Logger()


async def local_trackers(domain: str, look_up: LookUp, rng: Random) -> list[str]:
    """URLs of the trackers of a domain, else of the one it is part of, and so on; the most wanted first.

    At most four levels are asked, never one of a single label. Names in DNS prove nothing: whoever answers there must
    show a certificate of the network. Whatever goes wrong finds nobody.
    """
    labels = domain.strip(".").split(".")
    if len(domain) > _LARGEST_DOMAIN or not all(labels):
        return []
    for _ in range(MOST_LEVELS):
        if len(labels) < 2:
            return []
        name = ".".join((SERVICE, *labels))
        try:
            found = await look_up(name)
        except Exception as error:  # noqa: BLE001 - a resolver fails in many ways, and none is worth a download
            _log.debug("{name} cannot be looked up: {error}", name=name, error=error)
            found = []
        if found:
            # Larger weights are likelier to come first among equal priorities.
            lots = {each: rng.random() ** (1.0 / max(each.weight, 0.01)) for each in found}
            ordered = sorted(lots, key=lambda each: (each.priority, -lots[each]))
            return [f"https://{each.host}:{each.port}" for each in ordered if each.host][:MOST_TRACKERS]
        labels = labels[1:]
    return []


def system_look_up(reactor: Any, servers: list[tuple[str, int]] | None = None) -> LookUp:
    """Look-ups at the servers the system uses, or at these."""
    from twisted.names import dns
    from twisted.names.client import Resolver

    resolver = Resolver(servers=servers or [("127.0.0.1", 53)], timeout=TIMEOUTS, reactor=reactor)
    if servers is None and _RESOLV_CONF.is_file():
        resolver.parseConfig(_RESOLV_CONF.read_bytes().splitlines())

    def read(result: Any) -> list[Service]:
        return [
            Service(str(each.payload.target).strip("."), each.payload.port, each.payload.priority, each.payload.weight)
            for each in result[0]
            if each.type == dns.SRV
        ]

    def look_up(name: str) -> "Deferred[list[Service]]":
        looking: Deferred[Any] = resolver.lookupService(name)
        return looking.addCallback(read)

    return look_up
