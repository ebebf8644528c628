"""Is demand what the rollups say, however often and in whatever order they come?"""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from p2sp.manager.demand import HORIZON, RAW_INTERVALS, DemandTable
from p2sp.sketches.rates import bucket_of, rate_of
from p2sp.statistics.schema import Rollup
from tests.manager.support import MIB, rid, rollup

counts = st.integers(0, 10**9)


@st.composite
def histories(draw: st.DrawFn) -> list[Rollup]:
    """Rollups of some intervals, each growing over a few revisions."""
    revision = 0
    rows: list[Rollup] = []
    for number in range(draw(st.integers(1, 12))):
        server, remote, near, clients = 0, 0, 0, 0
        for _ in range(draw(st.integers(1, 3))):
            server, remote, near = server + draw(counts), remote + draw(counts), near + draw(counts)
            clients += draw(st.integers(0, 4))
            revision += 1
            speed = draw(st.floats(0, 1e8))
            rows.append(
                rollup(
                    start=60.0 * number,
                    server=server,
                    peer_remote=remote,
                    supernode=near,
                    clients=clients,
                    first_client=number,
                    speed=speed,
                    revision=revision,
                )
            )
    return rows


def last_of_each(rows: Sequence[Rollup]) -> list[Rollup]:
    return list({row.start: row for row in rows}.values())


@given(histories(), st.floats(0, 2000))
def test_demand_is_the_decayed_sum_of_the_last_revisions(rows: list[Rollup], later: float) -> None:
    now = 720.0 + later
    table = DemandTable(600.0)
    table.take(rows, now)
    kept = last_of_each(rows)
    weights = [0.5 ** ((now - row.start - 60) / 600) for row in kept]
    volumes = [row.server + row.peer_remote + row.supernode for row in kept]
    volume = sum(w * v for w, v in zip(weights, volumes, strict=True))
    found = table.of("campus", rid(1), now)
    assert found is not None
    assert found.volume == pytest.approx(volume)
    if volume:
        outside = sum(w * (row.server + row.peer_remote) for w, row in zip(weights, kept, strict=True))
        assert found.imported == pytest.approx(outside / volume)
        paced = sum(w * v * row.speed for w, v, row in zip(weights, volumes, kept, strict=True))
        assert found.speed == pytest.approx(paced / volume)


@given(histories(), st.randoms(use_true_random=False))
def test_order_and_repetition_change_nothing(rows: list[Rollup], rng: object) -> None:
    straight, mixed = DemandTable(600.0), DemandTable(600.0)
    straight.take(rows, 720.0)
    shuffled = [*rows, *rows]
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    mixed.take(shuffled, 720.0)
    one, other = straight.of("campus", rid(1), 720.0), mixed.of("campus", rid(1), 720.0)
    assert one is not None
    assert other is not None
    assert (other.volume, other.imported, other.clients) == pytest.approx((one.volume, one.imported, one.clients))


def test_demand_halves_with_every_half_life() -> None:
    table = DemandTable(60.0)
    table.take([rollup(server=1000 * MIB)], 60.0)
    for lives in range(5):
        found = table.of("campus", rid(1), 60.0 + 60.0 * lives)
        assert found is not None
        assert found.volume == pytest.approx(1000 * MIB / 2**lives)


def test_an_interval_that_is_not_over_counts_in_full() -> None:
    table = DemandTable(60.0)
    table.take([rollup(start=100.0, server=MIB)], 101.0)
    found = table.of("campus", rid(1), 101.0)
    assert found is not None
    assert found.volume == MIB


@pytest.mark.parametrize(
    ("rows", "clients"),
    [
        ([rollup(clients=3)], 3),
        ([rollup(clients=1), rollup(start=60, clients=1)], 1),
        ([rollup(clients=1), rollup(start=60, clients=1, first_client=1)], 2),
        ([rollup(clients=1, completed=50)], 1),
        ([rollup(clients=4), rollup(start=60, clients=3, first_client=2)], 5),
        ([rollup(clients=100), rollup(start=60, clients=100, first_client=50, revision=2)], 144),
    ],
    ids=["together", "one at length", "one after the other", "one again and again", "overlapping", "estimated"],
)
def test_clients(rows: list[Rollup], clients: int) -> None:
    table = DemandTable(60.0)
    table.take(rows, 120.0)
    found = table.of("campus", rid(1), 120.0)
    assert found is not None
    assert found.clients == clients


def test_clients_of_long_ago_are_not_counted() -> None:
    table = DemandTable(60.0)
    table.take([rollup(clients=9, server=100 * MIB)], 60.0)
    table.take([rollup(start=120, clients=3, first_client=7, revision=2)], 180.0)
    counts = []
    for now in (180.0, 239.0, 240.0, 359.0, 360.0, 480.0):
        found = table.of("campus", rid(1), now)
        assert found is not None
        counts.append(found.clients)
    # Periods are two half-lives: nine in the first, three in the second of whom two are known from the first.
    assert counts == [10, 10, 3, 3, 0, 0]


def test_a_longer_interval_takes_the_place_of_what_it_covers() -> None:
    rows = [rollup(start=60.0 * n, server=MIB, speed=1e6 * (n + 1), revision=n + 1) for n in range(20)]
    whole = rollup(start=0.0, seconds=600.0, server=10 * MIB, speed=5.5e6, revision=10)
    straight, late, alone = DemandTable(1e6), DemandTable(1e6), DemandTable(1e6)
    straight.take([*rows[:10], whole, *rows[10:]], 1200.0)
    late.take([whole, *rows[5:]], 1200.0)
    alone.take([whole], 600.0)
    for table in (straight, late):
        found = table.of("campus", rid(1), 1200.0)
        assert found is not None
        assert found.volume == pytest.approx(20 * MIB, rel=1e-3)
        assert found.speed == pytest.approx(10.5e6, rel=1e-3)
    assert alone.take(rows[:10], 600.0) == 0


def test_slow_is_what_the_slowest_fifth_gets() -> None:
    table = DemandTable(60.0)
    slow, fast = bucket_of(50_000.0), bucket_of(9e6)
    old = structs.replace(rollup(server=MIB), speeds={slow: MIB})
    new = structs.replace(rollup(start=60, server=2 * MIB, revision=2), speeds={fast: 2 * MIB})
    table.take([old, new], 120.0)
    found = table.of("campus", rid(1), 120.0)
    assert found is not None
    assert found.slow == rate_of(slow)
    table.take([structs.replace(new, start=120.0, revision=3)], 600.0)
    found = table.of("campus", rid(1), 600.0)
    assert found is not None
    assert found.slow == rate_of(fast)


def test_unknown_isps_and_what_lies_beyond_the_horizon_do_not_count() -> None:
    table = DemandTable(60.0)
    assert table.take([rollup(isp=None, server=MIB), rollup(server=MIB)], 61.0 + HORIZON * 60.0) == 0
    assert len(table) == 0


def test_many_intervals_are_summed_up_without_changing_the_demand() -> None:
    rows = [rollup(start=60.0 * n, server=MIB * (n % 7), revision=n + 1) for n in range(3 * RAW_INTERVALS)]
    now = 60.0 * len(rows)
    table = DemandTable(3600.0)
    table.take(rows, now)
    found = table.of("campus", rid(1), now)
    assert found is not None
    assert found.volume == pytest.approx(sum(r.server * 0.5 ** ((now - r.start - 60) / 3600) for r in rows))
    assert table.take([structs.replace(rows[0], server=10**12, revision=9999)], now) == 0


def test_only_so_many_keys_are_kept_and_the_least_wanted_go() -> None:
    table = DemandTable(60.0, max_keys=10)
    table.take([rollup(rid(n), server=MIB * (n + 1)) for n in range(11)], 60.0)
    assert len(table) == 9
    assert table.of("campus", rid(1), 60.0) is None
    assert table.of("campus", rid(2), 60.0) is not None


def test_what_has_faded_is_forgotten() -> None:
    table = DemandTable(1.0)
    table.take([rollup(server=4096), rollup(rid(2), server=2**40)], 60.0)
    assert [found.resource for found in table.wanted("campus", 65.0)] == [rid(2)]
    assert len(table) == 1


def test_the_length_is_that_of_whoever_knew_it() -> None:
    table = DemandTable(60.0)
    table.take([rollup(length=77, revision=1), rollup(start=60, length=0, revision=2)], 120.0)
    found = table.of("campus", rid(1), 120.0)
    assert found is not None
    assert found.length == 77


def test_renumbered_statistics_replace_what_is_known() -> None:
    table = DemandTable(60.0)
    table.take([rollup(server=MIB, revision=900)], 60.0)
    table.take([rollup(server=2 * MIB, revision=3)], 60.0)
    before = table.of("campus", rid(1), 60.0)
    table.renumber()
    table.take([rollup(server=2 * MIB, revision=3)], 60.0)
    after = table.of("campus", rid(1), 60.0)
    assert before is not None
    assert after is not None
    assert (before.volume, after.volume) == (MIB, 2 * MIB)


@pytest.mark.parametrize(("half_life", "max_keys"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (1.0, 0)])
def test_senseless_settings_are_refused(half_life: float, max_keys: int) -> None:
    with pytest.raises(ValueError, match=r"half-life|key"):
        DemandTable(half_life, max_keys=max_keys)


def test_a_history_ripens_from_its_first_interval_on() -> None:
    table = DemandTable(60.0)
    assert table.ripeness(100.0) == 0.0
    table.take([rollup(start=100.0)], 100.0)
    assert table.ripeness(100.0) == 0.0
    assert table.ripeness(160.0) == pytest.approx(0.5)
    assert table.ripeness(1e6) == pytest.approx(1.0)
