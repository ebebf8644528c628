"""With which settings does each service of a network begin?"""

from ipaddress import ip_address

import attrs

from p2sp.site.layout import MAP, Service

PRIVATE = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
"""What super nodes of a network that is not public itself may fetch from."""


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
