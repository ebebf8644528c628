"""How does a role show its pages: frame, limits, headers, and what goes with them?"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.template import Tag, flattenString

from p2sp.net.jsonapi import Api, ApiError, Call, RateLimit, Reply, make_site
from p2sp.net.web import BoundedSite
from p2sp.ops.pages.door import Door
from p2sp.ops.pages.parts import el
from p2sp.ops.pages.words import at_clock

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""What a browser may do with a page: nothing from elsewhere, nothing written into it."""

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HTML: Final = "text/html; charset=utf-8"
STATIC: Final = {
    "pages.css": "text/css; charset=utf-8",
    "pages.js": "text/javascript; charset=utf-8",
    "pages.svg": "image/svg+xml",
}
RATE: Final = RateLimit(20, 100)
LARGEST_FORM: Final = 8192
_BOOL_TRUE: Final = ""


@attrs.frozen
class Page:
    """What a view shows: its title, a sentence under it, its parts; new every `refresh` seconds."""

    title: str
    lead: str
    parts: Sequence[Tag]
    refresh: float = 5.0


View = Callable[[Call], Awaitable[Page]]
"""Makes the page for a request; may raise ApiError."""

Naming = Callable[[Iterable[str]], Awaitable[Mapping[str, str]]]
"""Says what resources are called, as far as that is known; waits for nobody long."""


def pages_site(
    clock: IReactorTime, role: str, view: View, door: Door, *, links: Mapping[str, str] | None = None
) -> BoundedSite:
    """A web site with one page, live, for who is let in by `door`; `links` lead to the pages of others."""
    api = Api(None, clock, role=role, rate_limit=RATE)
    frame = _Frame(role, dict(links or {}), clock)

    async def show(call: Call) -> Reply:
        _check_host(call, door)
        if not door.admits(call):
            return await frame.door()
        try:
            return await frame.reply(await view(call))
        except ApiError as error:
            return await frame.reply(_excuse(error), error.status)

    async def enter(call: Call) -> Reply:
        _check_host(call, door)
        fields = parse_qs(call.body.decode("utf-8", "replace"), max_num_fields=4)
        cookie = door.enter(call, fields.get("token", [""])[-1])
        if cookie is None:
            return await frame.door("That is not the token.")
        # By its name alone, so that it also works under a prefix of somebody's proxy.
        return Reply(b"", "", 303, {"Location": "./", "Set-Cookie": cookie, **HEADERS})

    api.route("GET", "/", show)
    api.route("POST", "/enter", enter, body=bytes, max_body=LARGEST_FORM)
    for name, kind in STATIC.items():
        body = files("p2sp.ops.pages").joinpath("static", name).read_bytes()
        api.route("GET", f"/{name}", _constant(Reply(body, kind, headers={**HEADERS, "Cache-Control": "no-cache"})))
    return make_site(api)


def _constant(reply: Reply) -> Callable[[Call], Awaitable[Reply]]:
    async def answer(call: Call) -> Reply:
        return reply

    return answer


def _check_host(call: Call, door: Door) -> None:
    """Without a token a page is for this machine; a name of somebody else's that leads here must not read it."""
    host = call.request.getRequestHostname().decode("latin-1")
    if door.token is not None or host == "localhost":
        return
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        raise ApiError(421, "host", "these pages are known by their address, or with a token by any name") from None


def _excuse(error: ApiError) -> Page:
    back = el("p", el("a", "Back to the whole page", href="./"))
    return Page("This cannot be shown", "", [el("section", el("p", error.message), back, class_="card wide")], 60.0)


@attrs.frozen
class _Frame:
    role: str
    links: dict[str, str]
    clock: IReactorTime

    async def reply(self, page: Page, status: int = 200) -> Reply:
        now = self.clock.seconds()
        main = el(
            "main",
            el("h1", page.title),
            el("p", page.lead, class_="lead") if page.lead else None,
            *page.parts,
            data_refresh=page.refresh,
        )
        live = el("p", el("i", aria_hidden="true"), f"as of {at_clock(now)} UTC", class_="live", id="live")
        return await self._document(page.title, [live], main, status, page.refresh)

    async def door(self, complaint: str = "") -> Reply:
        form = el(
            "form",
            el("label", "Operator's token", for_="token"),
            el(
                "input",
                type="password",
                name="token",
                id="token",
                required=_BOOL_TRUE,
                autofocus=_BOOL_TRUE,
                autocomplete="current-password",
            ),
            el("p", complaint, class_="bad", role="alert") if complaint else None,
            el("button", "Let me in", type="submit"),
            method="post",
            action="enter",
            class_="card door",
        )
        main = el("main", el("h1", "Who is there?"), form)
        reply = await self._document("Who is there?", [], main, 401)
        return attrs.evolve(reply, headers={**reply.headers, "WWW-Authenticate": 'Bearer realm="p2sp"'})

    async def _document(
        self, title: str, state: Sequence[Tag], main: Tag, status: int, refresh: float | None = None
    ) -> Reply:
        own = el("a", self.role, href="./", aria_current="page")
        others = [el("a", name, href=url) for name, url in self.links.items()]
        mark = el("img", src="pages.svg", alt="", width=24, height=24)
        head: list[Any] = [
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("meta", name="color-scheme", content="light dark"),
            el("title", f"{title} - p2sp {self.role}"),
            el("link", rel="icon", href="pages.svg", type="image/svg+xml"),
            el("link", rel="stylesheet", href="pages.css"),
        ]
        if refresh is not None:
            head.append(el("script", src="pages.js", defer=_BOOL_TRUE))
            # Not as often as with the script: the whole page is drawn anew.
            again = el("meta", http_equiv="refresh", content=f"{max(refresh, 10.0):.0f}")
            head.append(el("noscript", again))
        top = el(
            "header",
            el("a", mark, "p2sp", href="./", class_="mark"),
            el("nav", own, *others, aria_label="pages"),
            *state,
        )
        document = el("html", el("head", *head), el("body", top, main), lang="en")
        body = b"<!DOCTYPE html>\n" + await flattenString(None, document)
        return Reply(body, HTML, status, HEADERS)
