"""Does a cost map answer for every pair of ISPs, known or not?"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.locality.alto import LocalityError
from p2sp.locality.cost import CostMap

TYPE = {"cost-mode": "numerical", "cost-metric": "routingcost"}


def document(costs: Any, **meta: Any) -> bytes:
    return json.dumps({"meta": {"cost-type": TYPE, **meta}, "cost-map": costs}).encode()


@pytest.mark.parametrize(
    ("src", "dst", "cost"),
    [
        ("a", "a", 0.5),
        ("a", "b", 7.0),
        ("b", "a", 3.0),
        ("b", "b", 0.0),
        ("a", "c", 1.0),
        ("c", "c", 0.0),
        (None, "a", 7.0),
        ("a", None, 7.0),
        (None, None, 7.0),
    ],
)
def test_costs_and_defaults(src: str | None, dst: str | None, cost: float) -> None:
    costs = CostMap.decode(document({"a": {"a": 0.5, "b": 7}, "b": {"a": 3}}))
    assert costs.cost(src, dst) == cost


def test_without_a_map_the_unknown_costs_no_less_than_a_stranger() -> None:
    costs = CostMap()
    assert (costs.cost("a", "a"), costs.cost("a", "b"), costs.cost(None, None)) == (0.0, 1.0, 1.0)
    assert CostMap({"a": {"b": 0.25}}).cost(None, "a") == 1.0


def test_the_map_names_the_network_map_it_belongs_to() -> None:
    vtags = [{"resource-id": "network", "tag": "7"}]
    found = CostMap.decode(document({}, **{"dependent-vtags": vtags}))
    assert [(each.resource_id, each.tag) for each in found.vtags] == [("network", "7")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"nonsense", "not JSON"),
        (b'{"meta": {}, "cost-map": {}}', "missing required field `cost-type`"),
        (b'{"meta": {"cost-type": {"cost-mode": "colour", "cost-metric": "x"}}, "cost-map": {}}', "colour"),
        (document({"a": {"b": -1}}), "PID 'a': Expected `float` >= 0"),
        (document({"a": {"b": "far"}}), "PID 'a': Expected `float`"),
        (document({"a": 3}), "PID 'a': Expected `object`"),
        (document({"a b": {}}), "'a b' is not a PID"),
        (document({"a": {"b": float("nan")}}), "NaN"),
        (document({"a": {"b": float("inf")}}), "Infinity"),
        (document({"a": {"b": 1}}).replace(b": 1}", b": 1.0e999}"), "1.0e999"),
    ],
)
def test_what_is_wrong_is_named(text: bytes, says: str) -> None:
    with pytest.raises(LocalityError) as caught:
        CostMap.decode(text)
    assert says in str(caught.value)


_PIDS = st.sampled_from(["a", "b", "c"])


@given(
    st.dictionaries(_PIDS, st.dictionaries(_PIDS, st.floats(0, 1e9))),
    st.none() | _PIDS,
    st.none() | _PIDS,
)
def test_nothing_costs_more_than_the_unknown(
    rows: dict[str, dict[str, float]], src: str | None, dst: str | None
) -> None:
    costs = CostMap.decode(document(rows))
    assert 0 <= costs.cost(src, dst) <= costs.cost(None, dst)
