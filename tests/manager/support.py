"""What do the tests of the manager build again and again?"""

from collections.abc import Iterable, Sequence

from p2sp.manager.demand import Demand
from p2sp.manager.packing import Room
from p2sp.manager.placement import Decision, Limits, PlacementPolicy, Plan, Situation
from p2sp.manager.rules import Rule
from p2sp.sketches.distinct import sketch_of
from p2sp.statistics.schema import Rollup

MIB = 1024 * 1024
LIMITS = Limits(min_clients=2, min_demand=16 * MIB, target_speed=8_000_000, half_life=60.0)


def rid(number: int) -> str:
    """A resource id."""
    return f"{number:064x}"


def rollup(
    resource: str = rid(1),
    *,
    isp: str | None = "campus",
    start: float = 0.0,
    seconds: float = 60.0,
    server: int = 0,
    supernode: int = 0,
    peer_local: int = 0,
    peer_remote: int = 0,
    clients: int = 1,
    speed: float = 1_000_000.0,
    length: int = 64 * MIB,
    completed: int = 0,
    revision: int = 1,
    first_client: int = 0,
) -> Rollup:
    """A rollup with what matters to a test and plain values for the rest."""
    return Rollup(
        isp=isp,
        resource=resource,
        start=start,
        seconds=seconds,
        server=server,
        supernode=supernode,
        peer_local=peer_local,
        peer_remote=peer_remote,
        fill=0,
        clients=clients,
        speed=speed,
        stalled_ms=0,
        length=length,
        completed=completed,
        revision=revision,
        nodes=sketch_of(f"client {n}" for n in range(first_client, first_client + clients)),
    )


def demand(
    resource: str = rid(1),
    *,
    length: int = 64 * MIB,
    volume: float = 96.0 * MIB,
    clients: int = 3,
    imported: float = 0.71,
    speed: float = 900_000.0,
) -> Demand:
    """A resource that is hot and slow, unless said otherwise."""
    return Demand("campus", resource, length, volume, clients, imported, speed)


def decision(resource: str = rid(1), node_id: str = "a" * 64, *, length: int = 64 * MIB, need: float = 1.5) -> Decision:
    """Something that was placed before."""
    return Decision("campus", resource, node_id, length, need, 1.0, 5.0, "hot: then")


def decide(
    policy: PlacementPolicy,
    demands: Sequence[Demand],
    rooms: Sequence[Room],
    standing: Sequence[Decision] = (),
    now: float = 9.0,
    rules: Iterable[Rule] = (),
    gone: Iterable[Decision] = (),
) -> Plan:
    """What a policy says to a situation on the campus."""
    return policy.decide(Situation("campus", demands, rooms, standing, now, rules, gone))
