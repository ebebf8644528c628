"""Does a tracker, over TLS, tell nodes of each other by what it sees and not by what they claim?"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from treq import content

from p2sp.locality.network_map import NetworkMap
from p2sp.net.authority import Authority
from p2sp.net.errors import Unreachable
from p2sp.net.identity import create_identity
from p2sp.tracker.entry import swarm_key
from p2sp.tracker.load import MOST_PRICE
from p2sp.tracker.schema import AnnounceAnswer, Event, Registration, RegistrationAnswer, Scope, SwarmSummary, TrackerRef
from tests.tracker.entries import RESOURCE, request
from tests.tracker.kit import ISP_ONE, ISP_TWO, NO_ISP, TrackerCase


def any_body(values: dict[str, Any]) -> msgspec.Struct:
    """A body that no schema has checked."""
    return msgspec.defstruct("Body", list(values))(**values)


class AnnounceTests(TrackerCase):
    """`POST /v1/announce`."""

    async def test_two_nodes_of_an_isp_find_each_other_as_local(self) -> None:
        url = self.tracker()
        one, two = create_identity(), create_identity()
        first = await self.node(url, ISP_ONE.format(1), one).announce(request(left=0))
        assert (first.nodes, first.address, first.isp) == ([], "127.1.0.1", "one")
        assert (first.seeds, first.leeches) == (1, 0)
        second = await self.node(url, ISP_ONE.format(2), two).announce(request(port=7002))
        [found] = second.nodes
        assert (found.node_id, found.host, found.port) == (one.node_id, "127.1.0.1", 7000)
        assert (found.local, found.supernode, found.have) == (True, False, 1.0)
        assert (second.seeds, second.leeches, second.epoch) == (1, 1, first.epoch)
        third = await self.node(url, ISP_TWO.format(1)).announce(request())
        assert {each.node_id: each.local for each in third.nodes} == {one.node_id: False, two.node_id: False}

    async def test_locals_come_first_and_strangers_know_no_locals(self) -> None:
        url = self.tracker()
        for isp, count in ((ISP_ONE, 4), (ISP_TWO, 4), ("127.0.0.{}", 4)):
            for number in range(1, count + 1):
                await self.node(url, isp.format(number)).announce(request())
        local = await self.node(url, ISP_TWO.format(99)).announce(request(wanted=6))
        assert [each.local for each in local.nodes] == [True] * 4 + [False] * 2
        stranger = await self.node(url, "127.0.0.99").announce(request())
        assert stranger.isp is None
        assert len(stranger.nodes) == 13
        assert not any(each.local for each in stranger.nodes)

    async def test_the_interval_is_the_configured_one_give_or_take_a_tenth(self) -> None:
        url = self.tracker("interval = 40")
        node = self.node(url)
        intervals = {(await node.announce(request())).interval for _ in range(20)}
        assert len(intervals) > 10
        assert all(36.0 <= each <= 44.0 for each in intervals)

    async def test_a_super_node_is_one_by_our_certificate_alone(self) -> None:
        url = self.tracker()
        real = self.network.authority.issue("supernode", [], "cache")
        forged = Authority.create("test network").issue("supernode", [], "cache")
        past = datetime.now(UTC) - timedelta(days=30)
        expired = self.network.authority.issue("supernode", [], "cache", now=past, lifetime=timedelta(days=1))
        others = [forged, expired, self.network.identity("publisher"), create_identity()]
        for identity in (real, *others):
            await self.node(url, ISP_ONE.format(5), identity).announce(request(left=0))
        answer = await self.node(url, ISP_ONE.format(6)).announce(request())
        assert {each.node_id: each.supernode for each in answer.nodes} == {
            real.node_id: True,
            **{each.node_id: False for each in others},
        }
        assert answer.nodes[0].node_id == real.node_id

    async def test_without_a_certificate_nobody_is_anybody(self) -> None:
        api = self.api(self.tracker(), None)
        status, code, _ = await self.refusal(api.post("/v1/announce", request(), AnnounceAnswer))
        assert (status, code) == (401, "identity")

    async def test_what_is_malformed_is_named(self) -> None:
        api = self.api(self.tracker(), create_identity())
        good = msgspec.to_builtins(request())
        for change, says in (
            ({"resource": "AB" * 32}, "$.resource"),
            ({"resource": RESOURCE + "\n"}, "$.resource"),
            ({"resource": "ab" * 31}, "$.resource"),
            ({"session": "zz" * 16}, "$.session"),
            ({"port": 65536}, "$.port"),
            ({"port": -1}, "$.port"),
            ({"left": -1}, "$.left"),
            ({"left": 3 * 1024 * 1024}, "cannot be left of"),
            ({"event": "paused"}, "$.event"),
            ({"counters": {"server": -1}}, "$.counters.server"),
            ({"wanted": 201}, "$.wanted"),
            ({"address": "192.0.2.1"}, "address"),
            ({"node_id": "ab" * 32}, "node_id"),
        ):
            call = api.post("/v1/announce", any_body({**good, **change}), AnnounceAnswer)
            status, code, message = await self.refusal(call)
            assert (status, code) == (422, "invalid")
            assert says in message

    async def test_a_body_too_large_is_refused(self) -> None:
        api = self.api(self.tracker(), create_identity())
        body = any_body({**msgspec.to_builtins(request()), "resource": "a" * 20_000})
        status, _, _ = await self.refusal(api.post("/v1/announce", body, AnnounceAnswer))
        assert status == 413

    async def test_a_node_nobody_can_reach_is_counted_and_not_named(self) -> None:
        url = self.tracker()
        await self.node(url, ISP_ONE.format(1)).announce(request(port=0))
        answer = await self.node(url, ISP_ONE.format(2)).announce(request())
        assert (answer.nodes, answer.leeches) == ([], 2)

    async def test_who_stops_is_gone_unless_it_began_anew(self) -> None:
        url = self.tracker()
        node = self.node(url)
        watcher = self.node(url, ISP_ONE.format(1))
        await node.announce(request(session="11" * 16))
        await node.announce(request(session="22" * 16, event=Event.STARTED))
        late = await node.announce(request(session="11" * 16, event=Event.STOPPED))
        assert late.nodes == []
        assert len((await watcher.announce(request())).nodes) == 1
        await node.announce(request(session="22" * 16, event=Event.STOPPED))
        answer = await watcher.announce(request())
        assert (answer.nodes, answer.leeches) == ([], 1)

    async def test_the_silent_are_forgotten(self) -> None:
        url = self.tracker("interval = 10\nexpiry = 25")
        await self.node(url).announce(request())
        self.now += 24.9
        watcher = self.node(url, ISP_ONE.format(1))
        assert len((await watcher.announce(request())).nodes) == 1
        self.now += 0.2
        assert (await watcher.announce(request())).nodes == []

    async def test_who_moves_is_named_where_it_is(self) -> None:
        url = self.tracker()
        identity = create_identity()
        await self.node(url, ISP_ONE.format(1), identity).announce(request(port=1))
        await self.node(url, ISP_TWO.format(1), identity).announce(request(port=2))
        [found] = (await self.node(url, ISP_TWO.format(2)).announce(request())).nodes
        assert (found.host, found.port, found.local) == ("127.2.0.1", 2, True)

    async def test_a_full_swarm_still_answers(self) -> None:
        url = self.tracker("limits = {nodes_per_swarm = 1}")
        known = create_identity()
        await self.node(url, identity=known).announce(request())
        for _ in range(2):
            answer = await self.node(url).announce(request())
            assert [each.node_id for each in answer.nodes] == [known.node_id]
            assert (answer.seeds, answer.leeches) == (0, 1)

    async def test_a_key_that_announces_too_often_is_told_when_to_come_back(self) -> None:
        url = self.tracker("limits = {rate_per_node = 0.5, burst_per_node = 2.0}")
        identity = create_identity()
        for address in (ISP_ONE.format(1), ISP_TWO.format(1)):
            await self.node(url, address, identity).announce(request())
        status, code, _ = await self.refusal(self.node(url, ISP_ONE.format(2), identity).announce(request()))
        assert (status, code) == (429, "too-many")
        await self.node(url).announce(request())
        self.now += 2.0
        await self.node(url, identity=identity).announce(request())

    async def test_an_address_that_calls_too_often_is_refused_and_super_nodes_are_not(self) -> None:
        url = self.tracker("limits = {rate_per_address = 0.001, burst_per_address = 2.0, burst_per_node = 1.0}")
        await self.node(url, ISP_ONE.format(1)).announce(request())
        await self.node(url, ISP_ONE.format(1)).announce(request())
        status, _, _ = await self.refusal(self.node(url, ISP_ONE.format(1)).announce(request()))
        assert status == 429
        await self.node(url, ISP_ONE.format(2)).announce(request())
        cache = self.node(url, ISP_ONE.format(1), self.network.authority.issue("supernode", [], "cache"))
        for _ in range(5):
            await cache.announce(request())

    async def test_who_dials_all_the_time_is_not_let_in_when_there_is_much_to_do(self) -> None:
        url = self.tracker('limits = {rate_per_address = 1.0, burst_per_address = 8.0}\nforeign_http = "127.0.0.1:0"')
        gauge = self.role.ports[0].factory.desk.gauge  # type: ignore[attr-defined]
        url = url.replace(url.rpartition(":")[2], str(self.role.ports[1].getHost().port))  # type: ignore[attr-defined]
        await self.unwatched()
        cache = self.network.authority.issue("supernode", [], "cache")

        async def dial(address: str, price: float) -> None:
            gauge.price = price
            # With a role no call is limited.
            await self.node(url, address, cache).announce(request())

        for _ in range(12):
            await dial(ISP_ONE.format(1), 1.0)
        for _ in range(8):
            await dial(ISP_ONE.format(1), MOST_PRICE)
        with self.assertRaises(Unreachable):
            await dial(ISP_ONE.format(1), MOST_PRICE)
        await dial(ISP_ONE.format(2), MOST_PRICE)
        await dial(ISP_ONE.format(1), 1.0)

    async def test_ipv6(self) -> None:
        url = self.tracker(listen="[::1]:0")
        first = await self.node(url, "::1").announce(request())
        assert (first.address, first.isp) == ("::1", "six")
        [found] = (await self.node(url, "::1").announce(request())).nodes
        assert (found.host, found.local) == ("::1", True)

    async def test_an_ipv4_node_at_a_dual_stack_listener_is_an_ipv4_node(self) -> None:
        url = self.tracker(listen="[::]:0")
        answer = await self.node(url.replace("[::]", "127.0.0.1"), ISP_ONE.format(3)).announce(request())
        assert (answer.address, answer.isp) == ("127.1.0.3", "one")

    async def test_a_restarted_tracker_is_another_epoch(self) -> None:
        epochs = [(await self.node(self.tracker()).announce(request())).epoch for _ in range(2)]
        assert epochs[0] != epochs[1]


class MapTests(TrackerCase):
    """`GET /v1/map` and `GET /v1/health`."""

    async def test_the_map_is_the_operators_own(self) -> None:
        url = self.tracker()
        found = await self.node(url).network_map()
        assert found.document == (self.network.folder / "map.json").read_bytes()
        assert found.isp_of("127.2.3.4") == "two"

    async def test_the_map_has_altos_media_type(self) -> None:
        url = self.tracker()
        agent = self.api(url, None)._agent
        response = await agent.request(b"GET", f"{url}/v1/map".encode())
        body: bytes = await content(response)
        assert response.headers.getRawHeaders("content-type") == ["application/alto-networkmap+json"]
        assert response.headers.getRawHeaders("etag") == [f'"{NetworkMap.decode(body).digest}"']

    async def test_there_may_be_no_map(self) -> None:
        url = self.tracker(network_map=None)
        status, code, _ = await self.refusal(self.node(url).network_map())
        assert (status, code) == (404, "no-map")
        answer = await self.node(url, ISP_ONE.format(1)).announce(request())
        assert (answer.isp, answer.address) == (None, "127.1.0.1")

    async def test_health_counts(self) -> None:
        url = self.tracker()
        await self.node(url).announce(request())
        health = await self.api(url, None).get("/v1/health", dict[str, object])
        assert health["role"] == "tracker"
        assert (health["scope"], health["swarms"], health["entries"], health["nodes"]) == ("global", 1, 1, 1)
        assert health["local_trackers"] == 0


class RegistrationTests(TrackerCase):
    """`POST /v1/trackers`, and what clients of the global tracker are told."""

    async def test_the_global_tracker_hands_out_the_local_one_to_its_isp(self) -> None:
        url = self.tracker("interval = 20")
        tracker = self.node(url, identity=self.network.identity("tracker", "local"))
        answer = await tracker.register(Registration("https://127.1.0.1:9002/", ["one"]))
        assert answer == RegistrationAnswer(interval=20.0)
        ours = await self.node(url, ISP_ONE.format(1)).announce(request())
        assert ours.trackers == [TrackerRef("https://127.1.0.1:9002", Scope.LOCAL)]
        for address in (ISP_TWO.format(1), NO_ISP):
            assert (await self.node(url, address).announce(request())).trackers == []
        self.now += 60.0
        assert (await self.node(url, ISP_ONE.format(1)).announce(request())).trackers == []

    async def test_what_local_trackers_know_is_counted_and_told_to_be_known_elsewhere(self) -> None:
        url = self.tracker("interval = 20")
        swarms = [SwarmSummary(swarm_key(RESOURCE), 3, 5), SwarmSummary("00" * 20, 7, 7)]
        tracker = self.node(url, identity=self.network.identity("tracker", "local"))
        await tracker.register(Registration("https://127.1.0.1:9002/", ["one"], swarms))
        answer = await self.node(url, ISP_TWO.format(1)).announce(request())
        assert (answer.seeds, answer.leeches, answer.known) == (3, 5, 0.125)
        await tracker.register(Registration("https://127.1.0.1:9002/", ["one"]))
        answer = await self.node(url, ISP_TWO.format(1)).announce(request())
        assert (answer.seeds, answer.known) == (0, 1.0)

    async def test_only_trackers_may_register(self) -> None:
        url = self.tracker()
        registration = Registration("https://127.1.0.1:9002", ["one"])
        forged = Authority.create("test network").issue("tracker", [], "tracker")
        for identity in (create_identity(), forged, self.network.identity("supernode")):
            status, code, _ = await self.refusal(self.node(url, identity=identity).register(registration))
            assert (status, code) == (403, "role")
        call = self.api(url, None).post("/v1/trackers", registration, RegistrationAnswer)
        assert (await self.refusal(call))[0] == 401

    async def test_a_url_nobody_can_use_is_refused(self) -> None:
        tracker = self.node(self.tracker(), identity=self.network.identity("tracker", "local"))
        for url in ("http://127.1.0.1", "nonsense"):
            status, _, message = await self.refusal(tracker.register(Registration(url, ["one"])))
            assert status == 422
            assert url in message
        assert (await self.refusal(tracker.register(Registration("https://a.example", []))))[0] == 422

    async def test_a_local_tracker_takes_no_registrations(self) -> None:
        url = self.tracker('scope = "local"\nisps = ["one"]')
        tracker = self.node(url, identity=self.network.identity("tracker", "other"))
        status, _, _ = await self.refusal(tracker.register(Registration("https://a.example", ["one"])))
        assert status == 404

    async def test_a_local_tracker_answers_others_with_whom_it_knows(self) -> None:
        url = self.tracker('scope = "local"\nisps = ["one"]')
        await self.node(url, ISP_ONE.format(1)).announce(request())
        answer = await self.node(url, ISP_TWO.format(1)).announce(request())
        assert [(each.host, each.local) for each in answer.nodes] == [("127.1.0.1", False)]
