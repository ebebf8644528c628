"""Who may say what to the manager, and what do they hear?"""

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs
from twisted.internet import reactor as installed_reactor
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from p2sp.manager.api import ManagerApi
from p2sp.manager.client import ManagerClient
from p2sp.manager.placement import Plan
from p2sp.manager.rules import RuleKind
from p2sp.manager.schema import Heartbeat, Held, RuleRequest
from p2sp.net.authority import Authority
from p2sp.net.calls import ApiError, Call
from p2sp.net.errors import NetError, Refused
from p2sp.net.identity import Identity
from p2sp.net.jsonapi import Api
from p2sp.net.trust import Caller
from tests.manager.cases import quiet_manager
from tests.manager.support import LIMITS, MIB, decision, rid
from tests.net.kit import AUTHORITY, STRANGER, TRACKER, TRUST, LoopbackCase

reactor: Any = installed_reactor

MANAGER = AUTHORITY.issue("manager", ["127.0.0.1"], "manager")
SUPERNODE = AUTHORITY.issue("supernode", ["127.0.0.1"], "super node")
OPERATOR = AUTHORITY.issue("operator", [], "operator")
EXPIRED = AUTHORITY.issue("supernode", [], "old", lifetime=timedelta(days=1), now=datetime.now(UTC) - timedelta(days=9))
FOREIGN = Authority.create("somebody else").issue("supernode", [], "not ours")

BEAT = Heartbeat(url="https://node.example:9006/", port=9007, capacity=256 * MIB, used=5, uploaded=6)


class ApiCase(LoopbackCase):
    """A manager over TLS on loopback."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.manager, self.registry = quiet_manager(self, self.clock)
        handlers = ManagerApi(self.manager, "value", LIMITS)
        api = Api(TRUST, reactor, role="manager", health=handlers.health)
        handlers.mount(api)
        self.url = self.serve(api, identity=MANAGER)

    def caller(self, identity: Identity | None, address: str = "127.1.0.1") -> ManagerClient:
        return ManagerClient(self.client(self.url, identity, bind_address=address))

    async def refusal(self, client: ManagerClient, beat: Heartbeat = BEAT) -> tuple[int, str]:
        try:
            await client.heartbeat(beat)
        except Refused as error:
            return error.status, error.message
        raise AssertionError("it was let in")


class HeartbeatTests(ApiCase):
    """Super nodes, and those who are none."""

    async def test_a_super_node_hears_its_orders_and_its_isp(self) -> None:
        node_id = SUPERNODE.node_id
        await self.registry.enact("campus", Plan((decision(rid(1), node_id), decision(rid(2), "b" * 64)), ()))
        answer = await self.caller(SUPERNODE).heartbeat(structs.replace(BEAT, held=[Held(rid(1), 9, 0.5)]))
        assert [order.resource for order in answer.desired] == [rid(1)]
        assert (answer.isp, answer.interval) == ("campus", 5.0)
        assert (await self.caller(SUPERNODE, "127.2.0.1").heartbeat(BEAT)).isp == "town"
        assert (await self.caller(SUPERNODE, "127.0.0.1").heartbeat(BEAT)).isp is None

    async def test_who_and_where_come_from_the_connection(self) -> None:
        await self.caller(SUPERNODE).heartbeat(BEAT)
        (node,) = await self.registry.nodes(0, 10)
        assert (node.node_id, node.address, node.url) == (SUPERNODE.node_id, "127.1.0.1", "https://node.example:9006")
        assert (node.capacity, node.used, node.uploaded, node.seen) == (256 * MIB, 5, 6, 1_000_000.0)

    async def test_everybody_else_is_refused(self) -> None:
        assert (await self.refusal(self.caller(None)))[0] == 401
        for identity in (STRANGER, TRACKER, OPERATOR, EXPIRED, FOREIGN):
            status, message = await self.refusal(self.caller(identity))
            assert (status, message) == (403, "this call is for the role supernode")
        assert await self.registry.nodes(0, 10) == []

    async def test_what_makes_no_sense_is_named(self) -> None:
        client = self.caller(SUPERNODE)
        for changes, where in (
            ({"url": "http://node.example"}, "$.url"),
            ({"url": "nonsense"}, "$.url"),
            ({"port": 70000}, "$.port"),
            ({"capacity": -1}, "$.capacity"),
            ({"held": [Held("xyz", 1, 0.5)]}, "$.held[0].resource"),
            ({"held": [Held(rid(1), 1, 1.5)]}, "$.held[0].have"),
        ):
            status, message = await self.refusal(client, structs.replace(BEAT, **changes))
            assert status == 422
            assert where in message

    async def test_a_large_cache_fits_into_a_heartbeat(self) -> None:
        held = [Held(rid(n), 2**40, 0.123456789, 2**40, 12345.678) for n in range(20_000)]
        assert (await self.caller(SUPERNODE).heartbeat(structs.replace(BEAT, held=held))).desired == []


class OperatorTests(ApiCase):
    """Those who ask why."""

    async def test_placements_with_reasons_and_states(self) -> None:
        node_id = SUPERNODE.node_id
        gone = decision(rid(9))
        await self.registry.enact("campus", Plan((decision(rid(1), node_id), decision(rid(2), node_id)), (gone,)))
        await self.caller(SUPERNODE).heartbeat(structs.replace(BEAT, held=[Held(rid(1), 9, 1.0)]))
        page = await self.caller(OPERATOR).placements()
        assert [(each.resource, each.state, each.reason) for each in page.placements] == [
            (rid(1), "held", "hot: then"),
            (rid(2), "ordered", "hot: then"),
        ]
        assert [(each.resource, each.state) for each in page.dropped] == [(rid(9), "dropped")]
        second = await self.caller(OPERATOR).placements("campus", 1, 1)
        assert ([each.resource for each in second.placements], second.dropped) == ([rid(2)], [])
        assert (await self.caller(OPERATOR).placements("town")).placements == []

    async def test_nodes_and_whether_they_live(self) -> None:
        await self.caller(SUPERNODE).heartbeat(BEAT)
        (node,) = (await self.caller(OPERATOR).nodes()).nodes
        assert (node.node_id, node.isp, node.alive) == (SUPERNODE.node_id, "campus", True)
        self.clock.advance(15.1)
        (node,) = (await self.caller(OPERATOR).nodes()).nodes
        assert not node.alive

    async def test_what_a_node_holds(self) -> None:
        held = [Held(rid(2), 9, 0.5), Held(rid(1), 9, 1.0)]
        await self.caller(SUPERNODE).heartbeat(structs.replace(BEAT, held=held))
        client = self.caller(OPERATOR)
        assert (await client.held(SUPERNODE.node_id)).held == held[::-1]
        assert (await client.held(SUPERNODE.node_id, 1, 1)).held == held[:1]
        assert (await client.held("f" * 64)).held == []

    async def test_a_rehearsal_names_its_policy(self) -> None:
        await self.manager.sync()
        await self.registry.enact("campus", Plan((decision(rid(1), "b" * 64),), ()))
        client = self.caller(OPERATOR)
        found = await client.rehearsal("threshold")
        assert (found.policy, found.placed, found.kept) == ("threshold", [], 0)
        assert [(each.resource, each.state) for each in found.dropped] == [(rid(1), "proposed")]
        assert (await client.rehearsal()).policy == "value"
        assert "threshold, value" in str(await self.refused(client.rehearsal("magic")))
        assert len(await self.registry.standing()) == 1

    async def test_rules_come_and_go(self) -> None:
        client = self.caller(OPERATOR)
        await self.caller(SUPERNODE).heartbeat(BEAT)
        pin = await client.add_rule(RuleRequest(RuleKind.PIN, rid(1), "campus", MIB, note="exam week"))
        preheat = await client.add_rule(RuleRequest(RuleKind.PREHEAT, rid(2), length=MIB))
        assert (pin.by, pin.until, pin.note) == (OPERATOR.node_id, None, "exam week")
        assert preheat.until == 1_000_000.0 + 86_400.0
        assert (await client.rules()).rules == [pin, preheat]
        assert (await client.rules(1, 1)).rules == [preheat]
        await self.manager.sync()
        await self.manager.decide()
        status = await client.rule(pin.number)
        assert status.rule == pin
        (target,) = status.targets
        assert (target.isp, target.node_id, target.state) == ("campus", SUPERNODE.node_id, "ordered")
        assert target.reason == f"pinned by an operator (rule {pin.number}: exam week)"
        await client.remove_rule(pin.number)
        assert "404" in str(await self.refused(client.remove_rule(pin.number)))
        assert "404" in str(await self.refused(client.rule(pin.number)))
        assert "404" in str(await self.refused(self.client(self.url, OPERATOR).get("/v1/rules/x", dict)))
        assert "$.length" in str(await self.refused(client.add_rule(RuleRequest(RuleKind.PIN, rid(9)))))

    async def test_rules_are_taken_from_operators_only_also_on_the_same_machine(self) -> None:
        pin = RuleRequest(RuleKind.PIN, rid(1), length=MIB)
        for identity in (None, STRANGER, SUPERNODE):
            client = self.caller(identity, "127.0.0.1")
            await self.refused(client.add_rule(pin))
            await self.refused(client.remove_rule(1))
            assert (await client.rules()).rules == []

    async def test_whoever_is_on_the_same_machine_may_ask(self) -> None:
        assert (await self.caller(None, "127.0.0.1").nodes()).nodes == []
        assert (await self.caller(STRANGER).placements()).placements == []

    async def test_pages_are_bounded(self) -> None:
        client = self.caller(OPERATOR)
        for limit in (0, 10_001):
            failure: NetError = await self.refused(client.nodes(limit=limit))
            assert "$.limit" in str(failure)

    async def refused(self, call: Any) -> NetError:
        try:
            await call
        except NetError as error:
            return error
        raise AssertionError("it was answered")

    async def test_health_says_whether_the_statistics_were_read(self) -> None:
        client = self.client(self.url, None)
        before: dict[str, Any] = await client.get("/v1/health", dict)
        await self.manager.sync()
        after: dict[str, Any] = await client.get("/v1/health", dict)
        assert (before["informed"], after["informed"]) == (False, True)


class RemoteOperatorTests(ApiCase):
    """Callers from other machines: an address that is not loopback cannot be had here, so the call is made by hand."""

    async def test_only_operators_may_ask_from_afar(self) -> None:
        handlers = ManagerApi(self.manager, "value", LIMITS)

        async def status(caller: Caller | None) -> int:
            call = Call(caller, "192.0.2.9", {}, {}, None, Headers(), None)  # type: ignore[arg-type]
            try:
                await handlers.nodes(call)
                await handlers.placements(call)
                await handlers.rules(call)
                await handlers.rehearsal(call)
            except ApiError as error:
                return error.status
            return 200

        assert await status(None) == 401
        assert await status(Caller("a" * 64, frozenset({"supernode"}))) == 403
        assert await status(Caller("a" * 64, frozenset({"operator"}))) == 200
