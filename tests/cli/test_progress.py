"""Does the user see how far a download is, in the way that was asked for?"""

import json
from io import StringIO

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from p2sp.cli.progress import (
    BarProgress,
    JsonProgress,
    NoProgress,
    PlainProgress,
    Progress,
    Snapshot,
    Ticker,
    clock_time,
    human,
    kinds_in_words,
    make_progress,
)
from p2sp.download.report import SourceSummary

MIXED = {"server": 30, "supernode": 60, "peer": 10}


def snapshot(done: int = 500_000, total: int | None = 2_000_000, rate: float = 250_000.0, sources: int = 2) -> Snapshot:
    return Snapshot(name="x.bin", total=total, done=done, rate=rate, by_kind=MIXED, sources=sources)


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (999.6, "1.0 kB"),
        (1000, "1.0 kB"),
        (12_345, "12.3 kB"),
        (99_500, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (50_331_648, "50.3 MB"),
        (1_500_000_000, "1.5 GB"),
        (12_000_000_000_000, "12000 GB"),
    ],
)
def test_human(count: float, words: str) -> None:
    assert human(count) == words


@given(st.floats(0, 1e15))
def test_human_is_short_and_near(count: float) -> None:
    number, unit = human(count).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    assert len(number) <= 4 or unit == "GB"
    assert abs(float(number) * factor - count) <= max(0.051 * count, 0.5)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0:00"), (0.5, "0:01"), (59.4, "0:59"), (59.5, "1:00"), (3599.9, "1:00:00"), (3723, "1:02:03")],
)
def test_clock_time(seconds: float, words: str) -> None:
    assert clock_time(seconds) == words


def test_kinds_in_words() -> None:
    assert kinds_in_words(MIXED) == "server 30 %, super node 60 %, peer 10 %"
    assert kinds_in_words({"server": 0, "peer": 5}) == "peer 100 %"
    assert kinds_in_words({"server": 0}) == kinds_in_words({}) == ""


def test_eta() -> None:
    assert snapshot().eta == 6.0
    assert snapshot(done=3_000_000).eta == 0.0
    assert snapshot(total=None).eta is snapshot(rate=0).eta is None


def test_plain() -> None:
    out = StringIO()
    view = PlainProgress(out)
    view.show(snapshot())
    view.show(snapshot())
    view.say("a mirror left")
    view.show(snapshot(total=None, sources=1))
    view.show(snapshot(done=0, total=0))
    view.close()
    assert out.getvalue().splitlines() == [
        "x.bin: 500 kB of 2.0 MB (25 %) at 250 kB/s from 2 sources; server 30 %, super node 60 %, peer 10 %",
        "a mirror left",
        "x.bin: 500 kB at 250 kB/s from 1 source; server 30 %, super node 60 %, peer 10 %",
        "x.bin: 0 B of 0 B at 250 kB/s from 2 sources; server 30 %, super node 60 %, peer 10 %",
    ]


def test_json() -> None:
    out = StringIO()
    view = JsonProgress(out)
    view.show(snapshot())
    view.say('a "mirror"\nleft')
    view.close()
    shown, said = map(json.loads, out.getvalue().splitlines())
    assert shown == {
        "event": "progress",
        "name": "x.bin",
        "total": 2_000_000,
        "done": 500_000,
        "rate": 250_000.0,
        "by_kind": MIXED,
        "sources": 2,
        "eta": 6.0,
    }
    assert said == {"event": "news", "text": 'a "mirror"\nleft'}


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_bar(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = Terminal()
    view = BarProgress(out)
    try:
        line = view._draw(snapshot())
        text = line.plain
        width = max(min(int(columns) - 60, 50), 10)
        assert text.count("━") + text.count("─") == width
        assert abs(text.count("━") - width / 4) <= 2
        assert " 25 % 250 kB/s 0:06  server 30 %" in text
        # Each kind of source has its colour.
        assert {str(span.style) for span in line.spans} >= {"blue", "magenta", "green"} or width < 40
        for odd in (snapshot(total=None), snapshot(total=0, done=0), snapshot(done=9_000_000), snapshot(rate=0)):
            drawn = view._draw(odd).plain
            assert drawn.count("━") + drawn.count("─") == width
        view.show(snapshot())
        view.say("a [bold]mirror[/bold] left")
    finally:
        view.close()
    assert "x.bin" in out.getvalue()
    assert "\x1b[?25h" in out.getvalue(), "the cursor comes back"


@given(
    st.integers(0, 10**13),
    st.none() | st.integers(0, 10**13),
    st.dictionaries(st.sampled_from(["server", "supernode", "peer"]), st.integers(0, 10**13)),
)
def test_the_bar_is_always_as_wide(done: int, total: int | None, by_kind: dict[str, int]) -> None:
    view = BarProgress(StringIO())
    view.close()
    drawn = view._draw(Snapshot("x", total, done, 1.0, by_kind, 1)).plain
    assert drawn.count("━") + drawn.count("─") == max(min(view._console.width - 60, 50), 10)


@pytest.mark.parametrize(
    ("kind", "out", "made"),
    [
        ("auto", StringIO(), PlainProgress),
        ("auto", Terminal(), BarProgress),
        ("bar", StringIO(), BarProgress),
        ("plain", Terminal(), PlainProgress),
        ("json", Terminal(), JsonProgress),
        ("none", Terminal(), NoProgress),
    ],
)
def test_which_view(kind: str, out: StringIO, made: type[Progress]) -> None:
    view = make_progress(kind, out)
    view.close()
    assert type(view) is made


def test_none_is_silent() -> None:
    out = StringIO()
    view = make_progress("none", out)
    view.show(snapshot())
    view.say("x")
    view.close()
    assert out.getvalue() == ""


@pytest.mark.parametrize("kind", ["plain", "none", "bar"])
def test_why_in_words(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = StringIO()
    view = make_progress(kind, out)
    good = SourceSummary("http://a/[x]", "server", 12_345_000, 1_000_000.0, 0)
    bad = SourceSummary("10.0.0.1:1", "peer", 0, 0.0, 2, ["banned: bad data"])
    view.why("x.bin", [good, bad])
    view.close()
    for line in (
        "x.bin: server http://a/[x]: 12.3 MB at 1.0 MB/s",
        "x.bin: peer 10.0.0.1:1: 0 B at 0 B/s, 2 failures; banned: bad data",
    ):
        assert line in out.getvalue()


def test_why_in_json() -> None:
    out = StringIO()
    view = JsonProgress(out)
    assert view.explains
    view.why("x.bin", [SourceSummary("http://a/x", "server", 5, 1.0, 1, ["slow"])])
    assert json.loads(out.getvalue()) == {
        "event": "source",
        "name": "x.bin",
        "label": "http://a/x",
        "kind": "server",
        "bytes": 5,
        "rate": 1.0,
        "failures": 1,
        "notes": ["slow"],
    }


def test_what_is_done_before_there_is_a_bar_leaves_no_trace() -> None:
    out = Terminal()
    view = BarProgress(out)
    view.done("x.bin")
    view.close()
    assert out.getvalue() == ""


def test_a_bar_for_each() -> None:
    view = BarProgress(Terminal())
    try:
        for name in ("one", "two"):
            view.show(attrs.evolve(snapshot(), name=name))
        assert list(view._rows) == ["one", "two"]
        view.done("one")
        view.done("one")
        assert list(view._rows) == ["two"]
    finally:
        view.close()


def test_plain_lines_of_several() -> None:
    out = StringIO()
    view = PlainProgress(out)
    for name in ("one", "two", "one", "two"):
        view.show(attrs.evolve(snapshot(), name=name))
    view.done("one")
    view.show(attrs.evolve(snapshot(), name="one"))
    assert [line.split(":")[0] for line in out.getvalue().splitlines()] == ["one", "two", "one"]


def test_ticker() -> None:
    clock, out = Clock(), StringIO()
    done = iter(range(100))
    ticker = Ticker(clock, PlainProgress(out), lambda: snapshot(done=next(done)))
    ticker.start()
    clock.advance(1.9)
    assert out.getvalue() == ""
    clock.pump([0.1, 2.0, 2.0])
    assert len(out.getvalue().splitlines()) == 3
    ticker.stop()
    ticker.stop()
    clock.advance(10)
    assert len(out.getvalue().splitlines()) == 3
    assert not clock.getDelayedCalls()
