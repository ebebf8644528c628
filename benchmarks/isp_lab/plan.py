"""What does the little internet look like: which ISPs and hosts, at which addresses, how fast is each link?"""

from collections.abc import Sequence
from random import Random
from typing import Final

import attrs

MBIT: Final = 1_000_000.0
"""Bits a second."""

CONTROL: Final = "10.252.1.2"
"""Where index, global tracker, statistics, manager and foreign tracker are."""

ORIGIN: Final = "10.251.1.2"
EDGE_HOST: Final = 250
MOST_ISPS: Final = 100
MOST_HOSTS: Final = 240
MOST_MTU: Final = 9000
"""A packet has to fit into a shaper's bucket."""


@attrs.frozen
class Host:
    """A subscriber's machine; rates are those of its link in bits a second."""

    isp: int
    number: int
    up: float
    down: float

    @property
    def name(self) -> str:
        """Its name, and that of its namespace."""
        return f"h{self.isp}-{self.number}"

    @property
    def address(self) -> str:
        """Its only address."""
        return f"10.{self.isp}.{self.number}.2"


@attrs.frozen
class Isp:
    """A provider: its link to the rest of the world in both directions, its hosts, the link of the host at its exit."""

    number: int
    transit: float
    edge: float
    hosts: tuple[Host, ...]

    @property
    def name(self) -> str:
        """Its name in the network map, and that of its router's namespace."""
        return f"isp{self.number}"

    @property
    def prefix(self) -> str:
        """All of its addresses."""
        return f"10.{self.number}.0.0/16"

    @property
    def edge_name(self) -> str:
        """The namespace in which its local tracker and its super node run."""
        return f"e{self.number}"

    @property
    def edge_address(self) -> str:
        """The address of local tracker and super node."""
        return f"10.{self.number}.{EDGE_HOST}.2"


@attrs.frozen
class Plan:
    """The whole of it: ISPs around a core, to which the origin and the services are attached."""

    isps: tuple[Isp, ...]
    origin: float
    mtu: int = 1500

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every subscriber, ISP by ISP."""
        return tuple(host for isp in self.isps for host in isp.hosts)


def make_plan(
    isps: int,
    hosts: int,
    *,
    ups: Sequence[float],
    down: float,
    transit: float,
    origin: float,
    edge: float,
    mtu: int = 1500,
    seed: int = 1,
) -> Plan:
    """Equal ISPs; `ups` holds one upstream rate for all hosts, or the least and the most of what they get by lot.

    Of a range each ISP gets the same rates, evenly spread on a logarithmic scale, in an order of its own.
    `mtu` are the bytes of a packet on every link. Raises ValueError for what does not fit into the address plan.
    """
    if not 1 <= isps <= MOST_ISPS or not 1 <= hosts <= MOST_HOSTS:
        raise ValueError(f"1 to {MOST_ISPS} ISPs of 1 to {MOST_HOSTS} hosts each, not {isps} of {hosts}")
    if min(*ups, down, transit, origin, edge) <= 0:
        raise ValueError("every rate is more than 0")
    if not 1280 <= mtu <= MOST_MTU:
        raise ValueError(f"packets have 1280 to {MOST_MTU} bytes, not {mtu}")
    rng = Random(seed)
    made = []
    for isp in range(1, isps + 1):
        rates = _spread(min(ups), max(ups), hosts)
        rng.shuffle(rates)
        made.append(Isp(isp, transit, edge, tuple(Host(isp, n, rates[n - 1], down) for n in range(1, hosts + 1))))
    return Plan(tuple(made), origin, mtu)


def _spread(least: float, most: float, count: int) -> list[float]:
    return [least * (most / least) ** (n / max(count - 1, 1)) for n in range(count)]
