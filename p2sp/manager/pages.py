"""What does the manager show to people: which super nodes there are, what lies on them, and why?"""

from collections import deque
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import attrs
import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.template import Tag

from p2sp.manager.control import Manager
from p2sp.manager.rules import RuleKind
from p2sp.manager.schema import NodeView, Placement, RuleView
from p2sp.net.fields import Text
from p2sp.net.jsonapi import Call
from p2sp.ops.pages.parts import Tile, badge, card, choice, el, identifier, meter, named, table, tiles
from p2sp.ops.pages.plots import spark
from p2sp.ops.pages.site import Naming, Page
from p2sp.ops.pages.words import in_ago, in_bytes, in_percent, in_time, of_isp, short_id

REFRESH: Final = 2.0
MOST_NODES: Final = 200
MOST_PLACEMENTS: Final = 200
MOST_DROPPED: Final = 30
MOST_RULES: Final = 100
REMEMBERED: Final = 120
"""Samples of a super node's load that are kept."""

FULL: Final = 0.9
_TONES: Final = {"held": "good", "filling": "busy", "ordered": "calm", "failed": "bad", "going": "busy"}


class _Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    isp: Text | None = None


@attrs.define
class _Load:
    """What a super node served, bytes a second, as it said itself from one heartbeat to the next."""

    seen: float = 0.0
    rates: deque[float] = attrs.field(factory=lambda: deque(maxlen=REMEMBERED))


@attrs.define
class LoadHistory:
    """How busy super nodes were lately, in memory alone: `watch` is to be called about as often as they report."""

    manager: Manager
    _loads: dict[str, _Load] = attrs.field(factory=dict)

    async def watch(self) -> None:
        """Look at the super nodes once; one that has not reported since says nothing new."""
        nodes = await self.manager.nodes(0, MOST_NODES)
        for gone in self._loads.keys() - {node.node_id for node in nodes}:
            del self._loads[gone]
        for node in nodes:
            load = self._loads.setdefault(node.node_id, _Load())
            if node.seen > load.seen:
                load.seen = node.seen
                load.rates.append(node.upload_rate)

    def rates(self, node_id: str) -> list[float]:
        """Bytes a second that a node served, oldest first."""
        load = self._loads.get(node_id)
        return [] if load is None else list(load.rates)


@attrs.frozen
class ManagerPage:
    """The view for `pages_site`."""

    manager: Manager
    history: LoadHistory
    clock: IReactorTime
    names: Naming

    async def __call__(self, call: Call) -> Page:
        """The page for a query; raises ApiError 422 for what is none."""
        query = call.query_as(_Query)
        now = self.clock.seconds()
        every = await self.manager.nodes(0, MOST_NODES)
        nodes = [node for node in every if query.isp is None or (node.isp or "") == query.isp]
        placements = await self.manager.placements(query.isp, 0, MOST_PLACEMENTS)
        dropped = await self.manager.dropped(query.isp, MOST_DROPPED)
        rules = await self.manager.rules(0, MOST_RULES)
        isps = sorted({node.isp or "" for node in every})
        shown = [each.resource for each in [*placements, *dropped]] + [rule.resource for rule in rules]
        names = await self.names(shown)
        parts = [
            _tiles(nodes, placements, self.manager.informed),
            self._nodes(nodes, now),
            _placements(placements, names, now),
            _rules([rule for rule in rules if query.isp is None or rule.isp in (None, query.isp)], names, now),
            _dropped(dropped, names, now),
        ]
        if len(isps) > 1 or query.isp is not None:
            options = [("all ISPs", "./", query.isp is None)]
            options += [(of_isp(isp), "./?" + urlencode({"isp": isp}), query.isp == isp) for isp in isps]
            parts.insert(0, choice("ISP", options[:20]))
        lead = "super nodes, and each placement with its reason"
        return Page("What lies where, and why", lead, parts, REFRESH)

    def _nodes(self, nodes: list[NodeView], now: float) -> Tag:
        shown = [self._node(node, now) for node in nodes]
        content = el("div", *shown, class_="nodes") if shown else _nothing("No super node has reported yet.")
        return card("Super nodes", content, note="how full each cache is, and what it serves", wide=True)

    def _node(self, node: NodeView, now: float) -> Tag:
        share = node.used / node.capacity if node.capacity else 1.0
        fill = f"{in_bytes(node.used)} of {in_bytes(node.capacity)}, {in_percent(share)} full"
        state = badge("silent", "bad")
        if node.alive:
            state = badge("draining", "busy") if node.draining else badge("alive", "good")
        host = f"[{node.address}]" if ":" in node.address else node.address
        return el(
            "article",
            el("h3", of_isp(node.isp), state),
            el("p", el("code", short_id(node.node_id), title=node.node_id), f" {host}:{node.port}", class_="note"),
            el("p", f"reported {in_ago(node.seen, now)}; {node.whole} whole, {node.filling} filling", class_="note"),
            meter(share, fill, "full" if share >= FULL else "good"),
            el(
                "p",
                el("span", "serves ", el("b", f"{in_bytes(node.upload_rate)}/s")),
                el("span", "in all ", el("b", in_bytes(node.uploaded))),
                class_="load",
            ),
            spark(self.history.rates(node.node_id), "bytes served a second, lately"),
            class_="node",
        )


def _nothing(text: str) -> Tag:
    return el("p", text, class_="nothing")


def _tiles(nodes: list[NodeView], placements: list[Placement], informed: bool) -> Tag:
    alive = [node for node in nodes if node.alive]
    capacity, used = sum(node.capacity for node in alive), sum(node.used for node in alive)
    held = sum(each.state == "held" for each in placements)
    filling = sum(each.state == "filling" for each in placements)
    silent = len(nodes) - len(alive)
    return tiles(
        Tile(
            "super nodes", str(len(alive)), f"{silent} silent" if silent else "all alive", "bad" if silent else "good"
        ),
        Tile("cache", in_percent(used / capacity) if capacity else "-", f"of {in_bytes(capacity)}"),
        Tile("placements", str(len(placements)), f"{held} held, {filling} filling"),
        Tile("resources", str(len({each.resource for each in placements})), "placed somewhere"),
        Tile("statistics", "read" if informed else "not read", "decisions rest on them", "" if informed else "bad"),
    )


def _placements(placements: list[Placement], names: Mapping[str, str], now: float) -> Tag:
    rows = [
        (
            named(each.resource, names),
            of_isp(each.isp),
            identifier(each.node_id),
            _state(each),
            f"{each.value:.2f}",
            in_ago(each.since, now),
            f"{each.reason}; trouble: {each.trouble}" if each.trouble else each.reason,
        )
        for each in placements
    ]
    heads = ("resource", "ISP", "super node", "state", "value", "placed", "why")
    return card(
        "Placements",
        table(heads, rows, nothing="Nothing is placed.", wide=("why",), numbers=("value",)),
        note="most valuable first in each ISP; value: bytes of pain saved per byte of cache",
        wide=True,
    )


def _state(placement: Placement) -> Tag:
    shown = badge(placement.state, _TONES.get(placement.state, "calm"))
    if placement.state == "filling":
        return el("span", shown, " ", in_percent(placement.have))
    return el("span", shown, title=placement.trouble or None)


def _end(until: float | None, now: float) -> str:
    if until is None:
        return "when taken back"
    return f"in {in_time(round(until - now))}" if until > now else "is over"


def _rules(rules: list[RuleView], names: Mapping[str, str], now: float) -> Tag:
    rows = [
        (
            badge(rule.kind.value, "bad" if rule.kind is RuleKind.BLOCK else "calm"),
            named(rule.resource, names),
            "all" if rule.isp is None else of_isp(rule.isp),
            in_ago(rule.since, now),
            _end(rule.until, now),
            rule.note or "-",
        )
        for rule in rules
    ]
    heads = ("rule", "resource", "ISP", "since", "ends", "note")
    return card(
        "What operators said",
        table(heads, rows, nothing="Nothing is pinned, preheated or blocked.", wide=("note",)),
        note="comes before any policy",
        wide=True,
    )


def _dropped(dropped: list[Placement], names: Mapping[str, str], now: float) -> Tag:
    rows = [
        (named(each.resource, names), of_isp(each.isp), identifier(each.node_id), in_ago(each.since, now), each.reason)
        for each in dropped
    ]
    heads = ("resource", "ISP", "super node", "dropped", "why")
    return card("Dropped lately", table(heads, rows, nothing="Nothing was dropped yet.", wide=("why",)), wide=True)
