"""Does every store of the statistics server keep its promises?"""

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from p2sp.ops.database import Database
from p2sp.statistics.interfaces import IStatisticsStore
from p2sp.statistics.schema import Rollup, Sample
from p2sp.statistics.store import SILENT, SqlStatisticsStore, metadata
from p2sp.tracker.schema import Counters, Event
from tests.statistics.samples import NOW, RESOURCE, a_sample

OTHER = "cd" * 32


if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object


class StatisticsStoreContract(_Base):
    """What holds for every store; a class for each back end says where it is."""

    url: str

    def setUp(self) -> None:
        self.store = self.open()

    def open(self) -> SqlStatisticsStore:
        database = Database(IReactorFromThreads(reactor), self.url, metadata)
        database.open()
        self.addCleanup(database.close)
        return SqlStatisticsStore(database, interval=60.0, retention=86_400.0, max_age=3600.0)

    async def all(self) -> list[Rollup]:
        page = await self.store.page(0, 1000)
        assert not page.more
        return page.rollups

    async def test_provides(self) -> None:
        assert verifyObject(IStatisticsStore, self.store)

    async def test_empty(self) -> None:
        page = await self.store.page(0, 10)
        assert (page.rollups, page.cursor, page.more) == ([], 0, False)
        assert await self.store.of_resource(RESOURCE, 10) == []
        answer = await self.store.take([], NOW)
        assert (answer.accepted, answer.refused) == (0, 0)

    async def test_one_sample(self) -> None:
        counters = Counters(server=1000, supernode=200, peer_local=30, peer_remote=4, up=999)
        sample = a_sample(counters=counters, rate=50, stalled_ms=7, left=0, event=Event.COMPLETED)
        answer = await self.store.take([sample], NOW)
        assert (answer.accepted, answer.refused) == (1, 0)
        (rollup,) = await self.all()
        assert rollup == Rollup(
            isp="campus",
            resource=RESOURCE,
            start=NOW - NOW % 60,
            seconds=60.0,
            server=1000,
            supernode=200,
            peer_local=30,
            peer_remote=4,
            fill=0,
            clients=1,
            speed=50.0,
            stalled_ms=7,
            length=1_000_000,
            completed=1,
            revision=1,
        )

    async def test_the_same_batch_again_changes_nothing(self) -> None:
        batch = [a_sample(server=1000), a_sample(server=3000, at=NOW + 1), a_sample(node="22" * 32, server=5)]
        await self.store.take(batch, NOW)
        before = await self.all()
        answer = await self.store.take(batch, NOW)
        assert answer.accepted == 3
        assert await self.all() == before
        assert [(each.server, each.clients) for each in before] == [(3005, 2)]

    async def test_a_second_batch_adds_up(self) -> None:
        await self.store.take([a_sample(server=1000, rate=100)], NOW)
        await self.store.take([a_sample(server=4000, rate=300), a_sample(node="22" * 32, server=1)], NOW + 1)
        await self.store.take([a_sample(server=5000, at=NOW + 60)], NOW + 60)
        first, second = await self.all()
        assert (first.server, first.clients, first.speed) == (4001, 2, 250.0)
        assert (second.server, second.clients) == (1000, 1)

    async def test_unknown_isps_are_one_and_apart(self) -> None:
        for counter in (1, 2):
            await self.store.take([a_sample(isp=None, server=counter), a_sample(node="22" * 32, server=counter)], NOW)
        assert {each.isp: each.server for each in await self.all()} == {None: 2, "campus": 2}

    async def test_fills_are_no_demand(self) -> None:
        await self.store.take([a_sample(server=1000, supernode=True)], NOW)
        (rollup,) = await self.all()
        assert (rollup.fill, rollup.server, rollup.clients) == (1000, 0, 0)

    async def test_refused_samples_leave_no_trace(self) -> None:
        answer = await self.store.take([a_sample(at=NOW - 4000, server=9), a_sample(at=NOW + 100, server=9)], NOW)
        assert (answer.accepted, answer.refused) == (0, 2)
        assert await self.all() == []

    async def test_pages_follow_revisions(self) -> None:
        batch = [a_sample(resource=f"{at:064x}", server=1) for at in range(7)]
        await self.store.take(batch, NOW)
        seen: list[Rollup] = []
        cursor, more, pages = 0, True, 0
        while more:
            page = await self.store.page(cursor, 3)
            seen += page.rollups
            cursor, more, pages = page.cursor, page.more, pages + 1
        assert pages == 3
        assert [each.revision for each in seen] == list(range(1, 8))
        assert {each.resource for each in seen} == {each.resource for each in batch}
        await self.store.take([a_sample(resource=f"{4:064x}", server=2)], NOW)
        page = await self.store.page(cursor, 3)
        assert [(each.resource, each.server) for each in page.rollups] == [(f"{4:064x}", 2)]
        assert page.cursor == 8
        assert (await self.store.page(8, 3)).cursor == 8

    async def test_a_reader_between_writers_misses_nothing(self) -> None:
        rng = random.Random(7)
        moved: dict[str, int] = {}
        copy: dict[str, int] = {}
        cursor = 0
        for _ in range(30):
            batch = []
            for resource in rng.sample([f"{at:064x}" for at in range(9)], k=rng.randrange(1, 9)):
                moved[resource] = moved.get(resource, 0) + rng.randrange(1, 99)
                batch.append(a_sample(resource=resource, server=moved[resource]))
            writing = self.store.take(batch, NOW)
            page = await self.store.page(cursor, rng.randrange(1, 5))
            copy |= {each.resource: each.server for each in page.rollups}
            cursor = page.cursor
            await writing
        while (page := await self.store.page(cursor, 4)).rollups:
            copy |= {each.resource: each.server for each in page.rollups}
            cursor = page.cursor
        assert copy == moved

    async def test_more_than_a_statement_holds(self) -> None:
        batch = [a_sample(node=f"{at:064x}", resource=f"{at % 1200:064x}", server=at + 1) for at in range(2600)]
        await self.store.take(batch, NOW)
        await self.store.take(batch, NOW)
        first = await self.store.page(0, 1000)
        rest = await self.store.page(first.cursor, 1000)
        assert (len(first.rollups), first.more, len(rest.rollups), rest.more) == (1000, True, 200, False)
        rollups = first.rollups + rest.rollups
        assert sum(each.server for each in rollups) == sum(range(2601))
        assert sum(each.clients for each in rollups) == 2600

    async def test_of_resource(self) -> None:
        for minute in range(4):
            await self.store.take([a_sample(server=minute + 1, at=NOW + 60 * minute)], NOW + 60 * minute)
        await self.store.take([a_sample(resource=OTHER, server=5)], NOW)
        starts = [each.start for each in await self.store.of_resource(RESOURCE, 3)]
        assert starts == [NOW - NOW % 60 + 60 * minute for minute in (3, 2, 1)]

    async def test_prune(self) -> None:
        await self.store.take([a_sample(server=1000), a_sample(resource=OTHER, server=1)], NOW)
        later = NOW + SILENT + 3000
        await self.store.take([a_sample(node="22" * 32, server=7, at=later)], later)
        # The limit holds for sessions and rollups each: two passes, then nothing is left to forget.
        assert [await self.store.prune(later, 1) for _ in range(3)] == [2, 2, 0]
        (rollup,) = await self.all()
        assert (rollup.server, rollup.clients) == (7, 1)
        # A session that was forgotten is a new account.
        await self.store.take([a_sample(server=1000, at=later)], later)
        (rollup,) = await self.all()
        assert (rollup.server, rollup.clients) == (1007, 2)

    async def test_sums_beyond_the_integers_of_a_database(self) -> None:
        huge = Counters(server=2**62, peer_remote=2**62)
        batch = [a_sample(node=f"{at:064x}", counters=huge, rate=2**62) for at in range(3)]
        await self.store.take(batch, NOW)
        await self.store.take([a_sample(counters=huge)], NOW)
        (rollup,) = await self.all()
        assert (rollup.server, rollup.clients) == (2**62, 4)

    async def test_any_way_of_arriving_leads_to_the_same(self) -> None:
        rng = random.Random(3)
        samples: list[Sample] = []
        for node in range(3):
            for step in range(5):
                samples.append(a_sample(node=f"{node:064x}", server=100 * (step + 1) * (node + 1)))
        arrived = samples + rng.choices(samples, k=10)
        rng.shuffle(arrived)
        while arrived:
            cut = rng.randrange(1, len(arrived) + 1)
            await self.store.take(arrived[:cut], NOW)
            arrived = arrived[cut:]
        (rollup,) = await self.all()
        assert (rollup.server, rollup.clients) == (500 * (1 + 2 + 3), 3)


class MemoryTests(StatisticsStoreContract, TestCase):
    """SQLite in memory."""

    url = "sqlite://"


class FileTests(StatisticsStoreContract, TestCase):
    """SQLite in a file."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.url = f"sqlite:///{Path(folder.name) / 'statistics.sqlite'}"
        super().setUp()

    async def test_outlives_the_process(self) -> None:
        await self.store.take([a_sample(server=1000)], NOW)
        await self.store.database.close()
        self.store = self.open()
        await self.store.take([a_sample(server=1500)], NOW)
        (rollup,) = await self.all()
        assert (rollup.server, rollup.clients, rollup.revision) == (1500, 1, 2)
