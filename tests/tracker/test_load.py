"""Is so much turned away that the rest is served, and nothing when there is time?"""

from random import Random

from p2sp.tracker.load import LATE, MOST_SHED, TICK, LoadGauge


def test_nothing_is_turned_away_while_the_clock_is_kept() -> None:
    gauge = LoadGauge()
    for step in range(100):
        gauge.tick(step * TICK)
    assert not any(gauge.turns_away(Random(seed)) for seed in range(100))
    assert gauge.turned_away == 0


def test_the_share_grows_while_the_loop_is_late_and_goes_when_it_is_not() -> None:
    gauge, now, rng = LoadGauge(), 0.0, Random(1)
    gauge.tick(now)
    shares = []
    for _ in range(20):
        now += TICK + 2 * LATE
        gauge.tick(now)
        shares.append(gauge.share)
    assert shares == sorted(shares)
    assert shares[-1] == MOST_SHED
    turned = sum(gauge.turns_away(rng) for _ in range(1000))
    assert 900 < turned < 1000
    assert gauge.turned_away == turned
    for _ in range(50):
        now += TICK
        gauge.tick(now)
    assert gauge.share == 0.0


def test_where_each_request_costs_the_share_settles_at_what_is_too_much() -> None:
    gauge, now = LoadGauge(), 0.0
    gauge.tick(now)
    served = 0
    for _ in range(2000):
        # Ten times what can be done: all of it would take ten ticks.
        cost = 10 * TICK * (1.0 - gauge.share)
        now += max(TICK, cost)
        served += cost > 0
        gauge.tick(now)
    assert served == 2000
    assert 0.75 < gauge.share <= MOST_SHED
