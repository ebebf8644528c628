"""Which resources shall each ISP's super nodes hold, and why?"""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import attrs

from p2sp.manager.demand import Demand
from p2sp.manager.knapsack import Item, choose

ADVANTAGE: Final = 1.3
"""How many times better a newcomer must be to push out what is held."""

RELEASE: Final = 0.25
"""Share of the demand needed to come in below which a resource goes out: wide apart, so that nothing flutters."""

MAX_ORDERS: Final = 10_000
"""Resources one super node is told to hold at the most."""

WORTHLESS: Final = 1e-6


@attrs.frozen
class Room:
    """A super node that is alive, and the bytes of its cache."""

    node_id: str
    capacity: int


@attrs.frozen
class Decision:
    """A super node shall hold a resource, and why.

    `need` is how badly the ISP needed it when it was admitted (see `need`): caching cures slowness, so this is never
    asked again while it stays. `value` is bytes of pain saved per byte of cache. `since` is seconds since 1970.
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


class PlacementPolicy(Protocol):
    """A rule for one ISP. Pure: the same question always gets the same answer."""

    def decide(
        self, isp: str, demands: Sequence[Demand], rooms: Sequence[Room], standing: Sequence[Decision], now: float
    ) -> Plan:
        """What the super nodes `rooms` of `isp` shall hold, given what was decided before (`standing`).

        Whatever stands ends up either placed (maybe elsewhere, when its node is gone) or dropped. No node gets more
        bytes than its capacity. While no super node of the ISP is alive, what stands and is wanted waits for it.
        """


@attrs.frozen
class Limits:
    """What a resource must reach to be admitted: distinct clients, bytes wanted, and the rate called fast (bytes/s)."""

    min_clients: int
    min_demand: float
    target_speed: float
    half_life: float


@attrs.frozen
class Claim:
    """A resource that may have a place: `weight` is what it is worth as a whole."""

    demand: Demand
    need: float
    weight: float
    reason: str
    standing: Decision | None = None


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
        self, isp: str, demands: Sequence[Demand], rooms: Sequence[Room], standing: Sequence[Decision], now: float
    ) -> Plan:
        return _plan(isp, demands, rooms, standing, now, self.limits, self._admit)

    def _admit(self, demand: Demand) -> Claim | None:
        limits = self.limits
        need = demand.imported + slowness(demand, limits.target_speed)
        if demand.clients < limits.min_clients or demand.volume < limits.min_demand or need < WORTHLESS:
            return None
        return Claim(demand, need, demand.volume * need, explain(demand, limits))


@attrs.frozen
class ThresholdPolicy:
    """The plain rule: at least this volume, at most this speed; the largest demand per byte of cache first."""

    limits: Limits

    def decide(
        self, isp: str, demands: Sequence[Demand], rooms: Sequence[Room], standing: Sequence[Decision], now: float
    ) -> Plan:
        return _plan(isp, demands, rooms, standing, now, self.limits, self._admit)

    def _admit(self, demand: Demand) -> Claim | None:
        limits = self.limits
        if demand.volume < limits.min_demand or demand.speed > limits.target_speed:
            return None
        reason = (
            f"volume {_bytes(demand.volume)} is at least {_bytes(limits.min_demand)} and speed "
            f"{_rate(demand.speed)} at most {_rate(limits.target_speed)}"
        )
        return Claim(demand, 1.0, demand.volume, reason)


POLICIES: Final[dict[str, Callable[[Limits], PlacementPolicy]]] = {"value": ValuePolicy, "threshold": ThresholdPolicy}
"""What a configuration may name."""


def explain(demand: Demand, limits: Limits) -> str:
    """Why a resource is wanted near, in words and numbers."""
    clients = f"{demand.clients} client{'' if demand.clients == 1 else 's'}"
    parts = [f"hot: {_bytes(demand.volume)} by {clients}, half-life {_duration(limits.half_life)}"]
    against = f"{_rate(demand.speed)} against {_rate(limits.target_speed)}"
    parts.append(f"{'slow' if slowness(demand, limits.target_speed) > 0 else 'fast enough'}: {against}")
    parts.append(f"{demand.imported:.0%} from outside the ISP")
    return "; ".join(parts)


def rendezvous(resource: str, rooms: Iterable[Room]) -> list[Room]:
    """The super nodes in the order in which they should hold a resource.

    Rendezvous hashing by SHA-256, weighted by capacity: each node gets its share, and when one comes or goes only
    what it holds moves.
    """

    def score(room: Room) -> float:
        digest = hashlib.sha256(f"{resource}:{room.node_id}".encode()).digest()
        # In (0, 1): the logarithm of neither end is of use.
        point = (int.from_bytes(digest[:7]) + 1) / (2**56 + 2)
        return -room.capacity / math.log(point)

    return sorted(rooms, key=lambda room: (-score(room), room.node_id))


def _plan(
    isp: str,
    demands: Sequence[Demand],
    rooms: Sequence[Room],
    standing: Sequence[Decision],
    now: float,
    limits: Limits,
    admit: Callable[[Demand], Claim | None],
) -> Plan:
    by_resource = {demand.resource: demand for demand in demands}
    stands = {decision.resource: decision for decision in standing}
    claims: list[Claim] = []
    dropped: list[Decision] = []
    for decision in stands.values():
        demand = by_resource.get(decision.resource)
        volume = 0.0 if demand is None else demand.volume
        if demand is None or volume < RELEASE * limits.min_demand:
            why = f"demand fell to {_bytes(volume)}, below {_bytes(RELEASE * limits.min_demand)}"
            dropped.append(attrs.evolve(decision, reason=why, since=now, value=0.0))
            continue
        demand = attrs.evolve(demand, length=max(demand.length, decision.length))
        claims.append(Claim(demand, decision.need, volume * decision.need, decision.reason, decision))
    for demand in demands:
        if demand.resource not in stands and demand.length > 0 and (claim := admit(demand)) is not None:
            claims.append(claim)
    if not rooms:
        # Nowhere to move to. Their need was proven before caching cured it and could not be proven again: they wait.
        waiting = [claim.standing for claim in claims if claim.standing is not None]
        return Plan(tuple(waiting), tuple(dropped))
    placed = _allocate(isp, claims, rooms, now)
    held = {decision.resource for decision in placed}
    newcomers = [decision for decision in placed if decision.resource not in stands]
    for claim in claims:
        if claim.standing is not None and claim.demand.resource not in held:
            why = _why_no_room(claim, rooms, newcomers)
            dropped.append(attrs.evolve(claim.standing, reason=why, since=now, value=_density(claim)))
    placed.sort(key=lambda decision: (-decision.value, decision.resource))
    return Plan(tuple(placed), tuple(dropped))


def _density(claim: Claim) -> float:
    return claim.weight / max(claim.demand.length, 1)


def _why_no_room(claim: Claim, rooms: Sequence[Room], newcomers: Sequence[Decision]) -> str:
    if all(room.capacity < claim.demand.length for room in rooms):
        return f"its {_bytes(claim.demand.length)} fit into no super node of the ISP any more"
    if not newcomers:
        return "the super nodes of the ISP have less room than before"
    best = max(decision.value for decision in newcomers)
    return f"gave way to what is worth more: {_density(claim):.2f} against up to {best:.2f} per byte of cache"


def _allocate(isp: str, claims: Sequence[Claim], rooms: Sequence[Room], now: float) -> list[Decision]:
    """Give every claim the first node in its order that has room for it, the most valuable claims first."""
    alive = {room.node_id: room for room in rooms}
    free = {room.node_id: room.capacity for room in rooms}
    orders = {room.node_id: 0 for room in rooms}
    choices = {claim.demand.resource: _preferred(claim, rooms, alive) for claim in claims}
    waiting = {claim.demand.resource: claim for claim in claims}
    placed: list[Decision] = []
    for turn in range(len(rooms)):
        by_node: dict[str, list[Claim]] = {}
        for resource, claim in waiting.items():
            by_node.setdefault(choices[resource][turn].node_id, []).append(claim)
        for node_id, here in by_node.items():
            chosen = _choose_here(here, node_id, free[node_id])
            for claim in chosen[: MAX_ORDERS - orders[node_id]]:
                del waiting[claim.demand.resource]
                free[node_id] -= claim.demand.length
                orders[node_id] += 1
                placed.append(_decision(isp, claim, node_id, alive, now))
        if not waiting:
            break
    return placed


def _preferred(claim: Claim, rooms: Sequence[Room], alive: dict[str, Room]) -> list[Room]:
    """Where it is comes first: moving costs a fill, and that is what we are here to save."""
    ranked = rendezvous(claim.demand.resource, rooms)
    if claim.standing is not None and (home := alive.get(claim.standing.node_id)) is not None:
        ranked.remove(home)
        ranked.insert(0, home)
    return ranked


def _choose_here(claims: Sequence[Claim], node_id: str, free: int) -> list[Claim]:
    held = frozenset(
        claim.demand.resource for claim in claims if claim.standing is not None and claim.standing.node_id == node_id
    )
    items = [
        Item(
            claim.demand.resource,
            claim.demand.length,
            claim.weight * (ADVANTAGE if claim.standing is not None else 1.0),
        )
        for claim in claims
    ]
    by_resource = {claim.demand.resource: claim for claim in claims}
    return [by_resource[item.key] for item in choose(items, free, kept=held)]


def _decision(isp: str, claim: Claim, node_id: str, alive: dict[str, Room], now: float) -> Decision:
    value = _density(claim)
    stood = claim.standing
    if stood is not None and stood.node_id == node_id:
        return attrs.evolve(stood, value=value, length=claim.demand.length)
    reason = claim.reason
    if stood is not None:
        cause = "has no room for it any more" if stood.node_id in alive else "is silent"
        reason = f"{_without_move(stood.reason)} (moved: {stood.node_id[:8]} {cause})"
    return Decision(
        isp=isp,
        resource=claim.demand.resource,
        node_id=node_id,
        length=claim.demand.length,
        need=claim.need,
        value=value,
        since=now,
        reason=reason,
    )


def _without_move(reason: str) -> str:
    return reason.partition(" (moved: ")[0]


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _rate(speed: float) -> str:
    for unit in ("B/s", "kB/s"):
        if speed < 1000:
            return f"{speed:.0f} {unit}"
        speed /= 1000
    return f"{speed:.1f} MB/s"


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length and seconds % length == 0 and seconds // length > 1:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
