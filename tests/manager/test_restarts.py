"""Does a restart of the manager or of a super node bring a burst of fetches, or a second one of what is held?"""

from typing import Any

from p2sp.manager.control import Manager
from p2sp.manager.packing import Room, rendezvous
from p2sp.manager.placement import Plan
from p2sp.manager.store import SqlNodeRegistry
from p2sp.manager.store import metadata as manager_tables
from tests.manager.cases import ManagerCase
from tests.manager.fleet import CacheNode
from tests.manager.support import MIB, rid

RESOURCES = 24
INTERVAL = 5.0
"""Of heartbeats, as the case has it."""


class RestartTests(ManagerCase):
    """Three super nodes of one campus, two dozen resources that everybody wants all the time."""

    def setUp(self) -> None:
        super().setUp()
        self.lengths = {rid(number): 64 * MIB for number in range(RESOURCES)}
        addresses = {"a" * 64: "10.1.0.1", "b" * 64: "10.1.0.2", "c" * 64: "10.1.0.3"}
        self.nodes = {
            node_id: CacheNode(node_id, address, 1024 * MIB, self.lengths) for node_id, address in addresses.items()
        }

    def start(self, **options: Any) -> Manager:
        return super().start(**{"patience": 60.0, "settling": 2 * INTERVAL, **options})

    async def period(self, *absent: str, draining: str = "") -> None:
        """The time between two heartbeats: each node reports at its own moment, then it is decided."""
        for node in self.nodes.values():
            self.clock.advance(INTERVAL / len(self.nodes))
            if node.node_id in absent:
                continue
            node.follow(
                await self.manager.heartbeat(node.node_id, node.address, node.beat(draining=node.node_id == draining))
            )
            node.work(INTERVAL)
        for number in range(RESOURCES):
            await self.want(number)
        await self.turn()

    async def want(self, number: int) -> None:
        """What the campus has comes from there and fast, as in life: to the statistics, holding it is a cure."""
        near = any(node.is_whole(rid(number)) for node in self.nodes.values())
        await self.download(rid(number), clients=2, near=near)

    async def settled(self) -> dict[str, set[str]]:
        """Go on until all is held; which node has what."""
        for _ in range(60):
            await self.period()
            if all(any(node.is_whole(each) for node in self.nodes.values()) for each in self.lengths):
                break
        return self.inventories()

    def inventories(self) -> dict[str, set[str]]:
        return {
            node_id: {each for each in node.inventory if node.is_whole(each)} for node_id, node in self.nodes.items()
        }

    def fetches(self) -> list[str]:
        return [resource for node in self.nodes.values() for resource in node.fetched]

    async def standing(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {node_id: set() for node_id in self.nodes}
        for each in await self.registry.standing():
            found[each.node_id].add(each.resource)
        return found

    async def test_everything_comes_in_once_and_little_by_little(self) -> None:
        held = await self.settled()
        assert sorted(self.fetches()) == sorted(self.lengths)
        assert await self.standing() == held
        assert {node.most_named for node in self.nodes.values()} == {4}, "twice what is fetched at a time"

    async def test_a_manager_that_lost_its_database_finds_everything_where_it_lies(self) -> None:
        held = await self.settled()
        self.registry = SqlNodeRegistry(self.database(manager_tables))
        self.manager = self.start()
        for _ in range(12):
            await self.period()
        assert len(self.fetches()) == RESOURCES, "nothing is fetched again"
        assert await self.standing() == self.inventories() == held
        (order, *_) = (await self.manager.heartbeat("a" * 64, "10.1.0.1", self.nodes["a" * 64].beat())).desired
        assert order.reason.startswith("held already; hot: ")

    async def test_a_node_that_reports_late_is_waited_for(self) -> None:
        held = await self.settled()
        self.registry = SqlNodeRegistry(self.database(manager_tables))
        self.manager = self.start()
        await self.period("b" * 64, "c" * 64)
        assert await self.registry.standing() == [], "who knows what the others have"
        for _ in range(6):
            await self.period()
        assert await self.standing() == self.inventories() == held
        assert len(self.fetches()) == RESOURCES

    async def test_a_manager_with_an_old_database_takes_up_what_came_since(self) -> None:
        for _ in range(4):
            await self.period()
        old = await self.registry.standing()
        held = await self.settled()
        half = old[::2]
        self.registry = SqlNodeRegistry(self.database(manager_tables))
        # As it was, but for what it forgot, and one that lies elsewhere by now.
        await self.registry.enact("campus", Plan(tuple(half), ()))
        self.manager = self.start()
        for _ in range(12):
            await self.period()
        assert len(self.fetches()) == RESOURCES
        assert await self.standing() == self.inventories() == held

    async def test_a_manager_that_starts_again_and_again_orders_nothing_anew(self) -> None:
        for _ in range(12):
            self.manager = self.start()
            for _ in range(3):
                await self.period()
        assert sorted(self.fetches()) == sorted(self.lengths)
        assert {node.most_named for node in self.nodes.values()} == {4}

    async def test_a_node_that_lost_its_cache_gets_it_back_little_by_little(self) -> None:
        held = await self.settled()
        lost = max(self.nodes.values(), key=lambda node: len(node.inventory))
        lost.inventory.clear()
        lost.fetched.clear()
        lost.most_named = 0
        others = {node_id: list(node.fetched) for node_id, node in self.nodes.items() if node is not lost}
        for _ in range(3):
            await self.period()
            assert lost.most_named == 4
        assert await self.settled() == held
        assert sorted(lost.fetched) == sorted(held[lost.node_id]), "each once"
        assert {node_id: self.nodes[node_id].fetched for node_id in others} == others

    async def test_a_node_that_restarts_fetches_nothing_and_neither_do_its_neighbours(self) -> None:
        held = await self.settled()
        for _ in range(9):
            await self.period("b" * 64)
        for _ in range(3):
            await self.period()
        assert len(self.fetches()) == RESOURCES
        assert await self.standing() == self.inventories() == held

    async def test_who_was_given_up_and_comes_back_whole_gets_back_what_was_not_fetched_yet(self) -> None:
        held = await self.settled()
        gone = max(self.nodes, key=lambda node_id: len(held[node_id]))
        for _ in range(14):
            await self.period(gone)
        before = len(self.fetches())
        assert before > RESOURCES, "after its patience the manager has others fetch it"
        named = {each for node_id, node in self.nodes.items() if node_id != gone for each in node.ordered}
        for _ in range(12):
            await self.period()
        again = self.fetches()[:]
        assert set(again) == set(self.lengths)
        assert len(again) - RESOURCES <= len(named & held[gone]), "only what had been named"
        assert len(again) - RESOURCES < len(held[gone])

    async def test_what_drains_keeps_what_it_has_and_gets_nothing_new(self) -> None:
        for _ in range(3):
            await self.period()
        leaving = "a" * 64
        await self.period(draining=leaving)
        had = set(self.nodes[leaving].inventory)
        first = {room.node_id for number in range(RESOURCES, RESOURCES + 9) for room in self.first_of(rid(number))}
        assert leaving in first, "it would be the first choice for some of what is new"
        for number in range(RESOURCES, RESOURCES + 9):
            self.lengths[rid(number)] = 64 * MIB
            await self.want(number)
        for _ in range(3):
            await self.period(draining=leaving)
        assert set(self.nodes[leaving].inventory) == had
        fresh = {rid(number) for number in range(RESOURCES, RESOURCES + 9)}
        standing = await self.standing()
        assert not standing[leaving] & fresh
        assert fresh <= standing["b" * 64] | standing["c" * 64]
        states = {each.state for each in await self.manager.placements("campus", 0, 100) if each.node_id == leaving}
        assert states == {"going"}
        (view,) = [node for node in await self.manager.nodes(0, 10) if node.node_id == leaving]
        assert view.draining
        assert len(self.fetches()) == len(set(self.fetches()))

    def first_of(self, resource: str) -> list[Room]:
        return rendezvous(resource, [Room(node.node_id, node.capacity) for node in self.nodes.values()])[:1]
