"""Does the page of the statistics server show what the figures say, and ask no more often than it must?"""

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.template import flattenString
from zope.interface import implementer

from p2sp.net.jsonapi import ApiError, Call
from p2sp.ops.pages.site import Page
from p2sp.statistics.interfaces import IFigures
from p2sp.statistics.pages import LEAST_SHOWN, MOST_REMEMBERED, StatisticsPage
from p2sp.statistics.schema import HotResource, IspFigures, Moment
from tests.statistics.samples import NOW, RESOURCE

MIB = 1024 * 1024


@implementer(IFigures)
class Figures:
    """Figures of a network where something happens in the last step alone; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.isp: str | None = "campus"

    def hot(self, since: float, limit: int, isp: str | None = None) -> Deferred[list[HotResource]]:
        self.asked.append(("hot", since, isp))
        hot = HotResource(RESOURCE, 8 * MIB, 16 * MIB, 8 * MIB, 4 * MIB, 4 * MIB, 0, 0, 1, 2, 1e6, 5e5, 0, 2, 0)
        return succeed([hot])

    def course(
        self, since: float, until: float, step: float, isp: str | None = None, resource: str | None = None
    ) -> Deferred[list[Moment]]:
        self.asked.append(("course", since, step, isp, resource))
        count = round((until - since) / step)
        quiet = [Moment(since + at * step, step, 0, 0, 0, 0, 0, 0.0, 0, 0, 0) for at in range(count - 1)]
        return succeed([*quiet, Moment(until - step, step, 8 * MIB, 4 * MIB, 4 * MIB, 0, 0, 1e6, 12_000, 2, 0)])

    def isps(self, since: float) -> Deferred[list[IspFigures]]:
        self.asked.append(("isps", since))
        figures = IspFigures(
            self.isp, 1, 8 * MIB, 16 * MIB, 8 * MIB, 4 * MIB, 4 * MIB, 0, 0, 8 * MIB, 0.5, 1.0, 1e6, 12_000, 2, 0
        )
        return succeed([figures])


class StatisticsPageTests(SynchronousTestCase):
    """The view, without a listener."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.figures = Figures()
        self.known: dict[str, str] = {}
        self.view = StatisticsPage(self.figures, self.clock, 5.0, self.names)

    async def names(self, resources: Iterable[str]) -> Mapping[str, str]:
        return {each: self.known[each] for each in resources if each in self.known}

    def ask(self, **query: str) -> Deferred[Page]:
        call = Call(None, "127.0.0.1", {}, query, None, Headers(), None)  # type: ignore[arg-type]
        return Deferred.fromCoroutine(self.view(call))

    def page(self, **query: str) -> Page:
        return self.successResultOf(self.ask(**query))

    def text(self, **query: str) -> str:
        return self.successResultOf(flattenString(None, [*self.page(**query).parts])).decode()

    def test_what_is_shown(self) -> None:
        text = self.text()
        for part in (
            ">16.0 MiB<",
            ">50 %<",
            'class="tile bad"><dt>stalled</dt><dd>12 s</dd>',
            '<a href="./?window=1h&amp;isp=campus">campus</a>',
            f'<a href="./?window=1h&amp;resource={RESOURCE}">',
            "super nodes 25 %, peers, same ISP 25 %, resource servers 50 %",
        ):
            assert part in text, part
        # Columns of the time before anything happened are left out.
        assert text.count('class="cover"') == 2 * LEAST_SHOWN

    def test_one_question_for_many_who_look(self) -> None:
        for _ in range(3):
            self.page(window="10m")
        assert [each[0] for each in self.figures.asked] == ["course", "isps", "hot"]
        assert self.figures.asked[0] == ("course", NOW - 600, 5.0, None, None)
        self.clock.advance(2.0)
        self.page(window="10m")
        assert len(self.figures.asked) == 6
        for number in range(2 * MOST_REMEMBERED):
            self.page(isp=f"isp {number}")
        assert len(self.view._read) == MOST_REMEMBERED

    def test_one_resource_alone(self) -> None:
        page = self.page(resource=RESOURCE, window="1d")
        assert page.lead == f"resource {RESOURCE}, the last day"
        assert self.figures.asked == [("course", NOW - 86_400, 1800.0, None, RESOURCE)]

    def test_a_resource_is_called_by_its_name_and_cannot_misuse_it(self) -> None:
        self.known[RESOURCE] = "<b>\u202egnp.exe\x7f" + "x" * 60 + "-end.iso"
        text = self.text()
        shown = "&lt;b&gt;\ufffdgnp.exe\ufffd" + "x" * 15 + "\u2026" + "xxxx-end.iso"
        assert f">{shown}</span></a>" in text
        assert "<b>\ufffd" not in text
        assert "\u202e" not in text
        assert f'<code title="{RESOURCE}">{RESOURCE[:12]}</code>' in text
        assert self.page(resource=RESOURCE).lead.endswith(f"xxxx-end.iso, resource {RESOURCE}, the last hour")

    def test_the_unknown_isp(self) -> None:
        self.figures.isp = None
        assert 'href="./?window=1h&amp;isp=">unknown</a>' in self.text()
        assert self.page(isp="").lead == "ISP unknown, the last hour"

    def test_steps_are_no_shorter_than_a_rollup(self) -> None:
        self.view = StatisticsPage(self.figures, self.clock, 60.0, self.names)
        self.page(window="10m")
        assert self.figures.asked[0][2] == 60.0

    def test_what_is_no_query(self) -> None:
        for query in ({"window": "1y"}, {"resource": "../etc"}, {"isp": "x" * 600}, {"other": "1"}):
            refused = self.failureResultOf(self.ask(**query), ApiError)
            assert refused.value.status == 422
