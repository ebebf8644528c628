"""Does the manager's page show what there is, and why, and how busy it was?"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import structs
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers
from twisted.web.template import flattenString

from p2sp.manager.pages import LoadHistory, ManagerPage
from p2sp.manager.placement import Plan
from p2sp.manager.rules import Rule, RuleKind
from p2sp.manager.schema import Held
from p2sp.net.jsonapi import Call
from tests.manager.cases import quiet_manager
from tests.manager.support import MIB, decision, rid
from tests.manager.test_api import BEAT

NODE = "a" * 64


class ManagerPageTests(TestCase):
    """The view over a real manager, without a listener."""

    timeout = 20

    def setUp(self) -> None:
        self.clock = Clock()
        self.manager, self.registry = quiet_manager(self, self.clock)
        self.history = LoadHistory(self.manager)
        self.view = ManagerPage(self.manager, self.history, self.clock, self.names)

    async def names(self, resources: Iterable[str]) -> Mapping[str, str]:
        assert set(resources) <= {rid(1), rid(2), rid(3)}
        return {rid(1): "placed.iso", rid(2): "dropped.iso", rid(3): "blocked <i>.iso"}

    async def text(self, **query: str) -> str:
        call = Call(None, "127.0.0.1", {}, query, None, Headers(), None)  # type: ignore[arg-type]
        page = await self.view(call)
        return (await flattenString(None, [*page.parts])).decode()

    async def beat(self, node: str = NODE, address: str = "127.1.0.1", **changes: Any) -> None:
        await self.manager.heartbeat(node, address, structs.replace(BEAT, **changes))

    async def test_nothing_yet(self) -> None:
        text = await self.text()
        for part in ("No super node has reported yet.", "Nothing is placed.", "Nothing was dropped yet.", "not read"):
            assert part in text, part

    async def test_nodes_placements_and_what_was_said(self) -> None:
        there, gone = decision(rid(1), NODE), decision(rid(2), NODE)
        await self.registry.enact("campus", Plan((there,), (gone,)))
        await self.beat(used=240 * MIB, held=[Held(rid(1), 64 * MIB, 0.5)])
        await self.beat("b" * 64, "127.2.0.1", used=0)
        now = self.clock.seconds()
        for kind, until, note in ((RuleKind.BLOCK, None, "<b>ours</b>"), (RuleKind.PIN, now - 1, "exam week")):
            await self.registry.add_rule(Rule(0, kind, rid(3), None, MIB, now - 60, until, "c" * 64, note))
        text = await self.text()
        for part in (
            '<h3>campus<span class="badge good">alive</span></h3>',
            "240 MiB of 256 MiB, 94 % full",
            'class="level full"',
            '<span class="badge busy">filling</span> 50 %',
            "hot: then",
            '<span title="placed.iso">placed.iso</span> <code',
            '<span title="dropped.iso">dropped.iso</span> <code',
            ">blocked &lt;i&gt;.iso</span> <code",
            '<span class="badge bad">block</span>',
            "&lt;b&gt;ours&lt;/b&gt;",
            "when taken back",
            "is over",
            '<a href="./?isp=town">town</a>',
        ):
            assert part in text, part
        elsewhere = await self.text(isp="town")
        assert "hot: then" not in elsewhere
        assert "<h3>town" in elsewhere
        assert "<h3>campus" not in elsewhere
        await self.beat(draining=True)
        text = await self.text()
        assert '<h3>campus<span class="badge busy">draining</span></h3>' in text
        assert '<span class="badge busy">going</span>' in text
        self.clock.advance(60.0)
        assert '<span class="badge bad">silent</span>' in await self.text()

    async def test_load_is_remembered_once_a_heartbeat(self) -> None:
        await self.beat(uploaded=0)
        await self.history.watch()
        for uploaded in (10 * MIB, 30 * MIB):
            self.clock.advance(5.0)
            await self.beat(uploaded=uploaded)
            await self.history.watch()
            await self.history.watch()
        assert self.history.rates(NODE) == [0.0, 2.0 * MIB, 4.0 * MIB]
        assert "4.00 MiB/s" in await self.text()
        assert self.history.rates("b" * 64) == []
