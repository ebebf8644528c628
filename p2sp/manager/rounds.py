"""How does what is wanted become a plan for the super nodes of one ISP?"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs

from p2sp.manager.demand import Demand
from p2sp.manager.packing import Load, pack
from p2sp.manager.placement import Admission, Decision, Limits, Plan, Situation
from p2sp.manager.reasons import hot, in_bytes, in_rate
from p2sp.manager.rules import RuleKind, in_force

ADVANTAGE: Final = 1.3
"""How many times better a newcomer must be to push out what is held."""

RETURN: Final = 10.0
"""How many times more what gave way must be worth than then to come back."""

UNRIPE: Final = 0.01
"""The least that a history is taken to weigh."""

FULL: Final = 0.9
"""Share of the caches in use from which on they are called full."""

RETURN_AFTER: Final = 100.0
"""Half-lives after which a drop is forgotten."""

CHANCE: Final = 2.0
"""Standard deviations of chance by which a newcomer must be better besides."""

RELEASE: Final = 0.25
"""Share of the demand needed to come in below which a resource goes out: wide apart, so that nothing flutters."""

MOST_COPIES: Final = 8
"""Super nodes of one ISP that hold the same resource, however hot it is."""


@attrs.frozen
class _Claim:
    """One copy of a resource that may have a place.

    `weight` is what it is worth. `home` is the node where it stands or lies: what has one is held on to.
    """

    key: str
    resource: str
    length: int
    need: float
    weight: float
    reason: str
    standing: Decision | None = None
    home: str | None = None
    certain: bool = False

    @property
    def value(self) -> float:
        return self.weight / max(self.length, 1)


class Round:
    """One decision for one ISP: `admit` says what may come in (None: not), all else is the same for every policy."""

    def __init__(self, situation: Situation, limits: Limits, admit: Callable[[Demand], Admission | None]) -> None:
        self._isp = situation.isp
        self._demands = {demand.resource: demand for demand in situation.demands}
        self._rooms = {room.node_id: room for room in situation.rooms}
        self._now = situation.now
        self._rules = in_force(situation.rules, situation.isp, situation.now)
        self._limits = limits
        self._admit = admit
        self._stands: dict[str, list[Decision]] = {}
        for decision in sorted(situation.standing, key=lambda each: (each.since, each.node_id)):
            self._stands.setdefault(decision.resource, []).append(decision)
        self._whole: dict[str, list[str]] = {}
        for node_id, room in sorted(self._rooms.items()):
            for resource in (resource for resource, have in (room.holds or {}).items() if have >= 1.0):
                self._whole.setdefault(resource, []).append(node_id)
        self._gone = situation.gone
        self._ripe = max(situation.ripe, UNRIPE)
        self._bars: dict[str, float] = {}
        self._dropped: list[Decision] = []

    def plan(self) -> Plan:
        """What shall be in force; ask once."""
        claims = [claim for resource in self._stands for claim in self._claims(resource)]
        self._bars = self._bars_of(sum(claim.length for claim in claims))
        claims += [claim for resource in self._newcomers() for claim in self._claims(resource)]
        if not self._rooms:
            # Nowhere to move to. Need was proven before caching cured it and could not be proven again: all waits.
            waiting = [claim.standing for claim in claims if claim.standing is not None]
            return Plan(tuple(waiting), tuple(self._dropped))
        placed = self._place(claims)
        placed.sort(key=lambda decision: (-decision.value, decision.resource, decision.node_id))
        return Plan(tuple(placed), tuple(self._dropped))

    def _newcomers(self) -> list[str]:
        return [resource for resource in {**self._rules, **self._demands} if resource not in self._stands]

    def _claims(self, resource: str) -> list[_Claim]:
        """The copies of one resource that may have a place; what stands and may not is dropped on the way."""
        stands = self._stands.get(resource, [])
        demand = self._demands.get(resource)
        rule = self._rules.get(resource)
        volume = 0.0 if demand is None else demand.volume
        length = max([0 if demand is None else demand.length, *(each.length for each in stands)])
        if rule is not None and rule.kind is RuleKind.BLOCK:
            self._drop(stands, rule.reason())
            return []
        if rule is not None and (length or rule.length):
            admission = Admission(stands[0].need if stands else 1.0, rule.reason())
            claims = self._copies(resource, length or rule.length, volume, admission, stands)
            return [attrs.evolve(claims[0], certain=True, reason=rule.reason()), *claims[1:]]
        release = RELEASE * self._limits.min_demand
        if stands and (demand is None or volume < release):
            self._drop(stands, f"demand fell to {in_bytes(volume)}, below {in_bytes(release)}")
            return []
        if stands:
            return self._copies(resource, length, volume, Admission(stands[0].need, stands[0].reason), stands)
        if demand is None or length == 0:
            return []
        if resource in self._whole and volume >= self._limits.min_demand:
            return self._copies(resource, length, volume, self._kept(demand), stands)
        found = self._admit(demand)
        if found is None or volume * found.need / length < self._bars.get(resource, 0.0):
            return []
        return self._copies(resource, length, volume, found, stands)

    def _kept(self, demand: Demand) -> Admission:
        """Why what a super node holds without having been told to may stay, as after the loss of our memory.

        It costs nothing to come in, and that it comes fast and from inside is its own doing: without it all of it
        would come from outside.
        """
        found = self._admit(demand)
        need = 1.0 if found is None else max(found.need, 1.0)
        return Admission(need, f"held already; {hot(demand, self._limits.target_speed, self._limits.half_life)}")

    def _bars_of(self, used: int) -> dict[str, float]:
        """What a byte of cache must be worth for what gave way lately to come back, while the caches are full.

        Else it would come and go with every gap that happens to fit, and each time be fetched anew.
        """
        if used < FULL * sum(room.capacity for room in self._rooms.values()):
            return {}
        since = self._now - RETURN_AFTER * self._limits.half_life
        bars: dict[str, float] = {}
        for each in self._gone:
            if each.since > since:
                bars[each.resource] = max(bars.get(each.resource, 0.0), RETURN * each.value)
        return bars

    def _copies(
        self, resource: str, length: int, volume: float, admission: Admission, stands: Sequence[Decision]
    ) -> list[_Claim]:
        """The first copy is worth all that is wanted, each further one what the others cannot bear."""
        one = self._limits.copy_volume
        claims: list[_Claim] = []
        elsewhere = self._elsewhere(resource, stands)
        for copy in range(max(1, min(len(self._rooms), MOST_COPIES))):
            stood = stands[copy] if copy < len(stands) else None
            home = None if stood is None else stood.node_id
            if elsewhere and (stood is None or self._lacks(stood)):
                home = elsewhere.pop(0)
            share, reason = volume, admission.reason
            if copy:
                # Half a node's work apart, so that a copy neither comes nor goes for a little.
                share = min(volume - (copy - 0.5) * one, one)
                if share <= 0 or (stood is None and volume <= copy * one):
                    break
                rate = volume * math.log(2) / self._limits.half_life
                reason += f" (copy {copy + 1}: {in_rate(rate)}, {in_rate(self._limits.copy_rate)} per super node)"
            weight = share * admission.need
            reason = reason if stood is None else stood.reason
            claims.append(_Claim(f"{resource}/{copy}", resource, length, admission.need, weight, reason, stood, home))
        if self._rooms:
            self._drop(stands[len(claims) :], f"{len(claims)} of {len(stands)} copies are enough for what is wanted")
        else:
            claims += [
                _Claim(f"{resource}/{copy}", resource, length, stood.need, 0.0, stood.reason, stood, stood.node_id)
                for copy, stood in enumerate(stands[len(claims) :], len(claims))
            ]
        return claims

    def _elsewhere(self, resource: str, stands: Sequence[Decision]) -> list[str]:
        """The super nodes that have it whole without having been told to: there it need not be fetched."""
        told = {each.node_id for each in stands}
        return [node_id for node_id in self._whole.get(resource, ()) if node_id not in told]

    def _lacks(self, decision: Decision) -> bool:
        """Whether its super node says that it has nothing of it: not fetched yet, or lost."""
        room = self._rooms.get(decision.node_id)
        return room is not None and room.holds is not None and room.have(decision.resource) == 0.0

    def _drop(self, stands: Iterable[Decision], why: str, value: float = 0.0) -> None:
        self._dropped += [attrs.evolve(each, reason=why, since=self._now, value=value) for each in stands]

    def _place(self, claims: Sequence[_Claim]) -> list[Decision]:
        loads = [
            Load(
                key=claim.key,
                resource=claim.resource,
                size=claim.length,
                # Of a young history chance is the larger part: what is in stays, unless something is better by far.
                value=claim.weight * (1.0 if claim.home is None else _hold(claim) / self._ripe**2),
                home=claim.home,
                certain=claim.certain,
            )
            for claim in claims
            if claim.weight > 0 or claim.certain
        ]
        where = pack(loads, list(self._rooms.values()))
        placed = [self._decision(claim, where[claim.key]) for claim in claims if claim.key in where]
        newcomers = [claim for claim in claims if claim.key in where and claim.resource not in self._stands]
        for claim in claims:
            if claim.standing is not None and claim.key not in where:
                # As a long history would show it: else whatever went early on would come back as the history grows.
                self._drop([claim.standing], self._why_no_room(claim, newcomers), claim.value / self._ripe)
        return placed

    def _why_no_room(self, claim: _Claim, newcomers: Sequence[_Claim]) -> str:
        if all(room.capacity < claim.length for room in self._rooms.values()):
            return f"its {in_bytes(claim.length)} fit into no super node of the ISP any more"
        if not newcomers:
            return "the super nodes of the ISP have less room than before"
        best = max(newcomer.value for newcomer in newcomers)
        if best <= claim.value and any(newcomer.certain for newcomer in newcomers):
            return "gave way to what an operator wants there"
        return f"gave way to what is worth more: {claim.value:.2f} against up to {best:.2f} per byte of cache"

    def _decision(self, claim: _Claim, node_id: str) -> Decision:
        stood = claim.standing
        if stood is not None and stood.node_id == node_id:
            return attrs.evolve(stood, value=claim.value, length=claim.length, reason=claim.reason)
        reason = claim.reason
        if stood is not None:
            reason = f"{_without_move(stood.reason)} (moved: {stood.node_id[:8]} {self._why_moved(claim, stood)})"
        return Decision(
            isp=self._isp,
            resource=claim.resource,
            node_id=node_id,
            length=claim.length,
            need=claim.need,
            value=claim.value,
            since=self._now,
            reason=reason,
        )

    def _why_moved(self, claim: _Claim, stood: Decision) -> str:
        if stood.node_id not in self._rooms:
            return "is silent"
        if claim.home != stood.node_id:
            return "lacks it, and here it is"
        return "has no room for it any more"


def _hold(claim: _Claim) -> float:
    """How many times more what stands counts than a newcomer.

    Demand is downloads that come by chance: of few, one more or less is a large part, and says little. So what is
    large and seldom asked for is held on to more than what is small and often.
    """
    downloads = claim.weight / max(claim.need * claim.length, 1.0)
    return ADVANTAGE * (1.0 + CHANCE / math.sqrt(max(downloads, 1.0)))


def _without_move(reason: str) -> str:
    return reason.partition(" (moved: ")[0]
