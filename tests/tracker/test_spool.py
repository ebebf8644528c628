"""Do samples outlive an absence of the statistics server, and a restart of the tracker, and count once?"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import TestCase

from p2sp.net.errors import Unreachable
from p2sp.ops.database import Database
from p2sp.statistics.rollup import Account, AccountKey, gather
from p2sp.statistics.schema import Sample, SampleAnswer
from p2sp.tracker.accounting import OLDEST, Accounting, sample_of
from p2sp.tracker.spool import Spool, metadata
from tests.tracker.entries import node_name, request

reactor: Any = installed_reactor
NOW = 1_700_000_000.0


def sample(server: int, *, session: str = "5e" * 16, at: float = NOW) -> Sample:
    return sample_of(request(server=server, session=session), node_id=node_name(1), isp="here", supernode=False, at=at)


class Statistics:
    """A statistics server as its accounts see it; away when told so."""

    def __init__(self) -> None:
        self.away = False
        self.known: dict[AccountKey, Account] = {}
        self.volume = 0
        self.answer_lost = False

    async def send(self, samples: list[Sample]) -> SampleAnswer:
        if self.away:
            raise Unreachable("https://statistics", "refused")
        found = gather(samples, self.known, now=NOW, seconds=60.0, max_age=3600.0)
        self.known |= found.accounts
        self.volume += sum(each.server for each in found.amounts.values())
        if self.answer_lost:
            raise Unreachable("https://statistics", "the connection broke")
        return SampleAnswer(found.accepted, found.refused)


class SpoolTests(TestCase):
    """Accounting with a spool on disk, and the statistics' own arithmetic at the other end."""

    timeout = 30

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "samples.sqlite"
        self.statistics = Statistics()

    def spool(self, most: int = 1000) -> Spool:
        made = Spool(Database(reactor, f"sqlite:///{self.path}", metadata), most)
        made.open()
        self.addCleanup(made.close)
        return made

    def accounting(self, spool: Spool, **settings: Any) -> Accounting:
        clock: Iterator[int] = iter(range(10_000))
        return Accounting(
            self.statistics.send,
            interval=1.0,
            now=lambda: 1000.0 * next(clock),
            rng=Random(1),
            spool=spool,
            wall=lambda: NOW,
            **settings,
        )

    async def test_what_cannot_be_sent_waits_on_disk_as_the_last_of_each_account(self) -> None:
        spool = self.spool()
        accounting = self.accounting(spool)
        self.statistics.away = True
        for server in (10, 20, 30):
            accounting.add(sample(server, at=NOW + server))
            await accounting.flush()
        accounting.add(sample(7, session="77" * 16))
        await accounting.flush()
        assert accounting.waiting == spool.size == 2
        assert [each.counters.server for each in await spool.oldest(10)] == [7, 30]

    async def test_it_is_delivered_once_after_a_restart(self) -> None:
        first = self.spool()
        self.statistics.away = True
        accounting = self.accounting(first)
        accounting.add(sample(100))
        await accounting.flush_now()
        await first.close()
        self.statistics.away = False
        second = self.spool()
        again = self.accounting(second)
        # A newer sample of the same account overtakes the one on disk.
        again.add(sample(150, at=NOW + 1))
        while again.waiting or not self.statistics.volume:
            await again.flush()
        assert (self.statistics.volume, second.size) == (150, 0)

    async def test_an_answer_that_was_lost_counts_nothing_twice(self) -> None:
        accounting = self.accounting(self.spool())
        self.statistics.answer_lost = True
        accounting.add(sample(100))
        await accounting.flush()
        self.statistics.answer_lost = False
        assert accounting.waiting == 1
        await accounting.flush()
        assert (accounting.waiting, self.statistics.volume) == (0, 100)

    async def test_what_is_older_than_the_server_takes_is_dated_younger(self) -> None:
        spool = self.spool()
        await spool.keep([sample(100, at=NOW - 90_000.0)])
        accounting = self.accounting(spool)
        await accounting.flush()
        [account] = self.statistics.known.values()
        assert (account.at, self.statistics.volume, spool.size) == (NOW - OLDEST, 100, 0)

    async def test_the_oldest_go_when_there_are_too_many(self) -> None:
        spool = self.spool(most=3)
        gone = await spool.keep([sample(1, session=f"{number:032x}", at=NOW + number) for number in range(5)])
        assert (gone, spool.size) == (2, 3)
        assert [each.at for each in await spool.oldest(10)] == [NOW + 2, NOW + 3, NOW + 4]

    async def test_a_late_sample_does_not_replace_a_newer_one(self) -> None:
        spool = self.spool()
        await spool.keep([sample(20, at=NOW + 5)])
        await spool.keep([sample(10, at=NOW)])
        [kept] = await spool.oldest(10)
        assert kept.counters.server == 20
        await spool.forget([sample(10, at=NOW)])
        assert spool.size == 1
