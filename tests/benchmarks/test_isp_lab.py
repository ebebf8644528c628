"""Is the bound of the ISP lab what physics allows, and does its plan hold what was asked for?"""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.isp_lab.bound import fluid_bound, plain_bound
from benchmarks.isp_lab.cases import CASES, Size
from benchmarks.isp_lab.contenders import MIB
from benchmarks.isp_lab.network import Count, Counts
from benchmarks.isp_lab.plan import MBIT, Plan, make_plan
from benchmarks.isp_lab.race import Course, Result
from benchmarks.isp_lab.report import as_data, details, table

RATES = {"down": 40 * MBIT, "transit": 40 * MBIT, "origin": 40 * MBIT, "edge": 80 * MBIT}
SIZE = 64 * MIB
BITS = SIZE * 8.0


def plan(isps: int = 2, hosts: int = 8, up: float = 20.0, **rates: float) -> Plan:
    given = {name: rate * MBIT for name, rate in rates.items()}
    return make_plan(isps, hosts, ups=[up * MBIT], mtu=1500, seed=1, **{**RATES, **given})


@pytest.mark.parametrize(
    ("little", "warm", "seconds"),
    [
        # N F / (u_s + sum u_i), which is more than F/u_s, F/d_min and what the transit links ask for.
        (plan(), False, 16 * BITS / (40e6 + 320e6)),
        # One ISP alone: its link brings what the origin gives.
        (plan(isps=1), False, 8 * BITS / (40e6 + 160e6)),
        # The origin's one copy.
        (plan(origin=2.0), False, BITS / 2e6),
        # One copy across each transit link.
        (plan(transit=1.0), False, BITS / 1e6),
        # Everybody's own downstream link.
        (plan(down=5.0), False, BITS / 5e6),
        # Nobody gives anything to speak of: two ISPs share the origin.
        (plan(up=0.001), False, 16 * BITS / (40e6 + 16e3)),
        # Warm super nodes: inside each ISP there are 80 + 160, and 40 come in through the link.
        (plan(up=5.0), True, 16 * BITS / (40e6 + 80e6 + 160e6)),
        # Warm ISPs need neither origin nor transit.
        (plan(transit=0.001, origin=0.001, up=5.0), True, 16 * BITS / (2 * 120e6 + 1e3)),
    ],
)
def test_bound(little: Plan, warm: bool, seconds: float) -> None:
    assert fluid_bound(little, SIZE, warm=warm) == pytest.approx(seconds, rel=1e-6)


def test_who_leaves_asks_for_nothing_and_gives_all_the_same() -> None:
    staying = {"h1-1", "h2-1"}
    assert fluid_bound(plan(), SIZE, finishing=staying) == pytest.approx(BITS / 40e6)
    assert fluid_bound(plan(), SIZE, finishing=set()) == 0.0


def test_bound_of_plain_http() -> None:
    assert plain_bound(plan(), SIZE) == pytest.approx(16 * BITS / 40e6)
    assert plain_bound(plan(transit=10.0), SIZE) == pytest.approx(8 * BITS / 10e6)
    assert plain_bound(plan(isps=1, hosts=1, down=8.0), SIZE) == pytest.approx(BITS / 8e6)


rates = st.floats(0.5, 1000.0)


@given(st.integers(1, 4), st.integers(1, 5), rates, rates, rates, rates, st.booleans())
def test_bound_is_never_above_plain_http_and_falls_with_every_rate(
    isps: int, hosts: int, up: float, down: float, transit: float, origin: float, warm: bool
) -> None:
    slow = plan(isps, hosts, up, down=down, transit=transit, origin=origin)
    bound = fluid_bound(slow, SIZE, warm=warm)
    assert 0.0 < bound <= plain_bound(slow, SIZE) * (1 + 1e-9)
    for change in ({"up": up * 2}, {"down": down * 2}, {"transit": transit * 2}, {"origin": origin * 2}):
        fast = plan(isps, hosts, **{"up": up, "down": down, "transit": transit, "origin": origin, **change})
        assert fluid_bound(fast, SIZE, warm=warm) <= bound * (1 + 1e-9)


def test_plan_of_mixed_rates_gives_each_isp_the_same_ones() -> None:
    made = make_plan(2, 5, ups=[5 * MBIT, 50 * MBIT], mtu=1500, seed=1, **RATES)
    one, other = (sorted(host.up for host in isp.hosts) for isp in made.isps)
    assert one == other
    assert one[0] == pytest.approx(5e6)
    assert one[-1] == pytest.approx(50e6)
    assert len({host.address for host in made.hosts}) == 10


@pytest.mark.parametrize(("isps", "hosts", "up"), [(0, 1, 1.0), (1, 0, 1.0), (101, 1, 1.0), (1, 241, 1.0), (1, 1, 0.0)])
def test_plan_refuses_what_does_not_fit(isps: int, hosts: int, up: float) -> None:
    with pytest.raises(ValueError, match=r"ISPs of|more than 0"):
        plan(isps, hosts, up)


@pytest.mark.parametrize("case", CASES)
def test_every_case_can_be_asked_for(case: str) -> None:
    for entry in CASES[case](Size()):
        names = {host.name for host in entry.plan.hosts}
        assert entry.bound > 0
        assert entry.rules.within > entry.bound
        assert set(entry.rules.starts) | set(entry.rules.leaves) <= names


def test_slower_changes_no_ratio() -> None:
    for entry, slow in zip(CASES["mixed"](Size()), CASES["mixed"](Size(slower=4.0)), strict=True):
        assert slow.bound == pytest.approx(4.0 * entry.bound)
        assert slow.rules.leaves == entry.rules.leaves


def test_report_tells_of_who_failed() -> None:
    some = Count(SIZE + 66 * 1000, 1000)
    result = Result(
        name="some",
        size=SIZE,
        bound=20.0,
        courses=[Course("h1-1", 1, 20e6, seconds=25.0, right=True), Course("h1-2", 1, 20e6)],
        counts=Counts(some, {"isp1": some}, {"isp1": Count()}),
        length=25.0,
        busy=0.5,
        cpu={"some-h1-1": 2.0},
        samples=[],
        ends=[],
    )
    good = table([result]).splitlines()[3].split()
    assert good[:6] == ["some", "25.0", "1.25", "25.0", "-", "1.00"]
    assert "1 of 2 right" in table([result])
    bad = attrs.evolve(result, failed="given up after 3 s; not done: h1-2")
    assert table([bad]).splitlines()[3].split()[:2] == ["some", "-"]
    assert "given up after 3 s" in details(bad)
    assert as_data(bad)["origin_copies"] == 1.0
