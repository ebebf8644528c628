"""How do statistics turn into orders for super nodes, round after round?"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import attrs
from twisted.logger import Logger

from p2sp.manager.demand import HORIZON, DemandTable
from p2sp.manager.interfaces import INodeRegistry, SuperNode
from p2sp.manager.placement import MAX_ORDERS, Decision, PlacementPolicy, Room
from p2sp.manager.schema import Heartbeat, HeartbeatAnswer, Held, NodeView, Order, Placement
from p2sp.net.errors import NetError
from p2sp.statistics.schema import RollupPage

MAX_PAGES: Final = 200
"""Pages of rollups read in one round."""

MAX_NODES: Final = 10_000
"""Super nodes that take part in decisions."""

SILENT_INTERVALS: Final = 3
"""Heartbeats a super node may miss before it counts as gone."""

GRACE: Final = 86_400.0
"""Seconds: after a start, nodes seen within this count as alive until they had the time to come back."""

FORGOTTEN: Final = 30 * 86_400.0
"""Seconds of silence after which a super node is no longer listed."""


class RollupSource(Protocol):
    """Where rollups come from: the statistics server's client."""

    async def rollups(self, cursor: int) -> RollupPage: ...


@attrs.define
class _Presence:
    """What a super node said of its cache in its last heartbeat; not worth keeping over a restart."""

    held: dict[str, Held]


class Manager:
    """The manager's control loop: `sync` reads the statistics, `decide` places, `heartbeat` gives orders.

    `now` is a clock of seconds since 1970, `isp_of` names the ISP of an address, `isps` that of a node id where the
    operator knows better. `heartbeat_interval` is in seconds.
    """

    log = Logger()

    def __init__(
        self,
        registry: INodeRegistry,
        statistics: RollupSource,
        demand: DemandTable,
        policy: PlacementPolicy,
        *,
        now: Callable[[], float],
        isp_of: Callable[[str], str | None],
        isps: Mapping[str, str],
        heartbeat_interval: float,
    ) -> None:
        self._registry = registry
        self._statistics = statistics
        self._demand = demand
        self._policy = policy
        self._now = now
        self._isp_of = isp_of
        self._isps = dict(isps)
        self._heartbeat_interval = heartbeat_interval
        self._presence: dict[str, _Presence] = {}
        self._started = now()
        self._cursor: int | None = None
        self._checkpoint = float("-inf")
        self._informed = float("-inf")
        self._away = False

    @property
    def informed(self) -> bool:
        """Whether the statistics were read to their end at least once since the start."""
        return self._informed > float("-inf")

    async def sync(self) -> bool:
        """Read what is new in the statistics; whether there is more to read at once.

        A statistics server that is away is news for the log; demand then stands still instead of fading.
        """
        if self._cursor is None:
            # From far enough back to rebuild all the demand that still counts: it is kept in memory only.
            self._cursor = await self._registry.cursor(self._now() - HORIZON * self._demand.half_life)
        try:
            more = await self._read(self._cursor)
        except NetError as error:
            if not self._away:
                self.log.warn("no statistics: {error}; what is placed stays", error=error)
            self._away = True
            return False
        if self._away:
            self.log.info("the statistics are back")
            self._away = False
        if not more:
            self._informed = self._now()
            await self._remember(self._cursor)
        return more

    async def _read(self, cursor: int) -> bool:
        for _ in range(MAX_PAGES):
            page = await self._statistics.rollups(cursor)
            if not page.rollups and cursor > 0 and await self._lost(cursor):
                self.log.warn("the statistics have begun anew; they are read from the start")
                self._demand.renumber()
                cursor = self._cursor = 0
                continue
            self._demand.take(page.rollups, self._now())
            cursor = self._cursor = page.cursor
            if not page.more:
                return False
        return True

    async def _lost(self, cursor: int) -> bool:
        """Whether the statistics no longer have the last rollup they gave: only a new or pruned database has not."""
        return not (await self._statistics.rollups(cursor - 1)).rollups

    async def _remember(self, cursor: int) -> None:
        if self._informed - self._checkpoint >= self._demand.half_life / 4:
            self._checkpoint = self._informed
            await self._registry.checkpoint(self._informed, cursor)
            await self._registry.cursor(self._informed - HORIZON * self._demand.half_life)

    async def decide(self) -> None:
        """Decide for every ISP what its super nodes shall hold. Nothing moves before the statistics were read once."""
        if not self.informed:
            return
        now = self._now()
        await self._registry.forget(now - FORGOTTEN)
        rooms = await self._rooms(now)
        standing: dict[str, list[Decision]] = {}
        for decision in await self._registry.standing():
            standing.setdefault(decision.isp, []).append(decision)
        for isp in sorted(rooms.keys() | standing.keys()):
            before = standing.get(isp, [])
            # As of the last news: while the statistics are away nobody's demand fades.
            wanted = self._demand.wanted(isp, self._informed)
            plan = self._policy.decide(isp, wanted, rooms.get(isp, []), before, now)
            known = {(decision.resource, decision.node_id) for decision in before}
            for decision in plan.placed:
                if (decision.resource, decision.node_id) not in known:
                    self._tell("{isp}: {resource} onto {node}: {reason}", decision)
            for decision in plan.dropped:
                self._tell("{isp}: {resource} off {node}: {reason}", decision)
            await self._registry.enact(isp, plan)

    def _tell(self, text: str, decision: Decision) -> None:
        self.log.info(
            text, isp=decision.isp, resource=decision.resource, node=decision.node_id[:16], reason=decision.reason
        )

    async def _rooms(self, now: float) -> dict[str, list[Room]]:
        rooms: dict[str, list[Room]] = {}
        nodes = await self._registry.nodes(0, MAX_NODES)
        for forgotten in self._presence.keys() - {node.node_id for node in nodes}:
            del self._presence[forgotten]
        for node in nodes:
            if node.isp is not None and self._present(node, now):
                rooms.setdefault(node.isp, []).append(Room(node.node_id, node.capacity))
        return rooms

    def _alive(self, node: SuperNode, now: float) -> bool:
        return now - node.seen <= SILENT_INTERVALS * self._heartbeat_interval

    def _present(self, node: SuperNode, now: float) -> bool:
        """Whether to count on it: a node must not lose its placements because the manager was down."""
        if self._alive(node, now):
            return True
        starting = now - self._started <= SILENT_INTERVALS * self._heartbeat_interval
        return starting and node.seen > self._started - GRACE

    async def heartbeat(self, node_id: str, address: str, beat: Heartbeat) -> HeartbeatAnswer:
        """Take a super node's state, answer with the state it shall have. `address` is the one observed."""
        isp = self._isps.get(node_id) or self._isp_of(address)
        if isp is None and node_id not in self._presence:
            self.log.warn("super node {node} at {address} is in no known ISP", node=node_id[:16], address=address)
        if node_id in self._presence or len(self._presence) < MAX_NODES:
            self._presence[node_id] = _Presence({held.resource: held for held in beat.held})
        node = SuperNode(
            node_id=node_id,
            url=beat.url,
            address=address,
            port=beat.port,
            isp=isp,
            capacity=beat.capacity,
            used=beat.used,
            uploaded=beat.uploaded,
            seen=self._now(),
        )
        await self._registry.saw(node)
        decisions = await self._registry.orders(node_id, MAX_ORDERS)
        return HeartbeatAnswer(
            interval=self._heartbeat_interval,
            desired=[Order(each.resource, each.reason, each.value) for each in decisions],
            isp=isp,
        )

    async def placements(self, isp: str | None, offset: int, limit: int) -> list[Placement]:
        """Placements in force with what their super nodes said of them last."""
        return [self._view(each) for each in await self._registry.page(isp, offset, limit)]

    async def dropped(self, isp: str | None, limit: int) -> list[Placement]:
        """The last decisions to drop something, latest first."""
        return [_placement(each, "dropped", 0.0) for each in await self._registry.dropped(isp, limit)]

    def _view(self, decision: Decision) -> Placement:
        presence = self._presence.get(decision.node_id)
        held = None if presence is None else presence.held.get(decision.resource)
        if held is None:
            return _placement(decision, "ordered", 0.0)
        return _placement(decision, "held" if held.have >= 1.0 else "filling", held.have)

    async def nodes(self, offset: int, limit: int) -> list[NodeView]:
        """Super nodes, alive or not."""
        now = self._now()
        return [
            NodeView(**attrs.asdict(node), alive=self._alive(node, now))
            for node in await self._registry.nodes(offset, limit)
        ]


def _placement(decision: Decision, state: str, have: float) -> Placement:
    return Placement(
        resource=decision.resource,
        node_id=decision.node_id,
        isp=decision.isp,
        state=state,
        reason=decision.reason,
        value=decision.value,
        since=decision.since,
        have=have,
    )
