"""What does the statistics server show to people: what is hot, how fast it comes, and from where?"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal
from urllib.parse import urlencode

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.template import Tag

from p2sp.net.fields import ResourceId, Text
from p2sp.net.jsonapi import Call
from p2sp.ops.pages import plots
from p2sp.ops.pages.parts import KINDS, Tile, by_kind, card, choice, el, kinds_bar, legend, named, table, tiles
from p2sp.ops.pages.site import Naming, Page
from p2sp.ops.pages.words import at_clock, in_bytes, in_percent, in_rate, in_short, in_time, of_isp, on_axis
from p2sp.statistics.interfaces import IFigures
from p2sp.statistics.schema import HotResource, IspFigures, Moment

Window = Literal["10m", "1h", "1d", "7d"]

WINDOWS: Final[dict[Window, tuple[str, float, float]]] = {
    "10m": ("10 minutes", 600.0, 5.0),
    "1h": ("hour", 3600.0, 60.0),
    "1d": ("day", 86_400.0, 1800.0),
    "7d": ("7 days", 604_800.0, 14_400.0),
}
"""What each window is called, its seconds, and those of one step of its plots."""

MOST_HOT: Final = 20
MOST_ISPS: Final = 50
MOST_REMEMBERED: Final = 64

LEAST_SHOWN: Final = 24
"""Steps that a plot has at least; those before anything happened are left out beyond that."""

_QUICKEST: Final = 2.0
_SLOWEST: Final = 60.0


class _Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    window: Window = "1h"
    isp: Text | None = None
    resource: ResourceId | None = None

    def href(self, **changes: str | None) -> str:
        """A link to this page with other choices."""
        chosen = {"window": self.window, "isp": self.isp, "resource": self.resource, **changes}
        return "./?" + urlencode({key: value for key, value in chosen.items() if value is not None})


@attrs.frozen
class _Figures:
    """All that one page shows, as of `at`."""

    at: float
    moments: Sequence[Moment]
    isps: Sequence[IspFigures]
    hot: Sequence[HotResource]
    names: Mapping[str, str]


@attrs.frozen
class StatisticsPage:
    """The view for `pages_site`. `interval` is what a rollup sums up, in seconds.

    What was read is shown to everybody who asks within a moment: many who look cost the writers no more than one.
    """

    figures: IFigures
    clock: IReactorTime
    interval: float
    names: Naming
    _read: dict[_Query, _Figures] = attrs.field(factory=dict)

    async def __call__(self, call: Call) -> Page:
        """The page for a query; raises ApiError 422 for what is none."""
        query = call.query_as(_Query)
        name, seconds, step = WINDOWS[query.window]
        fresh = min(max(seconds / 720, _QUICKEST), _SLOWEST)
        figures = await self._figures(query, seconds, max(step, self.interval), fresh)
        parts = [_choices(query, figures), _tiles(figures), *_plots(figures, seconds)]
        if query.resource is None:
            parts += [_isps(query, figures), _hot(query, figures)]
        about: list[str] = []
        if query.resource is not None:
            about = [in_short(name) for name in figures.names.values()] + [f"resource {query.resource}"]
        about += [] if query.isp is None else [f"ISP {of_isp(query.isp)}"]
        about.append(f"the last {name}")
        return Page("What is downloaded, how fast, from where", ", ".join(about), parts, fresh)

    async def _figures(self, query: _Query, seconds: float, step: float, fresh: float) -> _Figures:
        now = self.clock.seconds()
        known = self._read.get(query)
        if known is not None and 0 <= now - known.at < fresh:
            return known
        since = now - seconds
        moments = await self.figures.course(since, now, step, query.isp, query.resource)
        isps = [] if query.resource else await self.figures.isps(since)
        hot = [] if query.resource else await self.figures.hot(since, MOST_HOT, query.isp)
        names = await self.names([query.resource] if query.resource else [each.resource for each in hot])
        self._read.pop(query, None)
        while len(self._read) >= MOST_REMEMBERED:
            del self._read[next(iter(self._read))]
        found = self._read[query] = _Figures(now, moments, isps, hot, names)
        return found


def _choices(query: _Query, figures: _Figures) -> Tag:
    windows = [(WINDOWS[each][0], query.href(window=each), each == query.window) for each in WINDOWS]
    rows = [choice("window of time", windows)]
    if query.resource is not None:
        rows.append(choice("resource", [("all resources", query.href(resource=None), False)]))
    elif figures.isps:
        isps = [("all ISPs", query.href(isp=None), query.isp is None)]
        isps += [
            (of_isp(each.isp), query.href(isp=each.isp or ""), query.isp == (each.isp or "")) for each in figures.isps
        ]
        rows.append(choice("ISP", isps[:12]))
    return el("div", *rows, class_="choices")


def _tiles(figures: _Figures) -> Tag:
    moments = figures.moments
    volume = sum(sum(by_kind(each).values()) for each in moments)
    server = sum(each.server for each in moments)
    completed, failed = sum(each.completed for each in moments), sum(each.failed for each in moments)
    stalled = sum(each.stalled_ms for each in moments) / 1000
    paced = [(each.speed, sum(by_kind(each).values())) for each in moments if each.speed > 0]
    weight = sum(count for _, count in paced)
    speed = sum(rate * count for rate, count in paced) / weight if weight else 0.0
    return tiles(
        Tile("delivered", in_bytes(volume), "to clients, from all sources"),
        Tile("offload", in_percent(1 - server / volume) if volume else "-", "came not from resource servers", "good"),
        Tile("download speed", in_rate(speed), "mean, weighted by bytes"),
        Tile("stalled", in_time(stalled), "of all downloads together", "bad" if stalled >= 10 else ""),
        Tile("completed", str(completed), f"{failed} failed", "bad" if failed > completed else ""),
    )


def _plots(figures: _Figures, seconds: float) -> list[Tag]:
    moments = _begun(figures.moments)
    if not moments:
        return []
    start, end = moments[0].start, moments[-1].start + moments[-1].seconds
    times = [at_clock(moment, window=seconds) for moment in (start, (start + end) / 2, end)]
    columns = [{kind: count / each.seconds for kind, count in by_kind(each).items()} for each in moments]
    says = [_said(each, seconds) for each in moments]
    totals = {kind: sum(getattr(each, kind) for each in moments) for kind in KINDS}
    speeds = [each.speed for each in moments]
    said = [f"{at_clock(each.start, window=seconds)}: {in_rate(each.speed)}" for each in moments]
    return [
        card(
            "Bytes by kind of source",
            plots.stacked("bytes a second by kind of source, over time", columns, says, times, on_axis),
            legend(totals),
            note="per second, received by clients",
        ),
        card(
            "Download speed",
            plots.line("mean download speed over time", speeds, said, times, on_axis),
            el(
                "ul",
                el("li", "latest ", el("b", in_rate(_last(speeds)))),
                el("li", "fastest ", el("b", in_rate(max(speeds)))),
                class_="legend",
            ),
            note="mean of the clients, weighted by bytes",
        ),
    ]


def _begun(moments: Sequence[Moment]) -> Sequence[Moment]:
    """The moments since something happened, or a few more."""
    quiet = next((at for at, each in enumerate(moments) if any(by_kind(each).values())), len(moments))
    return moments[max(min(quiet - 1, len(moments) - LEAST_SHOWN), 0) :]


def _last(speeds: Sequence[float]) -> float:
    return next((speed for speed in reversed(speeds) if speed > 0), 0.0)


def _said(moment: Moment, window: float) -> str:
    lines = [f"{at_clock(moment.start, window=window)} UTC, {in_time(moment.seconds)}"]
    lines += [f"{KINDS[kind]}: {in_bytes(count)}" for kind, count in by_kind(moment).items() if count]
    lines += [f"{moment.completed} completed"] if moment.completed else []
    return "\n".join(lines)


def _isps(query: _Query, figures: _Figures) -> Tag:
    rows = [
        (
            el("a", of_isp(each.isp), href=query.href(isp=each.isp or "")),
            in_bytes(each.volume),
            kinds_bar(by_kind(each)),
            in_percent(each.offload),
            in_bytes(each.imported),
            f"{each.copies:.2f}",
            in_rate(each.speed),
            in_time(each.stalled_ms / 1000),
            f"{each.completed}",
        )
        for each in figures.isps[:MOST_ISPS]
    ]
    heads = ("ISP", "received", "from", "offload", "imported", "copies", "speed", "stalled", "completed")
    return card(
        "By ISP",
        table(heads, rows, nothing="Nobody has reported a download yet.", numbers=("received", *heads[3:])),
        note="imported: bytes that crossed the ISP's border, also to fill its super nodes; copies: how many times that "
        "is the resources themselves, where 1 is the best there can be for what is new there",
        wide=True,
    )


def _hot(query: _Query, figures: _Figures) -> Tag:
    rows = [
        (
            named(each.resource, figures.names, query.href(resource=each.resource)),
            in_bytes(each.length),
            in_bytes(each.volume),
            kinds_bar(by_kind(each)),
            f"{each.clients}",
            f"{each.isps}",
            in_percent(each.imported),
            in_rate(each.speed),
            in_rate(each.slow),
            f"{each.completed} / {each.failed}",
        )
        for each in figures.hot
    ]
    heads = (
        "resource",
        "size",
        "received",
        "from",
        "clients",
        "ISPs",
        "imported",
        "speed",
        "slowest fifth",
        "done / failed",
    )
    numbers = ("size", "received", *heads[4:])
    return card(
        "What is hot",
        table(heads, rows, nothing="Nothing was downloaded in this time.", numbers=numbers),
        note="most bytes first; slowest fifth: the speed at or below which a fifth of the bytes came",
        wide=True,
    )
