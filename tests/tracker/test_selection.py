"""Does the tracker name local nodes first, starve no far group and leave nobody out for ever?"""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.locality.cost import CostMap
from p2sp.locality.network_map import is_local
from p2sp.tracker.entry import Candidates, Entry, Speech, Viewpoint
from p2sp.tracker.selection import POLICIES, Anybody, Biased, make_policy
from tests.tracker.entries import entry, node_name

_ISPS = st.sampled_from([None, "here", "there", "far"])
_ENTRIES = st.builds(
    entry,
    st.integers(0, 60),
    isp=_ISPS,
    port=st.sampled_from([0, 7000, 7001]),
    left=st.sampled_from([0, 1]),
    length=st.sampled_from([0, 2]),
    supernode=st.booleans(),
    host=st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
    speech=st.sampled_from(Speech),
)
_CANDIDATES = st.lists(_ENTRIES, max_size=60).map(lambda entries: Candidates(tuple(entries)))
_VIEWPOINTS = st.builds(
    Viewpoint,
    st.integers(0, 5).map(node_name),
    st.sampled_from(["192.0.2.9", "2001:db8:9::9"]),
    _ISPS,
    st.booleans(),
    st.sampled_from(Speech),
)
_WANTED = st.integers(0, 40)
_RNG = st.integers(0, 2**32).map(Random)
_COSTS = CostMap({"far": {"here": 30.0}, "there": {"here": 2.0}})


def usable(viewpoint: Viewpoint, candidates: Candidates) -> dict[str, Entry]:
    return {
        each.node_id: each
        for each in candidates.entries
        if each.port != 0
        and each.node_id != viewpoint.node_id
        and not (viewpoint.seed and each.seed)
        and {viewpoint.speech, each.speech} != {Speech.TLS, Speech.CLEAR}
    }


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(viewpoint=_VIEWPOINTS, candidates=_CANDIDATES, wanted=_WANTED, rng=_RNG)
def test_every_policy_names_different_usable_nodes_within_bounds(
    name: str, viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: Random
) -> None:
    chosen = make_policy(name, costs=_COSTS)(viewpoint, candidates, wanted, rng)
    assert len(chosen) <= wanted
    assert len({each.node_id for each in chosen}) == len(chosen)
    good = usable(viewpoint, candidates)
    assert all(good[each.node_id] == each for each in chosen)


@given(viewpoint=_VIEWPOINTS, candidates=_CANDIDATES, wanted=_WANTED, rng=_RNG, most=st.integers(2, 10))
def test_locals_come_first_and_remotes_are_few_but_not_none(
    viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: Random, most: int
) -> None:
    chosen = Biased(most, _COSTS)(viewpoint, candidates, wanted, rng)
    good = list(usable(viewpoint, candidates).values())
    near = [each for each in good if is_local(each.isp, viewpoint.isp)]
    far = [each for each in good if not is_local(each.isp, viewpoint.isp)]
    local = [is_local(each.isp, viewpoint.isp) for each in chosen]
    assert local == sorted(local, reverse=True)
    remotes = local.count(False)
    if viewpoint.isp is not None:
        assert remotes <= most
    if wanted >= 3:
        assert remotes >= min(2, len(far))
    elif wanted and not near:
        assert remotes >= min(wanted, 2, len(far))
    if len(chosen) < wanted:
        assert local.count(True) == len(near)


@given(viewpoint=_VIEWPOINTS, candidates=_CANDIDATES, wanted=_WANTED, rng=_RNG)
def test_foreign_super_nodes_stand_in_for_missing_remote_peers_only(
    viewpoint: Viewpoint, candidates: Candidates, wanted: int, rng: Random
) -> None:
    chosen = Biased()(viewpoint, candidates, wanted, rng)
    foreign = [each for each in chosen if each.supernode and not is_local(each.isp, viewpoint.isp)]
    peers = [
        each
        for each in usable(viewpoint, candidates).values()
        if not each.supernode and not is_local(each.isp, viewpoint.isp)
    ]
    assert len(foreign) <= max(0, 2 - len(peers))


@given(viewpoint=_VIEWPOINTS, candidates=_CANDIDATES, wanted=_WANTED, seed=st.integers(0, 99))
def test_the_same_chance_gives_the_same_choice(
    viewpoint: Viewpoint, candidates: Candidates, wanted: int, seed: int
) -> None:
    for policy in (Biased(), Anybody()):
        first = policy(viewpoint, candidates, wanted, Random(seed))
        assert policy(viewpoint, candidates, wanted, Random(seed)) == first


def crowd() -> list[Entry]:
    """Many of every kind: 12 super nodes, 30 seeds, 30 leeches here, and 40 peers elsewhere."""
    return [
        *(entry(number, supernode=True) for number in range(100, 112)),
        *(entry(number, left=0) for number in range(200, 230)),
        *(entry(number) for number in range(300, 330)),
        *(entry(number, isp="there", left=number % 2) for number in range(400, 420)),
        *(entry(number, isp="far", left=number % 2) for number in range(500, 520)),
    ]


def test_nobody_is_left_out_for_ever() -> None:
    candidates = Candidates(tuple(crowd()))
    caller = Viewpoint(node_name(1), "192.0.2.9", "here")
    for policy in (Biased(costs=_COSTS), Anybody()):
        named: set[str] = set()
        for seed in range(1500):
            named |= {each.node_id for each in policy(caller, candidates, 20, Random(seed))}
        assert named == {each.node_id for each in candidates.entries}


def test_cheap_isps_are_likelier_than_dear_ones() -> None:
    candidates = Candidates(tuple(each for each in crowd() if each.isp != "here"))
    caller = Viewpoint(node_name(1), "192.0.2.9", "here")
    policy = Biased(costs=_COSTS)
    drawn = [each.isp for seed in range(200) for each in policy(caller, candidates, 20, Random(seed))]
    assert drawn.count("there") > 3 * drawn.count("far") > 0


def test_a_leech_gets_super_nodes_then_mostly_seeds_then_leeches_then_remotes() -> None:
    chosen = Biased()(Viewpoint(node_name(1), "192.0.2.9", "here"), Candidates(tuple(crowd())), 30, Random(7))
    kinds = ["super" if each.supernode else "seed" if each.seed else "leech" for each in chosen if each.isp == "here"]
    assert kinds == ["super"] * 8 + ["seed"] * 15 + ["leech"] * 5
    assert [each.isp == "here" for each in chosen[28:]] == [False, False]


def test_a_seed_gets_those_who_still_need_something() -> None:
    chosen = Biased()(
        Viewpoint(node_name(1), "192.0.2.9", "here", seed=True), Candidates(tuple(crowd())), 200, Random(7)
    )
    assert len(chosen) == 12 + 30 + 8
    assert not any(each.seed for each in chosen)


def test_where_nobody_knows_the_isps_a_swarm_is_a_plain_swarm() -> None:
    candidates = Candidates(tuple(entry(number, isp=None) for number in range(2, 60)))
    chosen = Biased()(Viewpoint(node_name(1), "192.0.2.9", None), candidates, 50, Random(7))
    assert len(chosen) == 50


def test_the_other_ip_version_comes_last_within_a_group() -> None:
    sixes = [entry(number, host="2001:db8::1") for number in range(10, 20)]
    fours = [entry(number) for number in range(20, 24)]
    caller = Viewpoint(node_name(1), "192.0.2.9", "here")
    chosen = Biased()(caller, Candidates((*sixes, *fours)), 6, Random(7))
    assert [":" in each.host for each in chosen] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("wanted", [1, 2])
def test_little_room_goes_to_the_nearest_first(wanted: int) -> None:
    candidates = Candidates((entry(2), entry(3, isp="far"), entry(4, isp="far")))
    chosen = Biased()(Viewpoint(node_name(1), "192.0.2.9", "here"), candidates, wanted, Random(7))
    assert [each.isp for each in chosen] == ["here", "far"][:wanted]


def test_a_policy_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"no selection 'nearest'; there are biased, random"):
        make_policy("nearest")


def test_who_is_behind_the_same_address_comes_first_and_is_local_even_where_nobody_knows_the_isp() -> None:
    mates = [entry(number, isp=None, host="192.0.2.9") for number in range(10, 16)]
    others = [entry(number, isp="here") for number in range(20, 60)]
    for isp in ("here", None):
        chosen = Biased()(Viewpoint(node_name(1), "192.0.2.9", isp), Candidates((*others, *mates)), 12, Random(7))
        assert {each.node_id for each in chosen[:6]} == {each.node_id for each in mates}


def test_one_address_with_many_ports_does_not_crowd_out_the_others() -> None:
    liars = [entry(number, isp="far", host="198.51.100.1", port=number) for number in range(100, 160)]
    honest = [entry(number, isp="far", host=f"203.0.113.{number}") for number in range(10, 20)]
    chosen = Biased()(Viewpoint(node_name(1), "192.0.2.9", None), Candidates((*liars, *honest)), 14, Random(7))
    assert sorted(each.host == "198.51.100.1" for each in chosen) == [False] * 10 + [True] * 4


def test_who_was_named_often_is_named_less() -> None:
    candidates = Candidates(tuple(entry(number, host=f"192.0.2.{number}") for number in range(10, 60)))
    for each in candidates.entries[:25]:
        each.named = 9
    caller = Viewpoint(node_name(1), "198.51.100.1", "here")
    counts = {True: 0, False: 0}
    for seed in range(100):
        for each in Biased()(caller, candidates, 5, Random(seed)):
            counts[each.named > 0] += 1
    assert counts[False] > 5 * counts[True] > 0
