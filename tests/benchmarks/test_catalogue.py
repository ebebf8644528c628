"""Is the placement policy worth it in a small catalogue, too?"""

import random

from benchmarks.catalogue import Recent, compare, make_world


def test_the_policy_comes_near_the_optimum_beats_the_others_and_fetches_little_twice() -> None:
    world = make_world(random.Random(1), resources=800, days=12, downloads=16_000, period=6 * 3600.0)
    scores, best, _ = compare(world, 1, 12 * 3600.0)
    ours = scores.pop("p2sp")
    assert ours.benefit >= 0.9 * best
    assert all(ours.benefit > other.benefit for other in scores.values()), scores
    assert ours.again < 0.01 * ours.fetched


def test_least_recently_used_is_what_it_says() -> None:
    world = make_world(random.Random(1), resources=20, days=1, downloads=1, period=3600.0)
    cache = Recent(world)
    for resource in range(20):
        cache.wanted(resource, 0.0)
        assert resource in cache.held or world.lengths[resource] > world.capacity
        assert sum(world.lengths[each] for each in cache.held) <= world.capacity
