"""Are plots true to their values, whatever these are, and safe in a page?"""

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.web.template import Tag, flattenString

from p2sp.ops.pages import parts, plots
from p2sp.ops.pages.words import on_axis

TIMES = ("a", "b", "c")
FEW = settings(max_examples=25)
RATES = st.floats(min_value=0, max_value=1e15)


def parsed(tag: Tag) -> ElementTree.Element:
    """What a parser that forgives nothing reads of an element."""
    found: list[bytes] = []
    Deferred.fromCoroutine(_flat(tag)).addCallback(found.append)
    return ElementTree.fromstring(found[0])


async def _flat(tag: Tag) -> bytes:
    return await flattenString(None, tag)


@FEW
@given(st.lists(st.tuples(RATES, RATES), max_size=10))
def test_columns_stand_on_the_ground_and_stay_inside(values: list[tuple[float, float]]) -> None:
    columns = [{"server": one, "supernode": other} for one, other in values]
    drawn = parsed(plots.stacked("name", columns, [""] * len(columns), TIMES, on_axis))
    top = plots.nice_top(max((one + other for one, other in values), default=0.0))
    rects = [rect for rect in drawn.iter("rect") if rect.get("class") != "cover"]
    assert len(rects) == sum(value > 0 and value / top * 1000 > 0 for pair in values for value in pair)
    for rect in rects:
        y, height = float(rect.get("y", "")), float(rect.get("height", ""))
        assert y >= -2
        assert y + height <= 1002


@FEW
@given(st.floats(min_value=0.5, max_value=1e18))
def test_the_axis_ends_at_or_a_little_above_the_most(most: float) -> None:
    top = plots.nice_top(most)
    assert most <= top <= max(3.01 * most, 1.5)


@FEW
@given(st.lists(st.one_of(st.just(0.0), RATES), max_size=10))
def test_unknown_values_make_gaps(values: list[float]) -> None:
    drawn = parsed(plots.line("name", values, [""] * len(values), TIMES, on_axis))
    runs = "".join("x" if value > 0 else " " for value in values).split()
    assert len([path for path in drawn.iter("path") if path.get("class") == "curve"]) == len(runs)


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [0.0, 0.0], [1.0, 2.0, 0.5]])
def test_sparks_of_little(values: list[float]) -> None:
    drawn = parsed(plots.spark(values, "lately"))
    assert [path.get("class") for path in drawn.iter("path")] == ["under", "curve"]


def test_what_others_said_stays_words() -> None:
    bad = '"><script>alert(1)</script>'
    drawn = parsed(
        parts.el(
            "div",
            parts.identifier(bad, href=f"./?isp={bad}"),
            parts.table(("a", "b"), [(bad, parts.badge(bad, "good"))], nothing=""),
            parts.tiles(parts.Tile(bad, bad, bad)),
            plots.stacked(bad, [{"server": 1.0}], [bad], TIMES, on_axis),
        )
    )
    assert list(drawn.iter("script")) == []
    assert "".join(drawn.itertext()).count("<script>") >= 6


def test_shares_of_kinds_are_in_words_and_fill_the_bar() -> None:
    drawn = parsed(parts.kinds_bar({"supernode": 3, "peer_local": 0, "peer_remote": 0, "server": 1}))
    assert drawn.get("aria-label") == "super nodes 75 %, resource servers 25 %"
    pieces = [(rect.get("x"), rect.get("width"), rect.get("class")) for rect in drawn.iter("rect")]
    assert pieces == [("0.00%", "75.00%", "fill-supernode"), ("75.00%", "25.00%", "fill-server")]
    assert parsed(parts.kinds_bar({"server": 0})).text == "-"


def test_meters_end_where_the_bar_does() -> None:
    for share, width in ((-1.0, "0.00%"), (0.5, "50.00%"), (7.0, "100.00%")):
        assert [rect.get("width") for rect in parsed(parts.meter(share, "full")).iter("rect")][1] == width


def test_a_table_says_when_it_has_nothing() -> None:
    assert parsed(parts.table(("a",), [], nothing="Nothing yet.")).text == "Nothing yet."
