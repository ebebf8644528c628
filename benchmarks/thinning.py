"""How long does a large statistics database keep writers waiting while it forgets and sums up?

    python -m benchmarks.thinning [--rollups 2000000] [--seconds 30] [--folder DIR]

A SQLite file gets rollups of many days: half of them already summed up by the hour, the others still by the minute.
Then batches of 200 samples are taken one after the other, first alone and then while the service's own job prunes and
thins. Prints a table in reStructuredText.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import attrs
from sqlalchemy import Connection
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.samples import batches
from p2sp.ops.database import Database
from p2sp.sketches.distinct import sketch_of
from p2sp.statistics.rollup import Amounts, RollupKey
from p2sp.statistics.schema import Sample
from p2sp.statistics.service import prune
from p2sp.statistics.store import SqlStatisticsStore
from p2sp.statistics.tables import VERSION, Written, advance, metadata, write

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
NOW: Final = 1_800_000_000.0
PAIRS: Final = 1000
"""Pairs of ISP and resource that are busy all the time."""

BATCH: Final = 200


def history(count: int) -> Iterator[Written]:
    """Rollups, the oldest first: half of them by the hour and older than two days, then by the minute."""
    nodes = [sketch_of(f"{pair}-{client}" for client in range(3)) for pair in range(PAIRS)]
    half = count // 2 // PAIRS
    starts = [(NOW - 2 * DAY - (half + turn) * HOUR, HOUR) for turn in range(half, 0, -1)]
    starts += [(NOW - 2 * DAY - turn * 60.0, 60.0) for turn in range(half, 0, -1)]
    revision = 0
    for start, seconds in starts:
        for pair in range(PAIRS):
            revision += 1
            amounts = Amounts(
                server=10**7, completed=1, length=10**9, paced=1e7, pace=1e14, speeds={40: 10**7, 44: 10**6}
            )
            key = RollupKey(f"isp-{pair % 20}", f"{pair:064x}", start, seconds)
            yield key, None, revision, amounts, nodes[pair]


def fill(connection: Connection, rows: Iterator[Written]) -> int:
    """Write the next rows; how many."""
    chunk = [*islice(rows, 20_000)]
    advance(connection, len(chunk), NOW)
    write(connection, chunk)
    return len(chunk)


@attrs.define
class Watched:
    """Times each transaction of a store as its callers see it: seconds by method."""

    store: SqlStatisticsStore
    chunks: list[float] = attrs.field(factory=list)

    def _timed(self, call: Callable[[float, int], Deferred[int]], now: float, limit: int) -> Deferred[int]:
        began = time.monotonic()

        def ended(result: int) -> int:
            self.chunks.append(time.monotonic() - began)
            return result

        return call(now, limit).addCallback(ended)

    def prune(self, now: float, limit: int) -> Deferred[int]:
        return self._timed(self.store.prune, now, limit)

    def thin(self, now: float, limit: int) -> Deferred[int]:
        return self._timed(self.store.thin, now, limit)


@attrs.frozen
class Standing:
    """A clock that stands at the end of the history."""

    def seconds(self) -> float:
        return NOW


async def writing(store: SqlStatisticsStore, source: Iterator[list[Sample]], over: Callable[[], bool]) -> list[float]:
    """Take batches one after the other; the seconds each took."""
    waits = []
    while not over():
        batch = next(source)[:BATCH]
        began = time.monotonic()
        await store.take(batch, NOW)
        waits.append(time.monotonic() - began)
    return waits


async def main(reactor: Any, args: argparse.Namespace) -> None:
    """Fill, measure, print."""
    with TemporaryDirectory(dir=args.folder) as folder:
        database = Database(installed_reactor, f"sqlite:///{folder}/s.sqlite", metadata, version=VERSION)  # type: ignore[arg-type]
        database.open()
        try:
            await measure(database, args)
            size = (Path(folder) / "s.sqlite").stat().st_size
            print(f"{args.rollups} rollups, {size / 2**20:.0f} MiB")
        finally:
            await database.close()


async def measure(database: Database, args: argparse.Namespace) -> None:
    """One table: batches alone, beside the job, and the job's own transactions."""
    rows = history(args.rollups)
    while await database.run(lambda connection: fill(connection, rows)):
        pass
    store = SqlStatisticsStore(database, max_age=1e12)
    source = batches(random.Random(1))
    end = time.monotonic() + args.seconds / 3
    alone = await writing(store, source, lambda: time.monotonic() > end)
    watched = Watched(store)
    end = time.monotonic() + args.seconds
    job = Deferred.fromCoroutine(prune(watched, Standing()))  # type: ignore[arg-type]
    beside = await writing(store, source, lambda: job.called or time.monotonic() > end)
    line = f"{'=' * 28}  {'=' * 6}  {'=' * 10}  {'=' * 10}  {'=' * 10}"
    print(line)
    print(f"{'seconds of':28}  {'count':>6}  {'median':>10}  {'99 %':>10}  {'longest':>10}")
    print(line)
    for name, waits in (("a batch, alone", alone), ("a batch, beside the job", beside), ("the job", watched.chunks)):
        waits.sort()
        most = waits[int(0.99 * (len(waits) - 1))]
        print(f"{name:28}  {len(waits):6}  {statistics.median(waits):10.3f}  {most:10.3f}  {waits[-1]:10.3f}")
    print(line)
    print("the job was done" if job.called else "the job was not done in time")
    job.addErrback(lambda _: None)
    job.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollups", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to look at the job at the most")
    parser.add_argument("--folder", default=".", help="where the database is made")
    arguments = parser.parse_args()
    react(lambda reactor: main(reactor, arguments))
