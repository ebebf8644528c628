"""What does a manager need around it to run in a test?"""

from typing import Any

import attrs
from twisted.internet import reactor as installed_reactor
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from p2sp.manager.control import Manager
from p2sp.manager.demand import DemandTable
from p2sp.manager.policies import ValuePolicy
from p2sp.manager.schema import Heartbeat, HeartbeatAnswer
from p2sp.manager.store import SqlNodeRegistry
from p2sp.manager.store import metadata as manager_tables
from p2sp.net.errors import Unreachable
from p2sp.ops.database import Database
from p2sp.statistics.schema import RollupPage, Sample
from p2sp.statistics.store import SqlStatisticsStore
from p2sp.statistics.tables import metadata as statistics_tables
from p2sp.tracker.schema import Counters, Event
from tests.manager.support import LIMITS, MIB, rid

reactor: Any = installed_reactor

START = 1_000_000.0
NODE_A, NODE_B = "a" * 64, "b" * 64
OPERATOR = "e" * 64
ISPS = {"10.1.0.1": "campus", "10.1.0.2": "campus", "10.1.0.3": "campus", "10.2.0.1": "town"}


@attrs.define
class Statistics:
    """The statistics server's own store, without the network between, and able to be away."""

    store: SqlStatisticsStore
    away: bool = False
    asked: list[int] = attrs.field(factory=list)

    async def rollups(self, cursor: int) -> RollupPage:
        self.asked.append(cursor)
        if self.away:
            raise Unreachable("https://statistics.example", "nobody is there")
        return await self.store.page(cursor, 3)


class NoStatistics:
    """Nothing has happened yet."""

    async def rollups(self, cursor: int) -> RollupPage:
        return RollupPage([], cursor, False)


def open_database(case: TestCase, tables: Any) -> Database:
    """An empty one in memory, closed after the test."""
    database = Database(reactor, "sqlite://", tables)
    database.open()
    case.addCleanup(database.close)
    return database


def quiet_manager(case: TestCase, clock: Clock) -> tuple[Manager, SqlNodeRegistry]:
    """A manager with an empty registry in which nobody downloads anything; its clock is set to START."""
    registry = SqlNodeRegistry(open_database(case, manager_tables))
    clock.advance(START)
    manager = Manager(
        registry,
        NoStatistics(),
        DemandTable(60.0),
        ValuePolicy(LIMITS),
        now=clock.seconds,
        isp_of={"127.1.0.1": "campus", "127.2.0.1": "town"}.get,
        isps={},
        heartbeat_interval=5.0,
    )
    return manager, registry


class ManagerCase(TestCase):
    """The manager's loop over real stores, in virtual time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.registry = SqlNodeRegistry(self.database(manager_tables))
        self.statistics = Statistics(self.new_statistics())
        self.sessions = 0
        self.manager = self.start()

    def database(self, tables: Any) -> Database:
        return open_database(self, tables)

    def new_statistics(self) -> SqlStatisticsStore:
        return SqlStatisticsStore(self.database(statistics_tables), interval=10.0)

    def start(self, **options: Any) -> Manager:
        return Manager(
            self.registry,
            self.statistics,
            DemandTable(LIMITS.half_life),
            ValuePolicy(LIMITS),
            now=self.clock.seconds,
            isp_of=ISPS.get,
            isps={"f" * 64: "by hand"},
            heartbeat_interval=5.0,
            **options,
        )

    async def download(
        self, resource: str = rid(1), *, isp: str = "campus", clients: int = 3, near: bool = False
    ) -> None:
        """Some clients fetch 64 MiB each: slowly, from outside, or (`near`) fast, from a super node."""
        for number in range(clients):
            self.sessions += 1
            sample = Sample(
                session=f"{self.sessions:032x}",
                resource=resource,
                node_id=f"{number:064x}",
                at=self.clock.seconds(),
                event=Event.COMPLETED,
                counters=Counters(supernode=64 * MIB) if near else Counters(server=64 * MIB),
                length=64 * MIB,
                left=0,
                isp=isp,
                rate=50_000_000 if near else 500_000,
            )
            answer = await self.statistics.store.take([sample], self.clock.seconds())
            assert answer.accepted == 1

    async def beat(self, node_id: str = NODE_A, address: str = "10.1.0.1", **held: Any) -> HeartbeatAnswer:
        beat = Heartbeat(url="https://node.example:9006", port=9007, capacity=256 * MIB, used=0, **held)
        return await self.manager.heartbeat(node_id, address, beat)

    async def turn(self) -> None:
        while await self.manager.sync():
            pass
        await self.manager.decide()
