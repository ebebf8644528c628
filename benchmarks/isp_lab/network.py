"""How is a plan built from namespaces and shaped links, and how are the bytes on them counted?

Every host, router and server is a namespace; each link is a veth pair, shaped by `tc tbf` on the sender of each
direction. What makes it exact: segmentation offloads are off (a frame of 64 KiB does not fit a small bucket), buckets
of 10 ms, and queues of 60 ms as a home router might have.
"""

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import attrs

from benchmarks.isp_lab.plan import CONTROL, ORIGIN, Isp, Plan

CORE: Final = "core"
ORIGIN_NAME: Final = "origin"
CONTROL_NAME: Final = "control"
ORIGIN_LINK: Final = "to-origin"
HEADERS: Final = 66
"""Bytes of Ethernet, IPv4 and TCP with timestamps around what a frame carries."""

_LEAST_BURST: Final = 16_000
_LATENCY: Final = "60ms"
_SOON: Final = 30.0


@attrs.frozen
class Count:
    """What went through a link in one direction: bytes of frames, and how many of them."""

    bytes: int = 0
    packets: int = 0

    @property
    def payload(self) -> int:
        """Bytes without headers, where all of it is TCP."""
        return max(self.bytes - self.packets * HEADERS, 0)

    def since(self, before: Self) -> Self:
        """What came in between."""
        return attrs.evolve(self, bytes=self.bytes - before.bytes, packets=self.packets - before.packets)


@attrs.frozen
class Counts:
    """What went over the links that cost: from the origin, into each ISP and out of it."""

    origin: Count
    imported: dict[str, Count]
    exported: dict[str, Count]

    def since(self, before: "Counts") -> "Counts":
        """What came in between."""
        return Counts(
            self.origin.since(before.origin),
            {name: count.since(before.imported[name]) for name, count in self.imported.items()},
            {name: count.since(before.exported[name]) for name, count in self.exported.items()},
        )


def in_namespace(name: str, command: Sequence[str]) -> list[str]:
    """The command line that runs a command in a namespace."""
    return ["ip", "netns", "exec", name, *command]


class Network:
    """A plan that stands. Everything is inside the lab's sandbox and goes with it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def build(self) -> None:
        """Make namespaces and links. Raises CalledProcessError or TimeoutExpired."""
        self._namespace(CORE)
        self._link(ORIGIN_NAME, ORIGIN, CORE, ORIGIN_LINK, up=self.plan.origin, down=self.plan.origin)
        self._link(CONTROL_NAME, CONTROL, CORE, "to-control")
        for isp in self.plan.isps:
            self._isp(isp)

    def _isp(self, isp: Isp) -> None:
        self._link(isp.name, f"10.250.{isp.number}.2", CORE, isp.name, up=isp.transit, down=isp.transit)
        _ip(CORE, "route", "add", isp.prefix, "via", f"10.250.{isp.number}.2")
        self._link(isp.edge_name, isp.edge_address, isp.name, "edge", up=isp.edge, down=isp.edge)
        for host in isp.hosts:
            self._link(host.name, host.address, isp.name, host.name, up=host.up, down=host.down)

    def _namespace(self, name: str) -> None:
        _run(["ip", "netns", "add", name])
        _ip(name, "link", "set", "lo", "up")
        # One race is not to know what the last one learned of the paths.
        _run(in_namespace(name, ["sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv4.tcp_no_metrics_save=1"]))

    def _link(
        self, name: str, address: str, router: str, port: str, *, up: float | None = None, down: float | None = None
    ) -> None:
        """A new namespace behind a router: its one interface is `up0` there and `port` at the router."""
        self._namespace(name)
        _run(["ip", "link", "add", "up0", "netns", name, "type", "veth", "peer", "name", port, "netns", router])
        gateway = address.rpartition(".")[0] + ".1"
        for place, device, own in ((name, "up0", address), (router, port, gateway)):
            _run(in_namespace(place, ["ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off"]))
            _ip(place, "addr", "add", f"{own}/24", "dev", device)
            _ip(place, "link", "set", device, "mtu", str(self.plan.mtu), "up")
        _ip(name, "route", "add", "default", "via", gateway)
        for place, device, rate in ((name, "up0", up), (router, port, down)):
            if rate is not None:
                _shape("add", place, device, rate)

    def throttle_origin(self, rate: float) -> None:
        """Have the origin give no more than this from now on, in bits a second."""
        _shape("change", ORIGIN_NAME, "up0", rate)

    def counts(self) -> Counts:
        """What has gone over the links that cost, so far."""
        links = links_of(CORE)
        return Counts(
            origin=links[ORIGIN_LINK][0],
            imported={isp.name: links[isp.name][1] for isp in self.plan.isps},
            exported={isp.name: links[isp.name][0] for isp in self.plan.isps},
        )

    def ends(self) -> dict[str, tuple[int, int]]:
        """Bytes of frames that each host and each ISP's edge has sent and received so far."""
        ends: dict[str, tuple[int, int]] = {}
        for isp in self.plan.isps:
            links = links_of(isp.name)
            for port, name in (("edge", isp.edge_name), *((host.name, host.name) for host in isp.hosts)):
                ends[name] = links[port][0].bytes, links[port][1].bytes
        return ends


def links_of(namespace: str) -> dict[str, tuple[Count, Count]]:
    """What each interface of a namespace has received and sent so far."""
    done = subprocess.run(
        ["ip", "-s", "-j", "-n", namespace, "link"], check=True, capture_output=True, text=True, timeout=_SOON
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return {
        link["ifname"]: (_count(link["stats64"]["rx"]), _count(link["stats64"]["tx"]))
        for link in found
        if link["ifname"] != "lo"
    }


def _count(stats: dict[str, int]) -> Count:
    return Count(stats["bytes"], stats["packets"])


def _shape(verb: str, place: str, device: str, rate: float) -> None:
    burst = max(_LEAST_BURST, int(rate / 8 / 100))
    shape = ["tbf", "rate", f"{int(rate)}bit", "burst", str(burst), "latency", _LATENCY]
    _run(["tc", "-n", place, "qdisc", verb, "dev", device, "root", *shape])


def _ip(namespace: str, *arguments: str) -> None:
    _run(["ip", "-n", namespace, *arguments])


def _run(command: Iterable[str | Path]) -> None:
    subprocess.run([*command], check=True, timeout=_SOON)
