"""How do statistics turn into orders for super nodes, round after round?"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from twisted.logger import Logger

from p2sp.manager.demand import HORIZON, DemandTable
from p2sp.manager.interfaces import INodeRegistry, SuperNode
from p2sp.manager.packing import MAX_ORDERS, Room
from p2sp.manager.placement import Decision, PlacementPolicy, Plan, Situation
from p2sp.manager.presence import MAX_NODES, Presence, placement_of
from p2sp.manager.ruling import Ruling, view_of
from p2sp.manager.schema import Heartbeat, HeartbeatAnswer, NodeView, Order, Placement, RuleView
from p2sp.net.errors import NetError
from p2sp.statistics.schema import RollupPage

MAX_PAGES: Final = 200
"""Pages of rollups read in one round."""

MOST_GONE: Final = 1000
"""Drops that a decision remembers."""

FORGOTTEN: Final = 30 * 86_400.0
"""Seconds of silence after which a super node is no longer listed."""


class RollupSource(Protocol):
    """Where rollups come from: the statistics server's client."""

    async def rollups(self, cursor: int) -> RollupPage: ...


class Manager:
    """The manager's control loop: `sync` reads the statistics, `decide` places, `heartbeat` gives orders.

    `now` is a clock of seconds since 1970, `isp_of` names the ISP of an address, `isps` that of a node id where the
    operator knows better. `heartbeat_interval`, `patience` and `settling` (see `Presence`) are in seconds. With
    `dry_run` decisions are told and not enacted.
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
        patience: float = 0.0,
        settling: float = 0.0,
        dry_run: bool = False,
    ) -> None:
        self._registry = registry
        self._statistics = statistics
        self._demand = demand
        self._policy = policy
        self._now = now
        self._isp_of = isp_of
        self._isps = dict(isps)
        self._heartbeat_interval = heartbeat_interval
        self.presence = Presence(now(), heartbeat_interval, patience, settling)
        self.ruling = Ruling(registry, demand, self.presence, now)
        self._dry_run = dry_run
        self._rehearsed: set[tuple[str, str, str, bool]] = set()
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
            if page.newest < cursor:
                self.log.warn("the statistics went back to an older state; they are read from the start")
                self._demand.renumber()
                cursor = self._cursor = 0
                continue
            self._demand.take(page.rollups, self._now())
            cursor = self._cursor = page.cursor
            if not page.more:
                return False
        return True

    async def _remember(self, cursor: int) -> None:
        if self._informed - self._checkpoint >= self._demand.half_life / 4:
            self._checkpoint = self._informed
            await self._registry.checkpoint(self._informed, cursor)
            await self._registry.cursor(self._informed - HORIZON * self._demand.half_life)

    async def decide(self) -> None:
        """Decide for every ISP what its super nodes shall hold.

        Nothing moves before the statistics were read once and all super nodes had the time to report.
        """
        if not self.informed or not self.presence.settled(self._now()):
            return
        await self._registry.forget(self._now() - FORGOTTEN)
        await self.ruling.forget()
        told = set()
        for isp, before, plan in await self._plans(self._policy):
            known = {(decision.resource, decision.node_id) for decision in before}
            news = [each for each in plan.placed if (each.resource, each.node_id) not in known]
            for decisions, coming in ((news, True), (plan.dropped, False)):
                for decision in decisions:
                    what = (decision.isp, decision.resource, decision.node_id, coming)
                    told.add(what)
                    if not self._dry_run or what not in self._rehearsed:
                        self._tell(decision, coming)
            if not self._dry_run:
                await self._registry.enact(isp, plan)
        self._rehearsed = told if self._dry_run else set()

    async def rehearse(self, policy: PlacementPolicy | None = None) -> list[tuple[list[Decision], Plan]]:
        """What a decision made now would change, for each ISP what stands and the plan; nothing of it is done."""
        return [(before, plan) for _, before, plan in await self._plans(policy or self._policy)]

    async def _plans(self, policy: PlacementPolicy) -> list[tuple[str, list[Decision], Plan]]:
        now = self._now()
        rooms = await self._rooms(now)
        rules = await self._registry.rules_at(now)
        standing: dict[str, list[Decision]] = {}
        for decision in await self._registry.standing():
            standing.setdefault(decision.isp, []).append(decision)
        gone: dict[str, list[Decision]] = {}
        for decision in await self._registry.dropped(None, MOST_GONE):
            gone.setdefault(decision.isp, []).append(decision)
        plans = []
        for isp in sorted(rooms.keys() | standing.keys()):
            before = standing.get(isp, [])
            # As of the last news: while the statistics are away nobody's demand fades.
            wanted = self._demand.wanted(isp, self._informed) if self.informed else []
            ripe = self._demand.ripeness(now)
            situation = Situation(isp, wanted, rooms.get(isp, []), before, now, rules, gone.get(isp, ()), ripe)
            plans.append((isp, before, policy.decide(situation)))
        return plans

    def _tell(self, decision: Decision, coming: bool) -> None:
        self.log.info(
            "{dry}{isp}: {resource} {way} {node}: {reason}",
            dry="only rehearsed: " if self._dry_run else "",
            isp=decision.isp,
            resource=decision.resource,
            way="onto" if coming else "off",
            node=decision.node_id[:16],
            reason=decision.reason,
        )

    async def _rooms(self, now: float) -> dict[str, list[Room]]:
        rooms: dict[str, list[Room]] = {}
        nodes = await self._registry.nodes(0, MAX_NODES)
        self.presence.keep(node.node_id for node in nodes)
        for node in nodes:
            if node.isp is not None and self.presence.present(node, now):
                rooms.setdefault(node.isp, []).append(self.presence.room(node))
        return rooms

    async def heartbeat(self, node_id: str, address: str, beat: Heartbeat) -> HeartbeatAnswer:
        """Take a super node's state, answer with the state it shall have. `address` is the one observed."""
        isp = self._isps.get(node_id) or self._isp_of(address)
        if isp is None and node_id not in self.presence:
            self.log.warn("super node {node} at {address} is in no known ISP", node=node_id[:16], address=address)
        self.presence.heard(node_id, beat, self._now())
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
        decisions = self.presence.due(node_id, await self._registry.orders(node_id, MAX_ORDERS))
        return HeartbeatAnswer(
            interval=self._heartbeat_interval,
            desired=[Order(each.resource, each.reason, each.value) for each in decisions],
            isp=isp,
        )

    async def placements(self, isp: str | None, offset: int, limit: int) -> list[Placement]:
        """Placements in force with what their super nodes said of them last."""
        return [self.presence.placement(each) for each in await self._registry.page(isp, offset, limit)]

    async def dropped(self, isp: str | None, limit: int) -> list[Placement]:
        """The last decisions to drop something, latest first."""
        return [placement_of(each, "dropped") for each in await self._registry.dropped(isp, limit)]

    async def nodes(self, offset: int, limit: int) -> list[NodeView]:
        """Super nodes, alive or not."""
        now = self._now()
        return [self.presence.view(node, now) for node in await self._registry.nodes(offset, limit)]

    async def rules(self, offset: int, limit: int) -> list[RuleView]:
        """What operators said, by number."""
        return [view_of(rule) for rule in await self._registry.rules(offset, limit)]
