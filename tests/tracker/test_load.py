"""Is so much turned away that the rest is served, and nothing when there is time?"""

from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from p2sp.net.ratelimit import AT_ONCE, RateLimit, RateTable
from p2sp.tracker.load import LATE, MOST_PRICE, MOST_SHED, TICK, LoadGauge


def test_nothing_is_turned_away_while_the_clock_is_kept() -> None:
    gauge = LoadGauge()
    for step in range(100):
        gauge.tick(step * TICK)
    assert not any(gauge.turns_away(Random(seed)) for seed in range(100))
    assert gauge.turned_away == 0


def test_price_then_share_grow_while_the_loop_is_late_and_go_when_it_is_not() -> None:
    gauge, now, rng = LoadGauge(), 0.0, Random(1)
    gauge.tick(now)
    seen = []
    for _ in range(20):
        now += TICK + 2 * LATE
        gauge.tick(now)
        seen.append((gauge.price, gauge.share))
        # Who asks much is served less before anybody is turned away.
        assert gauge.share == 0.0 or gauge.price == MOST_PRICE
    assert seen == sorted(seen)
    assert seen[-1] == (MOST_PRICE, MOST_SHED)
    turned = sum(gauge.turns_away(rng) for _ in range(1000))
    assert 900 < turned < 1000
    assert gauge.turned_away == turned
    for _ in range(150):
        now += TICK
        gauge.tick(now)
    assert (gauge.share, gauge.price) == (0.0, 1.0)


@given(
    limit=st.builds(RateLimit, st.floats(0.1, 1e3), st.floats(1, 1e3)),
    interval=st.floats(1, 86_400),
    price=st.floats(1, MOST_PRICE),
    silence=st.floats(0, 1e5),
)
def test_who_announces_once_in_its_interval_never_feels_the_price(
    limit: RateLimit, interval: float, price: float, silence: float
) -> None:
    assume(limit.rate * interval >= 1)
    asked = LoadGauge(price=price).price_for(limit, interval)
    assert 1.0 <= asked <= price
    table = RateTable(limit)
    assert [table.wait("somebody", silence + turn * interval, asked) for turn in range(10)] == [0.0] * 10


def test_who_announces_all_the_time_is_served_less_the_higher_the_price() -> None:
    limit = RateLimit(20.0, 400.0)
    served = []
    for price in (1.0, 1.5, 4.0, 16.0, MOST_PRICE):
        table, asked = RateTable(limit), LoadGauge(price=price).price_for(limit, 60.0)
        served.append(sum(table.wait("somebody", turn / 100, asked) == 0.0 for turn in range(1000)))
    assert served == sorted(served, reverse=True)
    # Ten seconds at leisure, and a few at once and one in 2.5 seconds when there is no end of it.
    assert served[0] == 599
    assert served[-1] == AT_ONCE + 3


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
