"""Does the accounting come to the same sum, however samples travel?"""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from p2sp.statistics.rollup import (
    MOST,
    Account,
    AccountKey,
    Amounts,
    Gathered,
    RollupKey,
    gather,
    interval_start,
    settle,
    timely,
)
from p2sp.statistics.schema import Sample
from p2sp.tracker.schema import Counters, Event
from tests.statistics.samples import NODE, NOW, RESOURCE, a_sample

STEPS = st.lists(
    st.tuples(*[st.integers(0, 10**9)] * 5, st.integers(0, 10_000), st.floats(0.1, 120.0)), min_size=1, max_size=12
)


def session(steps: list[tuple[int, int, int, int, int, int, float]], *, supernode: bool = False) -> list[Sample]:
    """The samples of one session in the order in which it made them."""
    samples = []
    at, totals = NOW, [0] * 6
    for *moved, seconds in steps:
        at += seconds
        totals = [total + int(more) for total, more in zip(totals, moved, strict=True)]
        counters = Counters(*totals[:5])
        samples.append(a_sample(at=at, counters=counters, stalled_ms=totals[5], supernode=supernode))
    left = msgspec.structs.replace(samples[-1], left=0, event=Event.COMPLETED)
    return [*samples[:-1], left]


def total(gathered: Gathered) -> Amounts:
    summed = Amounts()
    for amounts in gathered.amounts.values():
        summed = summed.plus(amounts)
    return summed


def counted(amounts: Amounts) -> tuple[int, ...]:
    """The sums; not the speed, which depends on which samples arrived."""
    return (
        amounts.server,
        amounts.supernode,
        amounts.peer_local,
        amounts.peer_remote,
        amounts.fill,
        amounts.stalled_ms,
        amounts.completed,
        amounts.failed,
    )


def take(*batches: list[Sample]) -> Amounts:
    """The sum of batches taken one after the other, accounts carried along."""
    accounts: dict[AccountKey, Account] = {}
    summed = Amounts()
    for batch in batches:
        gathered = gather(batch, accounts, now=NOW, seconds=60.0, max_age=1e9)
        accounts |= gathered.accounts
        summed = summed.plus(total(gathered))
    return summed


@given(steps=STEPS, seed=st.integers(0, 2**32), supernode=st.booleans())
def test_order_duplicates_and_loss_change_nothing(
    steps: list[tuple[int, int, int, int, int, int, float]], seed: int, supernode: bool
) -> None:
    samples = [msgspec.structs.replace(each, at=NOW) for each in session(steps, supernode=supernode)]
    rng = random.Random(seed)
    arrived = [each for each in samples[:-1] if rng.random() < 0.7] + [samples[-1]]
    arrived += rng.choices(samples, k=4)
    rng.shuffle(arrived)
    cut = rng.randrange(len(arrived) + 1)
    assert counted(take(arrived[:cut], arrived[cut:])) == counted(take(samples))


@given(steps=STEPS)
def test_the_sum_is_the_last_counters(steps: list[tuple[int, int, int, int, int, int, float]]) -> None:
    samples = [msgspec.structs.replace(each, at=NOW) for each in session(steps)]
    last = samples[-1]
    summed = take(samples)
    received = last.counters
    assert (summed.server, summed.supernode) == (received.server, received.supernode)
    assert (summed.peer_local, summed.peer_remote) == (received.peer_local, received.peer_remote)
    assert summed.stalled_ms == last.stalled_ms


def test_sums_stop_before_they_overflow() -> None:
    both = Amounts(server=MOST).plus(Amounts(server=MOST, fill=3))
    assert (both.server, both.fill) == (MOST, 3)
    _, amounts = settle(a_sample(counters=Counters(MOST, MOST, MOST, MOST), supernode=True), None)
    assert amounts.fill == MOST


def test_counters_that_shrink_give_nothing() -> None:
    account, _ = settle(a_sample(server=1000), None)
    same, amounts = settle(a_sample(at=NOW + 1, server=10), account)
    assert same.counters.server == 1000
    assert amounts.server == 0


def test_another_session_is_another_account() -> None:
    summed = take([a_sample(server=1000), a_sample(session="f" * 16, server=10)])
    assert summed.server == 1010


def test_a_borrowed_session_id_spoils_nobodys_account() -> None:
    summed = take([a_sample(node="22" * 32, server=10**9)], [a_sample(server=1000)])
    assert summed.server == 10**9 + 1000


def test_a_super_node_fills_and_is_no_demand() -> None:
    gathered = gather(
        [a_sample(counters=Counters(1, 2, 3, 4), event=Event.COMPLETED, left=0, stalled_ms=9, supernode=True)],
        {},
        now=NOW,
        seconds=60.0,
        max_age=3600.0,
    )
    assert counted(total(gathered)) == (0, 0, 0, 0, 10, 0, 0, 0)
    assert gathered.clients == {}


def test_clients_are_counted_once_in_each_interval() -> None:
    samples = [
        a_sample(server=10),
        a_sample(server=20),
        a_sample(session="f" * 16, server=5),
        a_sample(node="22" * 32, server=5),
        a_sample(node="33" * 32, server=0),
        a_sample(server=30, at=NOW + 60),
    ]
    gathered = gather(samples, {}, now=NOW + 60, seconds=60.0, max_age=3600.0)
    key = RollupKey("campus", RESOURCE, interval_start(NOW, 60.0), 60.0)
    later = RollupKey("campus", RESOURCE, interval_start(NOW + 60, 60.0), 60.0)
    assert gathered.clients == {key: {NODE, "22" * 32}, later: {NODE}}
    assert gathered.amounts[key].server == 30
    assert gathered.amounts[later].server == 10


def test_completed_once_even_if_the_announce_that_says_so_is_lost() -> None:
    done = a_sample(server=1_000_000, left=0, event=Event.STOPPED)
    completed = a_sample(server=1_000_000, left=0, event=Event.COMPLETED)
    assert take([done]).completed == 1
    assert take([completed, done, completed]).completed == 1
    assert take([done], [completed]).completed == 1


def test_who_had_it_all_along_completed_nothing() -> None:
    assert take([a_sample(left=0, event=Event.STARTED), a_sample(left=0, event=Event.STOPPED)]).completed == 0


def test_speed_is_weighted_by_volume() -> None:
    summed = take([a_sample(server=9000, rate=100), a_sample(node="22" * 32, server=1000, rate=1100)])
    assert summed.speed == 200.0


def test_speed_without_a_stated_rate_is_volume_over_time() -> None:
    assert take([a_sample(server=5000)]).speed == 0.0
    assert take([a_sample(server=5000), a_sample(server=15_000, at=NOW + 10)]).speed == 1000.0


def test_an_unknown_isp_is_none() -> None:
    gathered = gather([a_sample(isp="", server=1)], {}, now=NOW, seconds=60.0, max_age=3600.0)
    assert [key.isp for key in gathered.amounts] == [None]


def test_samples_out_of_time_are_refused() -> None:
    table = {NOW - 3600: True, NOW - 3601: False, NOW + 60: True, NOW + 61: False, -1e300: False, 1e300: False}
    for at, good in table.items():
        assert timely(a_sample(at=at), NOW, 3600.0) is good
    gathered = gather([a_sample(at=at, server=1) for at in table], {}, now=NOW, seconds=60.0, max_age=3600.0)
    assert (gathered.accepted, gathered.refused) == (2, 4)
    assert total(gathered).server == 1


@given(at=st.floats(0, 4e9), seconds=st.sampled_from([0.5, 1.0, 2.0, 60.0, 3600.0]))
def test_an_interval_holds_its_moment(at: float, seconds: float) -> None:
    start = interval_start(at, seconds)
    assert start <= at < start + seconds
    assert interval_start(start, seconds) == start
