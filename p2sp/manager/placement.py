"""What does a placement policy look at, and what does it answer?"""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from p2sp.manager.demand import Demand
from p2sp.manager.packing import Room
from p2sp.manager.rules import Rule


@attrs.frozen
class Decision:
    """A super node shall hold a resource, and why.

    `need` is how badly the ISP needed it when it was admitted: caching cures slowness, so this is never asked again
    while it stays. `value` is bytes of pain saved per byte of cache. `since` is seconds since 1970.
    """

    isp: str
    resource: str
    node_id: str
    length: int
    need: float
    value: float
    since: float
    reason: str


@attrs.frozen
class Plan:
    """What shall be in force from now on, most valuable first, and what was given up, each with its reason."""

    placed: tuple[Decision, ...]
    dropped: tuple[Decision, ...]


@attrs.frozen
class Limits:
    """What a resource must reach to be admitted: distinct clients, bytes wanted, and the rate called fast (bytes/s).

    `half_life` is that of the demand, in seconds. A resource wanted at more than `copy_rate` (bytes/s) is put onto
    several super nodes.
    """

    min_clients: int
    min_demand: float
    target_speed: float
    half_life: float
    copy_rate: float = math.inf

    @property
    def copy_volume(self) -> float:
        """The demand (bytes, decayed) of a resource that is steadily wanted at `copy_rate`."""
        return self.copy_rate * self.half_life / math.log(2)


@attrs.frozen
class Admission:
    """Why a resource may come in, and how badly it is needed."""

    need: float
    reason: str


@attrs.frozen
class Situation:
    """All there is to know of one ISP at `now`.

    `demands` is what it wants, `rooms` are the super nodes that can be counted on, `standing` what was decided before,
    `rules` what operators said, `gone` what was dropped lately. `ripe` is how much of what a long history would weigh
    that of the demand does.
    """

    isp: str
    demands: Sequence[Demand]
    rooms: Sequence[Room]
    standing: Sequence[Decision]
    now: float
    rules: Iterable[Rule] = ()
    gone: Iterable[Decision] = ()
    ripe: float = 1.0


class PlacementPolicy(Protocol):
    """A rule for one ISP. Pure: the same situation always gets the same answer."""

    def decide(self, situation: Situation) -> Plan:
        """What the super nodes of the ISP shall hold.

        Whatever stands ends up either placed (maybe elsewhere, when its node is gone) or dropped. No node gets more
        bytes than its capacity. While no super node of the ISP is alive, what stands and is wanted waits for it. What
        operators said comes first. While the caches are full, what was dropped lately comes back only when it is worth
        more than it was then, unless it is still there: what nobody has to fetch may always come in.
        """
