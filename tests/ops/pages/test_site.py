"""Do pages come whole and safe, to whom they are for and to nobody else?"""

from treq.client import HTTPClient
from twisted.internet.task import Clock
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from p2sp.net.jsonapi import ApiError, Call
from p2sp.ops.pages.door import STAYS, Door
from p2sp.ops.pages.parts import el
from p2sp.ops.pages.site import POLICY, Page, pages_site
from tests.net.kit import LoopbackCase, reactor

TOKEN = "a token of operators, long enough"


async def view(call: Call) -> Page:
    if "bad" in call.query:
        raise ApiError(422, "invalid", "that is <no> query")
    return Page("A title", "a lead", [el("p", "hello & <b>welcome</b>")], 3.0)


class PagesCase(LoopbackCase):
    """A page behind a door."""

    def open_page(self, token: str | None = None, *, secure: bool = False) -> None:
        self.clock = Clock()
        self.door = Door("manager", self.clock, token, secure=secure)
        site = pages_site(reactor, "manager", view, self.door, links={"statistics": "http://127.0.0.1:9103/"})
        self.addCleanup(site.drain, 2.0)
        self.url = self.serve_raw(site, tls=False)

    async def get(self, path: str = "/", body: bytes | None = None, **headers: str) -> tuple[IResponse, str]:
        client = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
        response = await client.request(
            "GET" if body is None else "POST",
            self.url + path,
            headers=Headers({name: [value] for name, value in headers.items()}),
            data=body,
            allow_redirects=False,
            unbuffered=True,
        )
        return response, (await response.content()).decode()

    def header(self, response: IResponse, name: str) -> str:
        return ";".join(response.headers.getRawHeaders(name, []))


class OpenTests(PagesCase):
    """On loopback, without a token."""

    def setUp(self) -> None:
        self.open_page()

    async def test_a_page_is_framed_and_escaped(self) -> None:
        response, text = await self.get()
        assert response.code == 200
        assert self.header(response, "Content-Security-Policy") == POLICY
        assert self.header(response, "Cache-Control") == "no-store"
        assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
        for part in (
            "<title>A title - p2sp manager</title>",
            "hello &amp; &lt;b&gt;welcome&lt;/b&gt;",
            'data-refresh="3"',
            '<noscript><meta http-equiv="refresh" content="10" /></noscript>',
            '<a href="http://127.0.0.1:9103/">statistics</a>',
        ):
            assert part in text, part
        assert " style=" not in text
        assert "<script>" not in text

    async def test_nothing_comes_from_elsewhere(self) -> None:
        for name, kind in {"pages.css": "text/css", "pages.js": "text/javascript", "pages.svg": "image/svg"}.items():
            response, text = await self.get(f"/{name}")
            assert response.code == 200
            assert self.header(response, "Content-Type").startswith(kind)
            foreign = [word for word in text.split() if "//" in word and not word.startswith(("//", 'xmlns="http'))]
            assert foreign == [], name

    async def test_what_cannot_be_shown_is_a_page_too(self) -> None:
        response, text = await self.get("/?bad=1")
        assert response.code == 422
        assert "that is &lt;no&gt; query" in text
        assert (await self.get("/nothing"))[0].code == 404

    async def test_a_foreign_name_that_leads_here_reads_nothing(self) -> None:
        for host in ("localhost", "127.0.0.1:9104", "[::1]:9104"):
            assert (await self.get(Host=host))[0].code == 200
        response, text = await self.get(Host="evil.example")
        assert response.code == 421
        assert "hello" not in text

    async def test_there_is_no_token_to_guess(self) -> None:
        assert (await self.get("/enter", b"token="))[0].code == 401


class DoorTests(PagesCase):
    """With a token."""

    def setUp(self) -> None:
        self.open_page(TOKEN)

    async def test_who_shows_nothing_sees_a_form_alone(self) -> None:
        response, text = await self.get()
        assert response.code == 401
        assert self.header(response, "WWW-Authenticate") == 'Bearer realm="p2sp"'
        assert self.header(response, "Content-Security-Policy") == POLICY
        assert "hello" not in text
        assert 'type="password"' in text
        assert "statistics</a>" in text

    async def test_programs_show_it_in_a_header(self) -> None:
        assert (await self.get(Authorization=f"Bearer {TOKEN}", Host="pages.example"))[0].code == 200
        assert (await self.get(Authorization=f"Bearer {TOKEN}x"))[0].code == 401
        assert (await self.get(Authorization=f"Basic {TOKEN}"))[0].code == 401

    async def test_browsers_get_a_cookie_that_ends(self) -> None:
        response, text = await self.get("/enter", b"token=not+it")
        assert response.code == 401
        assert "That is not the token." in text
        response, _ = await self.get("/enter", b"token=" + TOKEN.replace(" ", "+").encode())
        assert (response.code, self.header(response, "Location")) == (303, "./")
        cookie = self.header(response, "Set-Cookie")
        assert cookie.endswith("; HttpOnly; SameSite=Strict")
        assert TOKEN not in cookie
        value = cookie.partition(";")[0]
        assert (await self.get(Cookie=value))[0].code == 200
        later = value.replace("=43200.", "=43201.")
        assert later != value
        for forged in (later, value[:-1], "p2sp_manager=", "p2sp_manager=x.y", "p2sp_manager=²."):
            assert (await self.get(Cookie=forged))[0].code == 401, forged
        self.clock.advance(STAYS)
        assert (await self.get(Cookie=value))[0].code == 401

    async def test_guessing_is_slow_and_does_not_lock_out_who_knows(self) -> None:
        codes = [(await self.get("/enter", b"token=%d" % n))[0].code for n in range(10)]
        assert codes == [401] * 8 + [429] * 2
        assert (await self.get(Authorization="Bearer guess"))[0].code == 429
        assert (await self.get(Authorization=f"Bearer {TOKEN}"))[0].code == 200
        self.clock.advance(5.0)
        assert (await self.get("/enter", b"token=x"))[0].code == 401

    async def test_a_form_has_a_size(self) -> None:
        assert (await self.get("/enter", b"token=" + b"x" * 9000))[0].code == 413

    async def test_over_tls_the_cookie_is_for_tls(self) -> None:
        self.open_page(TOKEN, secure=True)
        response, _ = await self.get("/enter", b"token=" + TOKEN.replace(" ", "+").encode())
        assert self.header(response, "Set-Cookie").endswith("; Secure")
