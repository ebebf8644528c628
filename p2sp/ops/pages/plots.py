"""How is a course of time drawn, without scripts and at any width? Inline SVG, pure.

An outer drawing without a scale holds the words, placed in percent, so that they keep their size; the shapes are in an
inner one that is stretched over it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from twisted.web.template import Tag

from p2sp.ops.pages.parts import el

HEIGHT: Final = 190
_TOP: Final = 16
_PLOT: Final = 146
_GRID: Final = 3
"""Lines of the grid above the ground line."""

_TALL: Final = 1000.0
"""Units of the inner drawing's height; its width is one unit for each step of time."""


def nice_top(most: float, *, base: int = 1024) -> float:
    """The end of an axis: the next 1, 2, 3, 5 ... of its unit at or above `most`, so that grid lines are round."""
    if most <= 0:
        return 1.0
    unit = float(base) ** math.floor(math.log(most, base)) if most >= 1 else 1.0
    for step in (1.5, 3, 6, 9, 15, 30, 60, 90, 150, 300, 600, 900, 1.5 * base):
        if most <= step * unit:
            return step * unit
    return most


def _frame(inner: Sequence[Tag], width: int, top: float, times: Sequence[str], words: Callable[[float], str]) -> Tag:
    parts: list[Tag] = []
    for line in range(1, _GRID + 1):
        y = _TOP + _PLOT * (1 - line / _GRID)
        parts.append(el("line", x1="0", x2="100%", y1=y, y2=y, class_="grid"))
    parts.append(
        el(
            "svg",
            *inner,
            x="0",
            y=_TOP,
            width="100%",
            height=_PLOT,
            viewBox=f"0 0 {width} {_TALL:.0f}",
            preserveAspectRatio="none",
        )
    )
    for line in range(1, _GRID + 1):
        y = _TOP + _PLOT * (1 - line / _GRID)
        parts.append(el("text", words(top * line / _GRID), x="0", y=y - 4, class_="axis"))
    ground = _TOP + _PLOT
    parts.append(el("line", x1="0", x2="100%", y1=ground, y2=ground, class_="ground"))
    anchors = ("start", "middle", "end")
    for at, (time, anchor) in enumerate(zip(times, anchors, strict=True)):
        x = f"{at * 50}%"
        parts.append(el("text", time, x=x, y=ground + 18, class_="axis", text_anchor=anchor))
    return el("g", *parts)


def _drawing(name: str, content: Tag) -> Tag:
    return el("svg", el("title", name), content, class_="plot", height=HEIGHT, role="img", aria_label=name)


def stacked(
    name: str,
    columns: Sequence[Mapping[str, float]],
    says: Sequence[str],
    times: Sequence[str],
    words: Callable[[float], str],
) -> Tag:
    """Columns over time, each a pile of parts in the order of its keys, which name classes `fill-KEY`.

    `says` is shown when a column is pointed at; `times` are the words under the left end, the middle and the right end;
    `words` puts a value on the axis into words.
    """
    top = nice_top(max((sum(column.values()) for column in columns), default=0.0))
    shapes: list[Tag] = []
    for at, (column, said) in enumerate(zip(columns, says, strict=True)):
        below = _TALL
        piles = []
        for key, value in column.items():
            tall = value / top * _TALL
            if tall > 0:
                below -= tall
                piles.append(el("rect", x=at + 0.08, y=round(below, 2), width=0.84, height=tall, class_=f"fill-{key}"))
        cover = el("rect", x=at, y=0, width=1, height=_TALL, class_="cover")
        shapes.append(el("g", el("title", said), cover, *piles))
    return _drawing(name, _frame(shapes, max(len(columns), 1), top, times, words))


def line(
    name: str,
    values: Sequence[float],
    says: Sequence[str],
    times: Sequence[str],
    words: Callable[[float], str],
) -> Tag:
    """Values over time as a line, with the same words as columns have; 0 is "not known" and makes a gap."""
    top = nice_top(max(values, default=0.0))
    shapes = [el("path", d=path, class_="curve") for path in _paths(values, top)]
    for at, said in enumerate(says):
        shapes.append(el("rect", el("title", said), x=at, y=0, width=1, height=_TALL, class_="cover"))
    return _drawing(name, _frame(shapes, max(len(values), 1), top, times, words))


def _paths(values: Sequence[float], top: float) -> list[str]:
    paths: list[str] = []
    run: list[str] = []
    for at, value in enumerate([*values, 0.0]):
        if value > 0:
            run.append(f"{at + 0.5:g} {_TALL * (1 - value / top):.1f}")
        elif run:
            # A moment alone would be a line of no length, which is not drawn.
            paths.append("M" + " L".join(run) if len(run) > 1 else f"M{run[0]}h0.5")
            run = []
    return paths


def spark(values: Sequence[float], name: str) -> Tag:
    """A line of a word's size, for a course beside a number."""
    top = max(values, default=0.0) or 1.0
    points = [f"{at} {_TALL - value / top * _TALL * 0.94:.0f}" for at, value in enumerate(values)]
    if len(points) < 2:
        points = ["0 1000", "1 1000"]
    last = max(len(values) - 1, 1)
    area = el("path", d=f"M0 {_TALL:.0f} L{' L'.join(points)} L{last} {_TALL:.0f}Z", class_="under")
    curve = el("path", d="M" + " L".join(points), class_="curve")
    box = f"0 0 {last} {_TALL:.0f}"
    return el(
        "svg",
        el("title", name),
        area,
        curve,
        class_="spark",
        viewBox=box,
        preserveAspectRatio="none",
        role="img",
        aria_label=name,
    )
