"""What may have a place on a super node, and how badly is it needed?"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import attrs

from p2sp.manager.demand import Demand
from p2sp.manager.placement import Admission, Limits, PlacementPolicy, Plan, Situation
from p2sp.manager.reasons import hot, in_bytes, in_rate
from p2sp.manager.rounds import Round

WORTHLESS: Final = 1e-6
"""Need below which nothing is saved by holding it near."""


def slowness(demand: Demand, target_speed: float) -> float:
    """How far below the target clients are: 0 at or above it, 1 when nothing moves."""
    return min(max(1.0 - demand.speed / target_speed, 0.0), 1.0)


@attrs.frozen
class _Admitting(ABC):
    """A policy that only has to say what may come in; what stays and where it goes is the same for all."""

    limits: Limits

    def decide(self, situation: Situation) -> Plan:
        return Round(situation, self.limits, self.admit).plan()

    @abstractmethod
    def admit(self, demand: Demand) -> Admission | None:
        """Whether something may come in, and how badly it is needed; None: it may not."""


@attrs.frozen
class ValuePolicy(_Admitting):
    """Most pain saved per byte of cache.

    Value is demand times need, where need is the share imported from outside the ISP plus the slowness against the
    target, so between 0 and 2. Admission asks for clients and demand; what is in goes out only when its demand fades,
    or when a newcomer is clearly better and there is no room for both.
    """

    def admit(self, demand: Demand) -> Admission | None:
        limits = self.limits
        need = demand.imported + slowness(demand, limits.target_speed)
        if demand.clients < limits.min_clients or demand.volume < limits.min_demand or need < WORTHLESS:
            return None
        return Admission(need, hot(demand, limits.target_speed, limits.half_life))


@attrs.frozen
class ThresholdPolicy(_Admitting):
    """The plain rule: at least this volume, at most this speed; the largest demand per byte of cache first."""

    def admit(self, demand: Demand) -> Admission | None:
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
