"""Does every store of the statistics server keep its promises?"""

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from p2sp.ops.database import Database
from p2sp.sketches.distinct import sketch_of
from p2sp.sketches.rates import bucket_of, merge, rate_of
from p2sp.statistics.figures import SqlFigures
from p2sp.statistics.interfaces import IFigures, IStatisticsStore
from p2sp.statistics.schema import Rollup, Sample
from p2sp.statistics.store import SILENT, SqlStatisticsStore
from p2sp.statistics.tables import metadata
from p2sp.tracker.schema import Counters, Event
from tests.statistics.samples import FIRST, NODE, NOW, RESOURCE, a_sample

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
        self.figures = SqlFigures(self.store.database)

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
        assert verifyObject(IFigures, self.figures)

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
            revision=FIRST,
            slow=rate_of(bucket_of(50)),
            speeds={bucket_of(50): 1234},
            nodes=sketch_of([NODE]),
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
        assert [each.revision for each in seen] == list(range(FIRST, FIRST + 7))
        assert {each.resource for each in seen} == {each.resource for each in batch}
        await self.store.take([a_sample(resource=f"{4:064x}", server=2)], NOW)
        page = await self.store.page(cursor, 3)
        assert [(each.resource, each.server) for each in page.rollups] == [(f"{4:064x}", 2)]
        assert page.cursor == page.newest == FIRST + 7
        assert (await self.store.page(FIRST + 7, 3)).cursor == FIRST + 7

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

    async def test_downloads_that_stop_too_early_have_failed_once(self) -> None:
        stopped = a_sample(server=10, event=Event.STOPPED)
        whole = a_sample(node="22" * 32, server=10, event=Event.STOPPED, left=0)
        await self.store.take([stopped, whole], NOW)
        await self.store.take([stopped, whole], NOW)
        (rollup,) = await self.all()
        assert (rollup.failed, rollup.completed) == (1, 1)

    async def test_many_clients_are_an_estimate_and_slow_is_the_slowest_fifth(self) -> None:
        for part in range(2):
            batch = [
                a_sample(node=f"{at:064x}", server=1000, rate=50_000 if at < 400 else 900_000)
                for at in range(part, 2000, 2)
            ]
            await self.store.take(batch, NOW)
        (rollup,) = await self.all()
        assert abs(rollup.clients - 2000) < 500
        assert (rollup.slow, rollup.speed) == (rate_of(bucket_of(50_000)), 730_000.0)

    async def test_the_past_is_thinned_and_a_reader_can_go_on(self) -> None:
        hour = NOW - NOW % 3600
        for minute in range(90):
            at = hour + 60 * minute
            batch = [a_sample(server=10 * (minute + 1), at=at, rate=100), a_sample(node="22" * 32, server=1, at=at)]
            await self.store.take([*batch, a_sample(resource=OTHER, isp=None, server=minute + 1, at=at)], at)
        before = await self.all()
        cursor = before[100].revision
        later = hour + 2 * 86_400 + 2 * 3600
        assert await self.store.thin(later - 2 * 3600, 10) == 0
        thinned = [await self.store.thin(later, 1) for _ in range(5)]
        assert sorted(thinned) == [0, 30, 30, 60, 60]
        assert thinned[-1] == 0
        after = await self.all()
        assert {(each.isp, each.resource, each.start - hour, each.seconds) for each in after} == {
            (isp, resource, start, 3600.0)
            for isp, resource in (("campus", RESOURCE), (None, OTHER))
            for start in (0.0, 3600.0)
        }
        first = next(each for each in after if each.isp == "campus" and each.start == hour)
        covered = [each for each in before if each.isp == "campus" and each.start < hour + 3600]
        assert (first.server, first.clients, first.length) == (601, 2, 1_000_000)
        assert first.revision == max(each.revision for each in covered)
        assert first.speeds == merge(each.speeds for each in covered)
        assert sum(each.server for each in after) == sum(each.server for each in before)
        # Who read a part before sees all that has something new in it, and nothing else.
        seen = (await self.store.page(cursor, 1000)).rollups
        assert {each.revision for each in seen} == {each.revision for each in after if each.revision > cursor}
        assert await self.store.thin(later, 10) == 0

    async def test_what_was_hot(self) -> None:
        first = Counters(server=3000, supernode=500, peer_local=200, peer_remote=300)
        await self.store.take(
            [
                a_sample(counters=first, rate=10_000, stalled_ms=5),
                a_sample(node="22" * 32, counters=Counters(server=2000), rate=20_000, isp="town", left=0),
                a_sample(node="22" * 32, resource=OTHER, server=50, at=NOW + 60),
                a_sample(node="33" * 32, resource=OTHER, server=900, supernode=True),
            ],
            NOW + 60,
        )
        hot, other = await self.figures.hot(NOW - 60, 10)
        assert (hot.resource, hot.volume, hot.server, hot.isps, hot.clients) == (RESOURCE, 6000, 5000, 2, 2)
        assert (hot.length, hot.stalled_ms, hot.completed, hot.failed) == (1_000_000, 5, 1, 0)
        assert (hot.speed, hot.slow) == ((4000 * 10_000 + 2000 * 20_000) / 6000, rate_of(bucket_of(10_000)))
        assert hot.imported == 5300 / 6000
        assert (other.resource, other.volume, other.fill, other.clients) == (OTHER, 50, 900, 1)
        assert await self.figures.hot(NOW - 60, 1) == [hot]
        assert [each.volume for each in await self.figures.hot(NOW - 60, 10, "town")] == [2000]
        assert [each.resource for each in await self.figures.hot(NOW + 1, 10)] == [OTHER]

    async def test_the_course_of_things(self) -> None:
        await self.store.take(
            [
                a_sample(counters=Counters(server=100, supernode=10), rate=1000),
                a_sample(node="22" * 32, isp="town", server=5, at=NOW + 60),
                a_sample(node="33" * 32, resource=OTHER, server=7, at=NOW + 180),
            ],
            NOW + 180,
        )
        course = await self.figures.course(NOW, NOW + 240, 120)
        assert [(each.start, each.seconds, each.server, each.supernode) for each in course] == [
            (NOW, 120.0, 105, 10),
            (NOW + 120, 120.0, 7, 0),
        ]
        assert [each.speed for each in course] == [1000.0, 0.0]
        assert [each.server for each in await self.figures.course(NOW, NOW + 240, 60)] == [100, 5, 0, 7]
        assert [each.server for each in await self.figures.course(NOW, NOW + 240, 240, "town")] == [5]
        assert [each.server for each in await self.figures.course(NOW, NOW + 240, 240, None, OTHER)] == [7]
        assert len(await self.figures.course(NOW - 1e6, NOW, 1.0)) <= 1000
        assert await self.figures.course(NOW, NOW - 60, 60) == []

    async def test_what_each_isp_imported(self) -> None:
        await self.store.take(
            [
                a_sample(counters=Counters(server=1_000_000, supernode=2_000_000, peer_local=1_000_000), length=10**6),
                a_sample(node="22" * 32, resource=OTHER, counters=Counters(peer_remote=500_000), length=10**6),
                a_sample(node="33" * 32, supernode=True, server=1_500_000, length=10**6),
                a_sample(node="44" * 32, isp=None, server=7, event=Event.STOPPED),
            ],
            NOW,
        )
        campus, unknown = await self.figures.isps(NOW - 60)
        assert (campus.isp, campus.resources, campus.length, campus.volume) == ("campus", 2, 2_000_000, 4_500_000)
        assert (campus.imported, campus.copies, campus.fill) == (3_000_000, 1.5, 1_500_000)
        assert campus.offload == 1 - 1_000_000 / 4_500_000
        assert (unknown.isp, unknown.volume, unknown.offload, unknown.failed) == (None, 7, 0.0, 1)

    async def test_figures_of_nothing(self) -> None:
        assert await self.figures.hot(0.0, 10) == []
        assert await self.figures.isps(0.0) == []
        (moment,) = await self.figures.course(NOW, NOW + 60, 60)
        assert (moment.server, moment.speed) == (0, 0.0)


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
        assert (rollup.server, rollup.clients, rollup.revision) == (1500, 1, FIRST + 1)


@pytest.mark.usefixtures("_database_of_its_own")
class PostgreSQLTests(StatisticsStoreContract, TestCase):
    """PostgreSQL, with several writers at once."""

    async def test_writers_at_once_lose_nothing(self) -> None:
        turns = range(1, 6)
        batches = [[a_sample(node=f"{writer:064x}", server=10 * turn) for turn in turns] for writer in range(8)]
        await gatherResults([self.store.take(batch, NOW) for batch in batches], consumeErrors=True)
        (rollup,) = await self.all()
        assert (rollup.server, rollup.clients) == (8 * 50, 8)
