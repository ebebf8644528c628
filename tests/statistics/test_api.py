"""Does the statistics server take samples from trackers only, and tell managers and operators only?"""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from twisted.internet.task import Clock

from p2sp.net.authority import Authority
from p2sp.net.errors import Refused
from p2sp.net.identity import Identity
from p2sp.net.jsonapi import Api
from p2sp.ops.database import Database
from p2sp.statistics.api import MAX_BATCH_BODY, StatisticsApi
from p2sp.statistics.client import StatisticsClient
from p2sp.statistics.figures import SqlFigures
from p2sp.statistics.schema import SampleBatch
from p2sp.statistics.service import PRUNE_AT_ONCE, prune
from p2sp.statistics.store import SILENT, SqlStatisticsStore
from p2sp.statistics.tables import metadata
from p2sp.tracker.schema import Counters, Event
from tests.net.kit import AUTHORITY, SERVER, STRANGER, TRACKER, TRUST, LoopbackCase, reactor
from tests.statistics.samples import FIRST, NOW, RESOURCE, a_sample

MANAGER = AUTHORITY.issue("manager", ["127.0.0.1"], "manager")
OPERATOR = AUTHORITY.issue("operator", ["127.0.0.1"], "operator")
FOREIGN = Authority.create("another network").issue("tracker", ["127.0.0.1"], "tracker")
EXPIRED = AUTHORITY.issue(
    "tracker",
    ["127.0.0.1"],
    "tracker of old",
    now=datetime.now(UTC) - timedelta(days=30),
    lifetime=timedelta(days=1),
)


class StatisticsCase(LoopbackCase):
    """A statistics server with an empty store in memory, its clock standing at NOW."""

    def setUp(self) -> None:
        database = Database(reactor, "sqlite://", metadata)
        database.open()
        self.addCleanup(database.close)
        self.clock = Clock()
        self.clock.advance(NOW)
        self.store = SqlStatisticsStore(database, interval=2.0, retention=7200.0)
        api = Api(TRUST, reactor, role="statistics", node_id=SERVER.node_id, rate_limit=None)
        StatisticsApi(self.store, SqlFigures(database), self.clock).mount(api)
        self.url = self.serve(api)

    def statistics(self, identity: Identity | None = None) -> StatisticsClient:
        return StatisticsClient(self.client(self.url, identity))

    async def refused(self, status: int, coroutine: Any) -> Refused:
        with pytest.raises(Refused) as caught:
            await coroutine
        assert caught.value.status == status, caught.value
        return caught.value


class SampleTests(StatisticsCase):
    async def test_samples_become_rollups(self) -> None:
        batch = [a_sample(server=1000, rate=10), a_sample(server=1, at=NOW - 9999), a_sample(server=3000, rate=10)]
        answer = await self.statistics(TRACKER).send(batch)
        assert (answer.accepted, answer.refused) == (2, 1)
        for reader in (MANAGER, OPERATOR):
            page = await self.statistics(reader).rollups()
            assert [(each.server, each.seconds, each.speed) for each in page.rollups] == [(3000, 2.0, 10.0)]
            assert (page.cursor, page.more, page.newest) == (FIRST, False, FIRST)
        assert (await self.statistics(MANAGER).rollups(page.cursor)).rollups == []
        assert await self.statistics(OPERATOR).of_resource(RESOURCE) == page.rollups
        assert await self.statistics(OPERATOR).of_resource("0" * 64) == []

    async def test_sending_again_is_safe(self) -> None:
        client = self.statistics(TRACKER)
        for _ in range(3):
            await client.send([a_sample(server=1000), a_sample(node="22" * 32, server=5)])
        (rollup,) = (await self.statistics(MANAGER).rollups()).rollups
        assert (rollup.server, rollup.clients, rollup.revision) == (1005, 2, FIRST)

    async def test_who_may_not_send(self) -> None:
        for identity, status in ((None, 401), (STRANGER, 403), (MANAGER, 403), (FOREIGN, 403), (EXPIRED, 403)):
            await self.refused(status, self.statistics(identity).send([a_sample(server=1)]))
        assert (await self.statistics(MANAGER).rollups()).rollups == []

    async def test_who_may_not_read(self) -> None:
        for identity, status in ((None, 401), (STRANGER, 403), (TRACKER, 403)):
            await self.refused(status, self.statistics(identity).rollups())
            await self.refused(status, self.statistics(identity).of_resource(RESOURCE))

    async def test_a_bad_sample_is_named_and_nothing_of_its_batch_taken(self) -> None:
        client = self.statistics(TRACKER)
        for change, where in (
            ({"session": "short"}, "$.samples[1].session"),
            ({"node_id": "x" * 64}, "$.samples[1].node_id"),
            ({"counters": Counters(server=-1)}, "$.samples[1].counters.server"),
            ({"left": 2**63}, "$.samples[1].left"),
            ({"isp": "x" * 513}, "$.samples[1].isp"),
        ):
            batch = [a_sample(server=1), msgspec.structs.replace(a_sample(), **change)]
            assert where in (await self.refused(422, client.send(batch))).message
        assert (await self.statistics(MANAGER).rollups()).rollups == []

    async def test_too_many_samples(self) -> None:
        client = self.statistics(TRACKER)
        error = await self.refused(422, client.send([a_sample()] * 5001))
        assert "$.samples" in error.message
        await self.refused(
            413, self.client(self.url, TRACKER).send("POST", "/v1/samples", b" " * (MAX_BATCH_BODY + 1), dict)
        )

    def test_the_largest_batch_fits_the_body(self) -> None:
        most = 2**62
        sample = a_sample(
            session="f" * 64,
            event=Event.COMPLETED,
            at=1.2345678901234567e9,
            counters=Counters(most, most, most, most, most),
            length=most,
            left=most,
            isp="x" * 512,
            rate=most,
            stalled_ms=most,
            supernode=True,
        )
        assert len(msgspec.json.encode(SampleBatch([sample] * 5000))) < MAX_BATCH_BODY

    async def test_bad_questions(self) -> None:
        client = self.client(self.url, OPERATOR)
        for params in ({"limit": 0}, {"limit": 1001}, {"cursor": -1}, {"cursor": "x"}, {"colour": 1}):
            await self.refused(422, client.get("/v1/rollups", dict, params))
        await self.refused(404, self.statistics(OPERATOR).of_resource("xyz"))

    async def test_pages(self) -> None:
        await self.statistics(TRACKER).send([a_sample(resource=f"{at:064x}", server=1) for at in range(5)])
        client = self.statistics(MANAGER)
        first = await client.rollups(limit=3)
        second = await client.rollups(first.cursor, 3)
        assert [each.revision for each in first.rollups + second.rollups] == [FIRST + at for at in range(5)]
        assert (first.more, second.more) == (True, False)


class FigureTests(StatisticsCase):
    async def test_what_was_hot_when_and_where(self) -> None:
        await self.statistics(TRACKER).send([a_sample(server=1000, rate=10), a_sample(resource="cd" * 32, server=5)])
        client = self.statistics(OPERATOR)
        (hot,) = await client.hot(limit=1)
        assert (hot.resource, hot.volume, hot.clients) == (RESOURCE, 1000, 1)
        assert await client.hot(isp="town") == []
        self.clock.advance(1.0)
        course = await client.course(60.0, 30.0, "campus", RESOURCE)
        assert sum(each.server for each in course) == 1000
        (isp,) = await client.isps(60.0)
        assert (isp.isp, isp.volume) == ("campus", 1005)
        self.clock.advance(3601.0)
        assert await client.hot() == []
        assert await client.isps() == []

    async def test_who_may_not_ask_and_what(self) -> None:
        for path in ("hot", "course", "isps"):
            await self.refused(403, self.client(self.url, TRACKER).get(f"/v1/{path}", dict, {}))
            for params in ({"window": 0}, {"window": 10**9}, {"colour": 1}):
                await self.refused(422, self.client(self.url, OPERATOR).get(f"/v1/{path}", dict, params))
        await self.refused(422, self.client(self.url, OPERATOR).get("/v1/hot", dict, {"limit": 101}))
        await self.refused(422, self.client(self.url, OPERATOR).get("/v1/hot", dict, {"isp": "x" * 513}))
        await self.refused(422, self.client(self.url, OPERATOR).get("/v1/course", dict, {"resource": "xyz"}))


class PruneTests(StatisticsCase):
    async def test_all_that_is_old_goes_in_turns(self) -> None:
        count = PRUNE_AT_ONCE + 10
        await self.store.take([a_sample(resource=f"{at:064x}", server=1) for at in range(count)], NOW)
        assert await prune(self.store, self.clock) == 0
        self.clock.advance(7300.0)
        assert await prune(self.store, self.clock) == count
        self.clock.advance(SILENT)
        assert await prune(self.store, self.clock) == count
        assert (await self.store.page(0, 10)).rollups == []
