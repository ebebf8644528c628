"""Does the production placement policy find what is worth a place in a large catalogue that changes?

    python benchmarks/catalogue.py [--resources 2000] [--days 30] [--seed 1] [--period 3600] [--only POLICY]

Virtual time, one ISP, one super node: downloads of a Zipf catalogue whose popularity drifts become rollups, the
manager's own demand table and policies decide each period, and what is held saves what clients would have had to fetch
slowly from outside, less what was fetched for it. Beside it, with a cache of the same size: least recently used, which
fetches all that is asked for; least frequently used and largest volume, which rank all the catalogue by decayed counts
each period; and the offline optimum, which knows each day's downloads before and fetches for nothing. Prints a table in
reStructuredText.
"""

import argparse
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import attrs

from p2sp.manager.demand import DemandTable
from p2sp.manager.packing import Room
from p2sp.manager.placement import Decision, Limits, PlacementPolicy, Situation
from p2sp.manager.policies import ThresholdPolicy, ValuePolicy
from p2sp.sketches.distinct import sketch_of
from p2sp.statistics.schema import Rollup

DAY: Final = 86_400.0
MIB: Final = 1024 * 1024
TARGET: Final = 8e6
NODE: Final = "a" * 64
ISP: Final = "campus"


@attrs.frozen
class World:
    """A catalogue and what is wanted of it.

    `lengths` are bytes, `speeds` what clients get from outside in bytes a second, `popularity` for each day the share
    of the downloads of each resource; `downloads` a day, `period` seconds between decisions, `capacity` bytes of cache.
    """

    lengths: list[int]
    speeds: list[float]
    popularity: list[list[float]]
    downloads: int
    period: float
    capacity: int

    @property
    def days(self) -> int:
        return len(self.popularity)

    def need(self, resource: int) -> float:
        """What a byte of it is worth when it comes from the super node: all of it is imported, and some is slow."""
        return 1.0 + max(1.0 - self.speeds[resource] / TARGET, 0.0)


def make_world(
    rng: random.Random,
    *,
    resources: int,
    days: int,
    downloads: int,
    period: float,
    skew: float = 0.9,
    cache: float = 0.1,
) -> World:
    """Zipf popularity; sizes from 16 MiB to 16 GiB, log-uniform; a third of the catalogue comes slowly.

    Drift: each day every popularity goes up or down by some 10 %, and one resource in 50 is news or out of fashion: of
    one pair in a hundred each takes the other's place in the ranking.
    """
    lengths = [round(16 * MIB * 2 ** rng.uniform(0, 10)) for _ in range(resources)]
    speeds = [rng.uniform(2e5, 4e6) if rng.random() < 1 / 3 else rng.uniform(4e6, 4e7) for _ in range(resources)]
    ranks = list(range(resources))
    rng.shuffle(ranks)
    weights = [1.0 / (rank + 1) ** skew for rank in ranks]
    popularity = []
    for _ in range(days):
        total = sum(weights)
        popularity.append([weight / total for weight in weights])
        weights = [weight * math.exp(rng.gauss(0, 0.1)) for weight in weights]
        for _ in range(resources // 100):
            one, other = rng.randrange(resources), rng.randrange(resources)
            weights[one], weights[other] = weights[other], weights[one]
    return World(lengths, speeds, popularity, downloads, period, round(cache * sum(lengths)))


class Cache(Protocol):
    """Something that decides what to hold. `held` are resources."""

    held: set[int]

    def wanted(self, resource: int, now: float) -> None:
        """A client downloads a resource; whether it was held has been counted already."""

    def decide(self, now: float) -> None:
        """A period is over."""


@attrs.define
class Score:
    """What came of it: bytes of pain saved, fetched, and fetched again after they had been evicted."""

    saved: float = 0.0
    possible: float = 0.0
    fetched: int = 0
    again: int = 0
    seconds: float = 0.0

    @property
    def benefit(self) -> float:
        """What was saved, less what had to cross the border for it."""
        return self.saved - self.fetched


class Placed:
    """The production policy, fed with rollups as the statistics server makes them."""

    def __init__(self, world: World, limits: Limits, make: Callable[[Limits], PlacementPolicy]) -> None:
        self.held: set[int] = set()
        self._world = world
        self._table = DemandTable(limits.half_life)
        self._policy = make(limits)
        self._standing: Sequence[Decision] = ()
        self._gone: list[Decision] = []
        self._counts: dict[int, int] = {}
        self._clients = 0
        self._revision = 0

    def wanted(self, resource: int, now: float) -> None:
        self._counts[resource] = self._counts.get(resource, 0) + 1

    def decide(self, now: float) -> None:
        self._table.take([self._rollup(resource, count, now) for resource, count in self._counts.items()], now)
        self._counts.clear()
        wanted = self._table.wanted(ISP, now)
        rooms = [Room(NODE, self._world.capacity)]
        ripe = self._table.ripeness(now)
        plan = self._policy.decide(Situation(ISP, wanted, rooms, self._standing, now, gone=self._gone, ripe=ripe))
        self._gone += plan.dropped
        self._standing = plan.placed
        self.held = {int(decision.resource, 16) for decision in plan.placed}

    def _rollup(self, resource: int, count: int, now: float) -> Rollup:
        self._revision += 1
        self._clients += count
        volume = count * self._world.lengths[resource]
        near = resource in self.held
        return Rollup(
            isp=ISP,
            resource=f"{resource:064x}",
            start=now - self._world.period,
            seconds=self._world.period,
            server=0 if near else volume,
            supernode=volume if near else 0,
            peer_local=0,
            peer_remote=0,
            fill=0,
            clients=count,
            # Caching cures slowness, and the policy sees the cure.
            speed=5e7 if near else self._world.speeds[resource],
            stalled_ms=0,
            length=self._world.lengths[resource],
            completed=count,
            revision=self._revision,
            nodes=sketch_of(f"{client}" for client in range(self._clients - count, self._clients)),
        )


class Recent:
    """Everything asked for comes in, what was asked for longest ago goes."""

    def __init__(self, world: World) -> None:
        self.held: set[int] = set()
        self._world = world
        self._order: dict[int, None] = {}
        self._used = 0

    def wanted(self, resource: int, now: float) -> None:
        if self._order.pop(resource, 0) == 0:
            self._used += self._world.lengths[resource]
            self.held.add(resource)
        self._order[resource] = None
        while self._used > self._world.capacity:
            oldest = next(iter(self._order))
            del self._order[oldest]
            self.held.discard(oldest)
            self._used -= self._world.lengths[oldest]

    def decide(self, now: float) -> None:
        pass


class Ranked:
    """What has the highest rank is held: by how often it was asked for (LFU), or by its bytes (volume), decayed."""

    def __init__(self, world: World, half_life: float, *, by_bytes: bool) -> None:
        self.held: set[int] = set()
        self._world = world
        self._by_bytes = by_bytes
        self._fade = 0.5 ** (world.period / half_life)
        self._counts = [0.0] * len(world.lengths)

    def wanted(self, resource: int, now: float) -> None:
        self._counts[resource] += self._world.lengths[resource] if self._by_bytes else 1

    def decide(self, now: float) -> None:
        ranked = sorted(range(len(self._counts)), key=lambda resource: -self._counts[resource])
        self.held, left = set(), self._world.capacity
        for resource in ranked:
            if self._counts[resource] > 0 and self._world.lengths[resource] <= left:
                self.held.add(resource)
                left -= self._world.lengths[resource]
        self._counts = [count * self._fade for count in self._counts]


def downloads_of(world: World, seed: int) -> list[list[list[int]]]:
    """The downloads of each period of each day: the same for all."""
    rng = random.Random(seed)
    periods = round(DAY / world.period)
    days = []
    for popularity in world.popularity:
        drawn = rng.choices(range(len(popularity)), popularity, k=world.downloads)
        rng.shuffle(drawn)
        days.append([drawn[at::periods] for at in range(periods)])
    return days


def play(world: World, downloads: list[list[list[int]]], cache: Cache) -> Score:
    """All days in order. What is decided counts from the next period on; the first two days teach and do not count."""
    score = Score()
    began = time.process_time()
    now = 0.0
    seen: set[int] = set()
    for day, periods in enumerate(downloads):
        for drawn in periods:
            now += world.period
            for resource in drawn:
                if day >= TAUGHT:
                    worth = world.lengths[resource] * world.need(resource)
                    score.possible += worth
                    score.saved += worth if resource in cache.held else 0.0
                before = cache.held if isinstance(cache, Recent) else None
                was = before is not None and resource in before
                cache.wanted(resource, now)
                if before is not None and not was:
                    _fetch(world, score, seen, {resource})
            held = set(cache.held)
            cache.decide(now)
            if not isinstance(cache, Recent):
                _fetch(world, score, seen, cache.held - held)
    score.seconds = time.process_time() - began
    return score


TAUGHT: Final = 2


def _fetch(world: World, score: Score, seen: set[int], news: set[int]) -> None:
    for resource in news:
        score.fetched += world.lengths[resource]
        if resource in seen:
            score.again += world.lengths[resource]
        seen.add(resource)


def optimum(world: World, downloads: list[list[list[int]]]) -> float:
    """The benefit of knowing each day's downloads beforehand, with free fetching: the fractional knapsack's bound."""
    best = 0.0
    for periods in downloads[TAUGHT:]:
        counts: dict[int, int] = {}
        for drawn in periods:
            for resource in drawn:
                counts[resource] = counts.get(resource, 0) + 1
        left = float(world.capacity)
        # The value of a byte of cache is how often it is used, times what that saves.
        for resource in sorted(counts, key=lambda each: -counts[each] * world.need(each)):
            part = min(1.0, left / world.lengths[resource])
            best += part * counts[resource] * world.lengths[resource] * world.need(resource)
            left -= part * world.lengths[resource]
            if left <= 0:
                break
    return best


def steady(world: World) -> float:
    """The same, knowing what each day will want on average, not who comes: what no policy that learns can pass."""
    best = 0.0
    for popularity in world.popularity[TAUGHT:]:
        left = float(world.capacity)
        for resource in sorted(range(len(popularity)), key=lambda each: -popularity[each] * world.need(each)):
            part = min(1.0, left / world.lengths[resource])
            best += part * popularity[resource] * world.downloads * world.lengths[resource] * world.need(resource)
            left -= part * world.lengths[resource]
            if left <= 0:
                break
    return best


def compare(
    world: World, seed: int, half_life: float, only: str | None = None
) -> tuple[dict[str, Score], float, float]:
    """The scores of all or of `only` one, the offline optimum's benefit, and that of who knows averages."""
    downloads = downloads_of(world, seed)
    limits = Limits(min_clients=2, min_demand=64 * MIB, target_speed=TARGET, half_life=half_life)
    contenders: dict[str, Cache] = {
        "p2sp": Placed(world, limits, ValuePolicy),
        "p2sp, two thresholds": Placed(world, limits, ThresholdPolicy),
        "least frequently used": Ranked(world, half_life, by_bytes=False),
        "least recently used": Recent(world),
        "largest volume": Ranked(world, half_life, by_bytes=True),
    }
    scores = {name: play(world, downloads, cache) for name, cache in contenders.items() if only in (None, name)}
    return scores, optimum(world, downloads), steady(world)


def main() -> None:
    """Play it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resources", type=int, default=2000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--downloads", type=int, default=40_000, help="a day")
    parser.add_argument("--period", type=float, default=3600.0, help="seconds between decisions")
    parser.add_argument("--half-life", type=float, default=10.0, help="hours")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one policy, as the table calls it")
    args = parser.parse_args()
    world = make_world(
        random.Random(args.seed),
        resources=args.resources,
        days=args.days,
        downloads=args.downloads,
        period=args.period,
    )
    scores, best, average = compare(world, args.seed, args.half_life * 3600, args.only)
    line = f"{'=' * 24}  {'=' * 10}  {'=' * 16}  {'=' * 13}  {'=' * 13}  {'=' * 6}"
    print(line)
    print(
        f"{'policy':24}  {'of optimum':>10}  {'of all it could':>16}  {'fetched TiB':>13}"
        f"  {'fetched again':>13}  {'CPU s':>6}"
    )
    print(line)
    possible = max(score.possible for score in scores.values())
    print(f"{'offline optimum':24}  {1:10.1%}  {best / possible:16.1%}  {'':13}  {'':13}  {'':6}")
    print(f"{'averages known':24}  {average / best:10.1%}  {average / possible:16.1%}  {'':13}  {'':13}  {'':6}")
    for name, score in scores.items():
        again = score.again / max(score.fetched, 1)
        print(
            f"{name:24}  {score.benefit / best:10.1%}  {score.benefit / possible:16.1%}"
            f"  {score.fetched / 2**40:13.2f}  {again:13.1%}  {score.seconds:6.1f}"
        )
    print(line)


if __name__ == "__main__":
    main()
