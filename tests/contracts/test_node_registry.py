"""Does every store of the manager's memory keep its promises?"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import pytest
from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from p2sp.manager.interfaces import INodeRegistry, SuperNode
from p2sp.manager.placement import Decision, Plan
from p2sp.manager.rules import Rule, RuleKind
from p2sp.manager.store import MAX_DROPPED, SqlNodeRegistry, metadata
from p2sp.ops.database import Database
from tests.manager.support import decision, rid

reactor: Any = installed_reactor

RULE = Rule(0, RuleKind.PIN, rid(1), "campus", 2**40, 10.0, None, "c" * 64, "exam week")
NODE = SuperNode("a" * 64, "https://node.example:9006", "192.0.2.7", 9007, "campus", 2**40, 5, 7, 100.0)


def plan(*placed: Decision, dropped: Sequence[Decision] = ()) -> Plan:
    return Plan(placed, tuple(dropped))


class Contract:
    """What is asked of every implementation; `registry` opens one."""

    def registry(self) -> INodeRegistry:
        raise AssertionError("a subclass opens its store")

    async def test_interface(self) -> None:
        assert verifyObject(INodeRegistry, self.registry())

    async def test_an_empty_one(self) -> None:
        registry = self.registry()
        assert await registry.nodes(0, 10) == []
        assert await registry.standing() == []
        assert await registry.orders("a" * 64, 10) == []
        assert await registry.page(None, 0, 10) == []
        assert await registry.dropped(None, 10) == []
        assert await registry.cursor(1e12) == 0
        assert await registry.forget(1e12) == 0

    async def test_a_node_replaces_itself(self) -> None:
        registry = self.registry()
        await registry.saw(NODE)
        later = attrs.evolve(NODE, address="2001:db8::1", isp=None, used=2**62, seen=200.5)
        await registry.saw(later)
        other = attrs.evolve(NODE, node_id="b" * 64)
        await registry.saw(other)
        assert await registry.nodes(0, 10) == [later, other]
        assert await registry.nodes(0, 1) == [later]
        assert await registry.nodes(1, 10) == [other]

    async def test_silent_nodes_are_forgotten_unless_something_is_placed_there(self) -> None:
        registry = self.registry()
        for letter, seen in (("a", 10.0), ("b", 10.0), ("c", 99.0)):
            await registry.saw(attrs.evolve(NODE, node_id=letter * 64, seen=seen))
        await registry.enact("campus", plan(decision(node_id="b" * 64)))
        assert await registry.forget(50.0) == 1
        assert [node.node_id[0] for node in await registry.nodes(0, 10)] == ["b", "c"]

    async def test_a_plan_replaces_the_one_before_in_its_isp_only(self) -> None:
        registry = self.registry()
        first, second, third = (decision(rid(n)) for n in (1, 2, 3))
        abroad = attrs.evolve(first, isp="abroad")
        await registry.enact("campus", plan(first, second))
        await registry.enact("abroad", plan(abroad))
        moved = attrs.evolve(second, node_id="b" * 64, value=9.0, reason="moved")
        await registry.enact("campus", plan(moved, third))
        found = {(each.isp, each.resource): each for each in await registry.standing()}
        assert found == {("campus", rid(2)): moved, ("campus", rid(3)): third, ("abroad", rid(1)): abroad}
        await registry.enact("abroad", plan())
        assert {each.isp for each in await registry.standing()} == {"campus"}

    async def test_orders_are_for_one_node_most_valuable_first(self) -> None:
        registry = self.registry()
        placed = [attrs.evolve(decision(rid(n)), value=float(n)) for n in (2, 3, 1)]
        await registry.enact("campus", plan(*placed, decision(rid(4), "b" * 64)))
        assert [each.resource for each in await registry.orders("a" * 64, 10)] == [rid(3), rid(2), rid(1)]
        assert [each.resource for each in await registry.orders("a" * 64, 1)] == [rid(3)]

    async def test_pages(self) -> None:
        registry = self.registry()
        near = [attrs.evolve(decision(rid(n)), value=float(n)) for n in (1, 2)]
        far = attrs.evolve(decision(rid(5)), isp="abroad")
        await registry.enact("campus", plan(*near))
        await registry.enact("abroad", plan(far))
        assert await registry.page(None, 0, 10) == [far, near[1], near[0]]
        assert await registry.page(None, 1, 1) == [near[1]]
        assert await registry.page("campus", 0, 10) == [near[1], near[0]]
        assert await registry.page("nowhere", 0, 10) == []

    async def test_what_was_dropped_is_remembered_latest_first_and_within_bounds(self) -> None:
        registry = self.registry()
        gone = [decision(rid(n)) for n in range(MAX_DROPPED + 5)]
        await registry.enact("campus", plan(dropped=gone[:700]))
        await registry.enact("campus", plan(dropped=gone[700:]))
        await registry.enact("abroad", plan(dropped=[attrs.evolve(gone[0], isp="abroad")]))
        found = await registry.dropped(None, 5000)
        assert len(found) == MAX_DROPPED
        assert found[0].isp == "abroad"
        assert found[1] == gone[-1]
        assert await registry.dropped("campus", 2) == [gone[-1], gone[-2]]

    async def test_one_resource_on_several_nodes(self) -> None:
        registry = self.registry()
        both = [decision(rid(1), letter * 64) for letter in "ab"]
        await registry.enact("campus", plan(*both, decision(rid(2))))
        assert await registry.placed(rid(1)) == both
        await registry.enact("campus", plan(both[1]))
        assert await registry.placed(rid(1)) == both[1:]
        assert await registry.placed(rid(2)) == []

    async def test_rules_are_kept_under_numbers_that_never_come_again(self) -> None:
        registry = self.registry()
        first = await registry.add_rule(RULE)
        second = await registry.add_rule(attrs.evolve(RULE, kind=RuleKind.PREHEAT, isp=None, until=50.0))
        assert first == attrs.evolve(RULE, number=first.number)
        assert await registry.rules(0, 10) == [first, second]
        assert await registry.rules(1, 10) == [second]
        assert await registry.rule(second.number) == second
        assert await registry.remove_rule(second.number)
        assert not await registry.remove_rule(second.number)
        assert await registry.rule(second.number) is None
        third = await registry.add_rule(RULE)
        assert third.number > second.number

    async def test_rules_that_are_over(self) -> None:
        registry = self.registry()
        for_ever = await registry.add_rule(RULE)
        for_now = await registry.add_rule(attrs.evolve(RULE, until=50.0))
        assert await registry.rules_at(49.9) == [for_ever, for_now]
        assert await registry.rules_at(50.0) == [for_ever]
        assert await registry.forget_rules(50.0) == 0
        assert await registry.forget_rules(51.0) == 1
        assert await registry.rules(0, 10) == [for_ever]

    async def test_the_cursor_is_the_last_one_known_at_a_moment(self) -> None:
        registry = self.registry()
        for at, cursor in ((10.0, 100), (20.0, 200), (30.0, 300)):
            await registry.checkpoint(at, cursor)
        assert await registry.cursor(9.9) == 0
        assert await registry.cursor(10.0) == 100
        assert await registry.cursor(29.0) == 200
        assert await registry.cursor(1e9) == 300

    async def test_a_smaller_cursor_voids_the_larger_ones(self) -> None:
        registry = self.registry()
        await registry.checkpoint(10.0, 100)
        await registry.checkpoint(20.0, 200)
        await registry.checkpoint(30.0, 7)
        assert await registry.cursor(25.0) == 0
        assert await registry.cursor(30.0) == 7


class SqlCase(Contract):
    """The SQL store at any database URL."""

    def open(self, url: str) -> SqlNodeRegistry:
        database = Database(reactor, url, metadata)
        database.open()
        self.addCleanup(database.close)  # type: ignore[attr-defined]
        return SqlNodeRegistry(database)


class MemoryTests(SqlCase, TestCase):
    """SQLite in memory."""

    def registry(self) -> INodeRegistry:
        return INodeRegistry(self.open("sqlite://"))


class FileTests(SqlCase, TestCase):
    """SQLite in a file."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.url = f"sqlite:///{Path(folder.name) / 'manager.sqlite'}"

    def registry(self) -> INodeRegistry:
        return INodeRegistry(self.open(self.url))

    async def test_everything_outlives_the_process(self) -> None:
        database = Database(reactor, self.url, metadata)
        database.open()
        registry = SqlNodeRegistry(database)
        await registry.saw(NODE)
        await registry.enact("campus", plan(decision(rid(1)), dropped=[decision(rid(2))]))
        await registry.checkpoint(10.0, 42)
        await database.close()
        again = self.registry()
        assert await again.nodes(0, 10) == [NODE]
        assert await again.standing() == [decision(rid(1))]
        assert await again.dropped(None, 10) == [decision(rid(2))]
        assert await again.cursor(11.0) == 42


@pytest.mark.usefixtures("_database_of_its_own")
class PostgreSQLTests(SqlCase, TestCase):
    """PostgreSQL."""

    url: str

    def registry(self) -> INodeRegistry:
        return INodeRegistry(self.open(self.url))
