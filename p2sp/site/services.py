"""With which settings does each service of a network begin?"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

import attrs

from p2sp.site.layout import MAP, Service

PRIVATE = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""What super nodes of a network that is not public itself may fetch from."""


METRICS: Final = 1000
"""So far behind a service's port are its metrics, on loopback."""

PAGES: Final = 2000
"""So far behind is its page for people, if it has one."""


def watched(service: Service) -> Service:
    """The same service with metrics, for whoever is on its machine."""
    return attrs.evolve(service, settings={**service.settings, "metrics": _near(service, METRICS)})


def shown(service: Service, index: str, links: Mapping[str, Service]) -> Service:
    """The same service with a page, which calls resources by the names that `index` knows."""
    more = {
        "index": index,
        "pages": _near(service, PAGES),
        "pages_links": {name: page_url(other) for name, other in links.items()},
    }
    return attrs.evolve(service, settings={**service.settings, **more})


def page_url(service: Service) -> str:
    """Where the page of a service is, seen from its own machine."""
    return f"http://{_near(service, PAGES)}/"


def _near(service: Service, beyond: int) -> str:
    """An address on loopback for a service that may be known by any other."""
    try:
        address = ip_address(service.address)
    except ValueError:
        return f"127.0.0.1:{service.port + beyond}"
    host = service.address if address.is_loopback else "::1" if address.version == 6 else "127.0.0.1"
    return f"[{host}]:{service.port + beyond}" if ":" in host else f"{host}:{service.port + beyond}"


@attrs.frozen
class Centre:
    """Where the services are that a network has once: their URLs."""

    index: str
    tracker: str
    statistics: str
    manager: str

    def supernode(self, name: str, host: str, port: int) -> Service:
        """A super node, HTTPS on `port` and the wire on the next."""
        return Service(
            "supernode",
            name,
            host,
            port,
            {
                "public_url": Service("supernode", name, host, port).url,
                "manager": self.manager,
                "index": self.index,
                "trackers": [self.tracker],
                "capacity": "10 GiB",
                "wire": _wire(host, port + 1),
                "allow_targets": [] if _is_public(host) else list(PRIVATE),
            },
        )

    def peer(self, name: str, host: str, port: int) -> Service:
        """A peer that seeds a folder, its health on `port` and the wire on the next."""
        settings = {"folder": "seed", "wire": _wire(host, port + 1), "index": self.index, "trackers": [self.tracker]}
        return Service("peer", name, host, port, settings)

    def local_tracker(self, name: str, host: str, port: int, isp: str) -> Service:
        """The tracker of one ISP of the network map."""
        settings = {
            "scope": "local",
            "isps": [isp],
            "network_map": MAP,
            "public_url": Service("tracker", name, host, port).url,
            "global_tracker": self.tracker,
            "statistics": self.statistics,
        }
        return Service("tracker", name, host, port, settings)


def _wire(host: str, port: int) -> str:
    try:
        return f"[{host}]:{port}" if ip_address(host).version == 6 else f"{host}:{port}"
    except ValueError:
        return f"0.0.0.0:{port}"


def _is_public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        return False
