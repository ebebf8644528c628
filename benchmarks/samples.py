"""How many samples a second does the statistics server's store take?

    python benchmarks/samples.py [--seconds 10] [--database URL]

Sessions of many clients report in batches as a tracker sends them; the store writes to a SQLite file in /dev/shm and
one on disk, or to the database named. Prints a table in reStructuredText.
"""

import argparse
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import react

from p2sp.ops.database import Database
from p2sp.statistics.schema import Sample
from p2sp.statistics.store import SqlStatisticsStore
from p2sp.statistics.tables import VERSION, metadata
from p2sp.tracker.schema import Counters, Event

START = 1_800_000_000.0
BATCH = 1000
SESSIONS = 20_000
RESOURCES = 500
ISPS = 20


def batches(rng: random.Random) -> Iterator[list[Sample]]:
    """What 20,000 sessions of 500 resources in 20 ISPs say, each of them every 30 s."""
    moved = [0] * SESSIONS
    wanted = [min(int(rng.paretovariate(0.8)), RESOURCES) for _ in range(SESSIONS)]
    at, turn = START, 0
    while True:
        batch = []
        for session in range(turn, turn + BATCH):
            number = session % SESSIONS
            moved[number] += rng.randrange(50_000_000)
            batch.append(
                Sample(
                    session=f"{number:032x}",
                    resource=f"{wanted[number]:064x}",
                    node_id=f"{number:064x}",
                    at=at,
                    event=Event.PROGRESS,
                    counters=Counters(server=moved[number], peer_local=moved[number] // 2),
                    length=4_000_000_000,
                    left=1,
                    isp=f"isp-{number % ISPS}",
                    rate=rng.randrange(100_000, 20_000_000),
                )
            )
        turn += BATCH
        at += 30 * BATCH / SESSIONS
        yield batch


async def measure(url: str, seconds: float) -> tuple[int, float, float]:
    """How many samples were taken in how many seconds, and in how many of the processor's."""
    database = Database(installed_reactor, url, metadata, version=VERSION)  # type: ignore[arg-type]
    database.open()
    store = SqlStatisticsStore(database, max_age=1e9)
    source = batches(random.Random(1))
    taken = 0
    wall = cpu = 0.0
    try:
        while wall < seconds:
            batch = next(source)
            began, began_cpu = time.monotonic(), _cpu()
            answer = await store.take(batch, batch[0].at)
            wall += time.monotonic() - began
            cpu += _cpu() - began_cpu
            taken += answer.accepted
    finally:
        await database.close()
    return taken, wall, cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(reactor: Any, args: argparse.Namespace) -> None:
    """Measure each place in turn and print the table."""
    with TemporaryDirectory(dir="/dev/shm") as memory, TemporaryDirectory(dir=Path.cwd()) as disk:
        places = {
            "SQLite in /dev/shm": f"sqlite:///{memory}/statistics.sqlite",
            "SQLite on disk": f"sqlite:///{disk}/statistics.sqlite",
        }
        if args.database:
            places = {args.database.partition(":")[0]: args.database}
        line = f"{'=' * 24}  {'=' * 9}  {'=' * 12}  {'=' * 17}"
        print(line)
        print(f"{'store':24}  {'samples':>9}  {'samples/s':>12}  {'CPU us per sample':>17}")
        print(line)
        for name, url in places.items():
            taken, wall, cpu = await measure(url, args.seconds)
            print(f"{name:24}  {taken:9}  {taken / wall:12.0f}  {cpu / taken * 1e6:17.0f}")
        print(line)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each store is written to")
    parser.add_argument("--database", help="SQLAlchemy URL of an empty database to measure instead")
    arguments = parser.parse_args()
    react(lambda reactor: main(reactor, arguments))
