"""What may have a place on a super node, and how badly is it needed?"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs

from p2sp.manager.demand import Demand
from p2sp.manager.packing import Room
from p2sp.manager.placement import Admission, Decision, Limits, PlacementPolicy, Plan, Round
from p2sp.manager.reasons import hot, in_bytes, in_rate
from p2sp.manager.rules import Rule

WORTHLESS: Final = 1e-6
"""Need below which nothing is saved by holding it near."""


def slowness(demand: Demand, target_speed: float) -> float:
    """How far below the target clients are: 0 at or above it, 1 when nothing moves."""
    return min(max(1.0 - demand.speed / target_speed, 0.0), 1.0)


@attrs.frozen
class ValuePolicy:
    """Most pain saved per byte of cache.

    Value is demand times need, where need is the share imported from outside the ISP plus the slowness against the
    target, so between 0 and 2. Admission asks for clients and demand; what is in goes out only when its demand fades,
    or when a newcomer is clearly better and there is no room for both.
    """

    limits: Limits

    def decide(
        self,
        isp: str,
        demands: Sequence[Demand],
        rooms: Sequence[Room],
        standing: Sequence[Decision],
        now: float,
        rules: Iterable[Rule] = (),
        gone: Iterable[Decision] = (),
    ) -> Plan:
        return Round(isp, demands, rooms, standing, now, rules, gone, self.limits, self._admit).plan()

    def _admit(self, demand: Demand) -> Admission | None:
        limits = self.limits
        need = demand.imported + slowness(demand, limits.target_speed)
        if demand.clients < limits.min_clients or demand.volume < limits.min_demand or need < WORTHLESS:
            return None
        return Admission(need, hot(demand, limits.target_speed, limits.half_life))


@attrs.frozen
class ThresholdPolicy:
    """The plain rule: at least this volume, at most this speed; the largest demand per byte of cache first."""

    limits: Limits

    def decide(
        self,
        isp: str,
        demands: Sequence[Demand],
        rooms: Sequence[Room],
        standing: Sequence[Decision],
        now: float,
        rules: Iterable[Rule] = (),
        gone: Iterable[Decision] = (),
    ) -> Plan:
        return Round(isp, demands, rooms, standing, now, rules, gone, self.limits, self._admit).plan()

    def _admit(self, demand: Demand) -> Admission | None:
        limits = self.limits
        if demand.volume < limits.min_demand or demand.speed > limits.target_speed:
            return None
        reason = (
            f"volume {in_bytes(demand.volume)} is at least {in_bytes(limits.min_demand)} and speed "
            f"{in_rate(demand.speed)} at most {in_rate(limits.target_speed)}"
        )
        return Admission(1.0, reason)


POLICIES: Final[dict[str, Callable[[Limits], PlacementPolicy]]] = {"value": ValuePolicy, "threshold": ThresholdPolicy}
"""What a configuration may name."""
