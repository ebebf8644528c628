"""Does the loop from statistics to orders hold when servers, nodes and the manager itself come and go?"""

from typing import Any, cast

import pytest
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher

from p2sp.manager.policies import ThresholdPolicy
from p2sp.manager.rules import RuleKind
from p2sp.manager.ruling import UnknownLengthError
from p2sp.manager.schema import Held, RuleRequest, Trouble
from tests.manager.cases import NODE_A, NODE_B, OPERATOR, START, ManagerCase
from tests.manager.support import LIMITS, MIB, rid


class ControlTests(ManagerCase):
    """One turn after the other."""

    async def test_hot_and_slow_becomes_an_order_with_a_reason(self) -> None:
        await self.download()
        first = await self.beat()
        assert (first.desired, first.isp, first.interval) == ([], "campus", 5.0)
        await self.turn()
        (order,) = (await self.beat()).desired
        assert order.resource == rid(1)
        assert order.reason.startswith("hot: 192 MiB by 3 clients")
        assert "100% from outside the ISP" in order.reason
        assert (await self.beat(NODE_B, "10.2.0.1")).desired == []

    async def test_states_go_from_ordered_over_filling_to_held(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        states = []
        for held in ([], [Held(rid(1), 9, 0.5)], [Held(rid(1), 9, 1.0)]):
            await self.beat(held=held)
            (placement,) = await self.manager.placements(None, 0, 10)
            states.append((placement.state, placement.have))
        assert states == [("ordered", 0.0), ("filling", 0.5), ("held", 1.0)]

    async def test_what_fades_is_dropped_and_remembered(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        self.clock.advance(400.0)
        assert (await self.beat()).desired != []
        await self.turn()
        assert (await self.beat()).desired == []
        (gone,) = await self.manager.dropped(None, 10)
        assert gone.state == "dropped"
        assert gone.reason.startswith("demand fell to ")
        assert gone.since == self.clock.seconds()

    async def test_while_the_statistics_are_away_what_is_placed_stays(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        self.statistics.away = True
        self.clock.advance(4000.0)
        await self.beat()
        await self.turn()
        assert len((await self.beat()).desired) == 1
        self.statistics.away = False
        await self.turn()
        assert (await self.beat()).desired == []

    async def test_nothing_moves_before_the_statistics_were_read(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        self.manager = self.start()
        self.statistics.away = True
        await self.turn()
        assert not self.manager.informed
        assert len((await self.beat()).desired) == 1

    async def test_a_restart_keeps_what_is_placed_and_rebuilds_the_demand(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        before = await self.registry.standing()
        # Down for a while: the node could not report, and must not be taken for dead at once.
        self.clock.advance(60.0)
        self.manager = self.start()
        await self.turn()
        after = await self.registry.standing()
        assert [(each.resource, each.node_id, each.since) for each in after] == [
            (each.resource, each.node_id, each.since) for each in before
        ]
        (node,) = await self.manager.nodes(0, 10)
        assert not node.alive

    async def test_a_restart_reads_only_what_still_counts(self) -> None:
        for _ in range(3):
            await self.download()
            await self.turn()
            self.clock.advance(700.0)
        await self.download()
        await self.turn()
        self.manager = self.start()
        self.statistics.asked.clear()
        await self.turn()
        assert self.statistics.asked[0] > 0

    async def test_a_silent_node_hands_over_to_its_neighbour(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        for _ in range(4):
            self.clock.advance(5.0)
            await self.beat(NODE_B, "10.1.0.2")
            await self.turn()
        assert (await self.beat(NODE_A)).desired == []
        (order,) = (await self.beat(NODE_B, "10.1.0.2")).desired
        assert order.reason.endswith("(moved: aaaaaaaa is silent)")

    async def test_a_lone_node_that_was_silent_gets_its_orders_back(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        self.clock.advance(40.0)
        await self.turn()
        assert len((await self.beat()).desired) == 1

    async def test_new_statistics_are_read_from_their_start(self) -> None:
        for _ in range(6):
            await self.download()
            self.clock.advance(10.0)
        await self.beat()
        await self.turn()
        self.statistics.store = self.new_statistics()
        await self.download(rid(2))
        await self.turn()
        await self.turn()
        assert {order.resource for order in (await self.beat()).desired} == {rid(1), rid(2)}

    async def test_nodes_of_no_known_isp_get_nothing_unless_the_operator_says_which(self) -> None:
        await self.download(isp="by hand")
        unknown = await self.beat(NODE_A, "192.0.2.1")
        assert unknown.isp is None
        assert (await self.beat("f" * 64, "192.0.2.1")).isp == "by hand"
        await self.turn()
        assert (await self.beat(NODE_A, "192.0.2.1")).desired == []
        assert len((await self.beat("f" * 64, "192.0.2.1")).desired) == 1

    async def test_who_restarts_within_patience_keeps_its_placements_and_nobody_fetches(
        self,
    ) -> None:
        self.manager = self.start(patience=300.0)
        await self.download(clients=9)
        await self.beat()
        await self.turn()
        for _ in range(10):
            self.clock.advance(20.0)
            assert (await self.beat(NODE_B, "10.1.0.2")).desired == []
            await self.turn()
        assert [node.alive for node in await self.manager.nodes(0, 10)] == [False, True]
        assert len((await self.beat()).desired) == 1
        self.clock.advance(301.0)
        await self.download(clients=9)
        await self.beat(NODE_B, "10.1.0.2")
        await self.turn()
        assert len((await self.beat(NODE_B, "10.1.0.2")).desired) == 1

    async def test_who_comes_back_with_what_it_had_gets_it_again(self) -> None:
        for number in range(4):
            await self.download(rid(number))
        whole = [Held(rid(number), 64 * MIB, 1.0) for number in range(4)]
        await self.beat(NODE_B, "10.1.0.2", held=whole)
        await self.beat(NODE_A)
        await self.turn()
        assert len((await self.beat(NODE_B, "10.1.0.2", held=whole)).desired) == 4
        assert (await self.beat(NODE_A)).desired == []

    async def test_a_dry_run_tells_and_changes_nothing(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        self.manager = self.start(dry_run=True)
        await self.download(rid(2))
        told: list[Any] = []
        observer = cast(ILogObserver, told.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for _ in range(3):
            await self.turn()
        assert [order.resource for order in (await self.beat()).desired] == [rid(1)]
        lines = [formatEvent(event) for event in told if event.get("dry")]
        assert len(lines) == 1
        assert lines[0].startswith(f"only rehearsed: campus: {rid(2)} onto {NODE_A[:16]}: hot: ")

    async def test_a_rehearsal_says_what_another_policy_would_do(self) -> None:
        await self.download(clients=1)
        await self.beat()
        await self.turn()
        assert (await self.beat()).desired == []
        ((before, same),) = await self.manager.rehearse()
        ((_, other),) = await self.manager.rehearse(ThresholdPolicy(LIMITS))
        assert (before, same.placed) == ([], ())
        assert [each.resource for each in other.placed] == [rid(1)]
        assert await self.registry.standing() == []

    async def test_a_preheat_is_followed_target_by_target(self) -> None:
        ruling = self.manager.ruling
        with pytest.raises(UnknownLengthError):
            await ruling.add(RuleRequest(RuleKind.PREHEAT, rid(7)), OPERATOR)
        rule = await ruling.add(RuleRequest(RuleKind.PREHEAT, rid(7), length=MIB, seconds=60.0), OPERATOR)
        assert (rule.by, rule.until) == (OPERATOR, START + 60)
        assert await self.targets(rule.number) == []
        await self.beat()
        await self.beat(NODE_B, "10.2.0.1")
        assert await self.targets(rule.number) == [("campus", None, "waiting"), ("town", None, "waiting")]
        await self.turn()
        assert await self.targets(rule.number) == [("campus", NODE_A, "ordered"), ("town", NODE_B, "ordered")]
        await self.beat(held=[Held(rid(7), 9, 0.5)])
        await self.beat(NODE_B, "10.2.0.1", troubles=[Trouble(rid(7), "no source has it")])
        assert await self.targets(rule.number) == [("campus", NODE_A, "filling"), ("town", NODE_B, "failed")]
        await self.beat(held=[Held(rid(7), 9, 1.0)])
        assert (await self.targets(rule.number))[0] == ("campus", NODE_A, "held")
        self.clock.advance(60.0)
        await self.beat()
        await self.turn()
        assert {state for _, _, state in await self.targets(rule.number)} == {"over"}
        self.clock.advance(31 * 86_400.0)
        await self.turn()
        assert await ruling.status(rule.number) is None

    async def targets(self, number: int) -> list[tuple[str, str | None, str]]:
        status = await self.manager.ruling.status(number)
        assert status is not None
        return [(each.isp, each.node_id, each.state) for each in status.targets]

    async def test_the_length_of_what_is_wanted_or_held_is_known(self) -> None:
        await self.download()
        await self.turn()
        rule = await self.manager.ruling.add(RuleRequest(RuleKind.PIN, rid(1), isp="nowhere"), OPERATOR)
        assert (rule.length, rule.until) == (64 * MIB, None)
        assert await self.targets(rule.number) == [("nowhere", None, "no-supernode")]
        block = await self.manager.ruling.add(RuleRequest(RuleKind.BLOCK, rid(9), isp="campus"), OPERATOR)
        assert await self.targets(block.number) == [("campus", None, "blocked")]

    async def test_load_is_what_was_served_since_the_last_report(self) -> None:
        await self.beat(uploaded=1000, held=[Held(rid(1), 9, 0.5), Held(rid(2), 9, 1.0)])
        self.clock.advance(4.0)
        await self.beat(uploaded=9000, held=[Held(rid(1), 9, 0.5), Held(rid(2), 9, 1.0)])
        (node,) = await self.manager.nodes(0, 10)
        assert (node.upload_rate, node.whole, node.filling, node.alive) == (2000.0, 1, 1, True)
        self.clock.advance(1.0)
        await self.beat(uploaded=5)
        (node,) = await self.manager.nodes(0, 10)
        assert node.upload_rate == 0.0

    async def test_statistics_restored_from_a_backup_are_read_anew(self) -> None:
        await self.download()
        await self.turn()
        backup = self.statistics.store
        self.statistics.store = self.new_statistics()
        self.clock.advance(10.0)
        for _ in range(3):
            await self.download(rid(2))
        await self.turn()
        self.statistics.store = backup
        self.clock.advance(1.0)
        await self.download(rid(3))
        await self.beat()
        await self.turn()
        assert {order.resource for order in (await self.beat()).desired} == {rid(1), rid(2), rid(3)}

    async def test_days_of_separation_lose_nothing_that_counts(self) -> None:
        await self.download()
        await self.beat()
        await self.turn()
        self.statistics.away = True
        for _ in range(4):
            self.clock.advance(86_400.0)
            await self.download(rid(2))
            await self.turn()
            while await self.statistics.store.thin(self.clock.seconds(), 1000):
                pass
        self.statistics.away = False
        await self.beat()
        await self.turn()
        assert [order.resource for order in (await self.beat()).desired] == [rid(2)]

    async def test_long_silent_nodes_are_no_longer_listed(self) -> None:
        await self.beat()
        await self.turn()
        self.clock.advance(31 * 86_400.0)
        await self.turn()
        assert await self.manager.nodes(0, 10) == []
