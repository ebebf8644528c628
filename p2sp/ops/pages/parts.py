"""Of which parts is a page made: tiles, cards, tables, bars, badges? Pure: values in, elements out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs
from twisted.web.template import Tag

from p2sp.ops.pages.words import in_bytes, in_percent, in_short, printable, short_id

KINDS: Final = {
    "supernode": "super nodes",
    "peer_local": "peers, same ISP",
    "peer_remote": "peers, other ISPs",
    "server": "resource servers",
}
"""Fields of bytes by kind of source, nearest first, and what they are called."""


def el(name: str, /, *children: Any, **attributes: object) -> Tag:
    """An element. In attributes `_` stands for `-`, one at the end for nothing; those that are None are left out."""
    said: dict[str | bytes, Any] = {
        key.rstrip("_").replace("_", "-"): _text(value) for key, value in attributes.items() if value is not None
    }
    return Tag(name, attributes=said, children=[_child(child) for child in children if child is not None])


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _child(child: Any) -> Any:
    return child if isinstance(child, Tag | list | tuple) else str(child)


def card(title: str, *children: Any, note: str | None = None, wide: bool = False) -> Tag:
    """A titled box; `note` is the small print under the title."""
    small = None if note is None else el("p", note, class_="note")
    return el("section", el("h2", title), small, *children, class_="card wide" if wide else "card")


@attrs.frozen
class Tile:
    """One number that counts: what it is, the number, and a word on it."""

    name: str
    value: str
    note: str = ""
    tone: str = ""


def tiles(*each: Tile) -> Tag:
    """The row of numbers at the top of a page."""
    return el(
        "dl",
        *[
            el(
                "div",
                el("dt", tile.name),
                el("dd", tile.value),
                el("dd", tile.note, class_="note") if tile.note else None,
                class_=f"tile {tile.tone}".strip(),
            )
            for tile in each
        ],
        class_="tiles",
    )


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    nothing: str,
    wide: Sequence[str] = (),
    numbers: Sequence[str] = (),
) -> Tag:
    """A table that becomes a list of cards on a narrow screen; `nothing` is said when there are no rows.

    Cells under the heads in `wide` may be long and break lines, those under `numbers` stand to the right.
    """
    classes = {**dict.fromkeys(wide, "words"), **dict.fromkeys(numbers, "number")}
    body = [
        el(
            "tr",
            *[el("td", cell, data_label=head, class_=classes.get(head)) for head, cell in zip(heads, row, strict=True)],
        )
        for row in rows
    ]
    if not body:
        return el("p", nothing, class_="nothing")
    head = el("thead", el("tr", *[el("th", head, scope="col", class_=classes.get(head)) for head in heads]))
    return el("div", el("table", head, el("tbody", *body)), class_="scroll")


def badge(text: str, tone: str) -> Tag:
    """A word in a coloured field; `tone` is `good`, `busy`, `bad` or `calm`."""
    return el("span", text, class_=f"badge {tone}")


def identifier(text: str, href: str | None = None) -> Tag:
    """The beginning of an id; the whole one shows up on hovering, and stands in a link where there is one."""
    shown = el("code", short_id(text), title=text)
    return shown if href is None else el("a", shown, href=href)


def named(resource: str, names: Mapping[str, str], href: str | None = None) -> Tag:
    """A resource by its name and the beginning of its id, or by that alone when nobody has named it."""
    name = names.get(resource)
    if name is None:
        return identifier(resource, href)
    shown = el("span", in_short(name), title=printable(name))
    return el("span", shown if href is None else el("a", shown, href=href), " ", identifier(resource), class_="named")


def meter(share: float, text: str, tone: str = "") -> Tag:
    """How full something is, as a bar and in words."""
    inside = min(max(share, 0.0), 1.0)
    bar = el(
        "svg",
        el("rect", width="100%", height="100%", class_="track"),
        el("rect", width=f"{inside * 100:.2f}%", height="100%", class_=f"level {tone}".strip()),
        class_="bar",
        aria_hidden="true",
    )
    return el("div", bar, el("span", text), class_="meter")


def kinds_bar(amounts: Mapping[str, int]) -> Tag:
    """Bytes by kind of source as one bar; the shares in words show up on hovering and are read aloud."""
    total = sum(amounts.values())
    if not total:
        return el("span", "-")
    words = ", ".join(f"{KINDS[kind]} {in_percent(count / total)}" for kind, count in amounts.items() if count)
    pieces, at = [], 0.0
    for kind, count in amounts.items():
        width = count * 100 / total
        if count:
            pieces.append(el("rect", x=f"{at:.2f}%", width=f"{width:.2f}%", height="100%", class_=f"fill-{kind}"))
        at += width
    return el("svg", el("title", words), *pieces, class_="bar kinds", role="img", aria_label=words)


def legend(totals: Mapping[str, int]) -> Tag:
    """What the colours of the kinds mean, and how much came from each."""
    whole = sum(totals.values())
    return el(
        "ul",
        *[
            el(
                "li",
                el("i", class_=f"key key-{kind}", aria_hidden="true"),
                f"{name} ",
                el("b", in_bytes(totals.get(kind, 0))),
                f" ({in_percent(totals.get(kind, 0) / whole)})" if whole else "",
            )
            for kind, name in KINDS.items()
        ],
        class_="legend",
    )


def by_kind(figures: Any) -> dict[str, int]:
    """The bytes by kind of anything that counts them under these names."""
    return {kind: getattr(figures, kind) for kind in KINDS}


def choice(name: str, options: Iterable[tuple[str, str, bool]]) -> Tag:
    """Links of which one is chosen: what each says, where it leads, whether it is the one."""
    links = [el("a", text, href=href, aria_current="true" if chosen else None) for text, href, chosen in options]
    return el("nav", *links, class_="choice", aria_label=name)
