"""Is each server told what is meant for it, and nobody anything else?"""

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from p2sp.net.mirrors import mirror_policy
from p2sp.net.proxy import ProxySettings, parse_proxy
from p2sp.sources.http_credentials import (
    Credentials,
    basic,
    origin_of,
    parse_header,
    parse_user,
    read_cookies,
    read_netrc,
)
from p2sp.sources.http_probe import Connect, probe
from p2sp.sources.interfaces import SourceError, SourceGone
from tests.net.proxy_server import HttpProxy

reactor: Any = installed_reactor

SECRET = Credentials(
    headers=(("X-Token", "t"), ("Accept", "a"), ("accept", "b")),
    user=("me", "pw"),
    referer="http://page/",
    user_agent="ua/1",
)
COOKIES = """# Netscape HTTP Cookie File
.example.org\tTRUE\t/\tFALSE\t0\twide\t1
example.org\tFALSE\t/deep\tFALSE\t4102444800\tdeep\t2
example.org\tFALSE\t/\tTRUE\t4102444800\tsecure\t3
example.org\tFALSE\t/\tFALSE\t1000\told\t4
#HttpOnly_example.org\tFALSE\t/\tFALSE\t4102444800\thidden\t5
"""


def told(credentials: Credentials, url: str) -> dict[str, list[str]]:
    """The fields that a request for `url` gets."""
    headers = Headers()
    credentials.apply(url, headers)
    return {name.decode().lower(): [value.decode() for value in values] for name, values in headers.getAllRawHeaders()}


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Host/x", ("http", "host", 80)),
        ("HTTPS://host.:8443", ("https", "host", 8443)),
        ("http://[::1]:81/", ("http", "::1", 81)),
        ("https://bücher.example/", ("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_origin(url: str, origin: tuple[str, str, int]) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", ["ftp://h/", "http:///x", "x", "http://h:99999/"])
def test_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        origin_of(url)


def test_parsing() -> None:
    assert parse_header("X-Token:  a: b ") == ("X-Token", "a: b")
    assert parse_user("me:p:w") == ("me", "p:w")
    assert basic(("me", "pä")) == b"Basic " + b64encode("me:pä".encode())
    for bad in ("secret", "a b: secret", ": secret", "X: secret\r\nY: z", "Range: secret", "X: " + "secret" * 2000):
        with pytest.raises(ValueError, match="header") as caught:
            parse_header(bad)
        assert "secret" not in str(caught.value)
    for bad in ("secret", "a:secret\n"):
        with pytest.raises(ValueError, match="NAME:PASSWORD") as caught:
            parse_user(bad)
        assert "secret" not in str(caught.value)


def test_only_named_origins_are_told() -> None:
    credentials = SECRET.also_for(["https://example.org/a"])
    everything = told(credentials, "https://example.org:443/b?c")
    assert everything == {
        "x-token": ["t"],
        "accept": ["a", "b"],
        "referer": ["http://page/"],
        "user-agent": ["ua/1"],
        "authorization": [basic(("me", "pw")).decode()],
    }
    for other in ("http://example.org/a", "https://example.org:444/a", "https://www.example.org/", "https://e.org/"):
        assert told(credentials, other) == {"user-agent": ["ua/1"]}
    assert "pw" not in repr(credentials)
    assert "'t'" not in repr(credentials)


def test_a_header_goes_before_a_password(tmp_path: Path) -> None:
    credentials = Credentials(headers=(("authorization", "Bearer x"),), user=("a", "b")).also_for(["http://h/"])
    assert told(credentials, "http://h/") == {"authorization": ["Bearer x"]}


def test_netrc(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine a.example login ann password pa\ndefault login dan password pd\n")
    credentials = Credentials(netrc=read_netrc(path)).also_for(["http://named.example/"])
    assert told(credentials, "http://a.example:81/")["authorization"] == [basic(("ann", "pa")).decode()]
    assert told(credentials, "http://named.example/")["authorization"] == [basic(("dan", "pd")).decode()]
    assert told(credentials, "http://other.example/") == {}, "default is for those the user named"
    given = Credentials(netrc=read_netrc(path), user=("u", "p")).also_for(["http://a.example/"])
    assert told(given, "http://a.example/")["authorization"] == [basic(("u", "p")).decode()]
    path.write_text("machine a login\npassword secret nonsense x")
    with pytest.raises(ValueError, match="netrc, line") as caught:
        read_netrc(path)
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="No such file"):
        read_netrc(tmp_path / "none")


def test_cookies(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(COOKIES)
    credentials = Credentials(cookies=read_cookies(path))

    def sent(url: str) -> set[str]:
        return {each for value in told(credentials, url).get("cookie", []) for each in value.split("; ")}

    assert sent("http://example.org/") == {"wide=1", "hidden=5"}
    assert sent("https://example.org/") == {"wide=1", "secure=3", "hidden=5"}
    assert sent("http://example.org/deep/x") == {"wide=1", "deep=2", "hidden=5"}
    assert sent("http://www.example.org/") == {"wide=1"}
    assert sent("http://badexample.org/") == set()
    headers = Headers({b"Cookie": [b"own=0"]})
    credentials.apply("http://www.example.org/", headers)
    assert headers.getRawHeaders(b"Cookie") == [b"own=0; wide=1"]
    path.write_text("{}")
    with pytest.raises(ValueError, match="Netscape"):
        read_cookies(path)
    path.write_bytes(b"x" * (5 * 1024 * 1024))
    with pytest.raises(ValueError, match="larger than"):
        read_cookies(path)


class _Recorder(Resource):
    """Notes what it was told; below /to/PORT it redirects there."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, str]] = []

    def render_GET(self, request: Request) -> bytes:
        self.told.append(
            {name.decode().lower(): values[0].decode() for name, values in request.requestHeaders.getAllRawHeaders()}
        )
        parts = request.path.decode().split("/")
        if parts[1] == "to":
            request.redirect(f"http://127.0.0.1:{parts[2]}/x".encode())
            return b""
        return b"hello"


class RealServers(TestCase):
    """Two of them, a redirect between them, and a proxy."""

    timeout = 20

    def setUp(self) -> None:
        self.servers = [_Recorder(), _Recorder()]
        self.ports = [reactor.listenTCP(0, Site(each), interface="127.0.0.1") for each in self.servers]
        self.proxy = HttpProxy(reactor, "me:pw")
        self.ports.append(reactor.listenTCP(0, self.proxy, interface="127.0.0.1"))
        self.numbers = [port.getHost().port for port in self.ports]
        for port in self.ports:
            self.addCleanup(port.stopListening)
        self.addCleanup(lambda: Deferred.fromCoroutine(self._quiet()))

    async def _quiet(self) -> None:
        while self.proxy.open:
            await deferLater(reactor, 0.01)

    async def ask(self, url: str, **given: Any) -> None:
        found = await probe(Connect(reactor, mirror_policy(None), **given), url)
        found.close()

    async def test_redirect_to_another_origin(self) -> None:
        first, second = self.numbers[:2]
        url = f"http://127.0.0.1:{first}/to/{second}/x"
        await self.ask(url, credentials=SECRET.also_for([url]))
        [here], [there] = self.servers[0].told, self.servers[1].told
        self.assertEqual((here["x-token"], here["authorization"]), ("t", basic(("me", "pw")).decode()))
        self.assertEqual((here["referer"], here["user-agent"]), ("http://page/", "ua/1"))
        self.assertEqual(set(there) & {"x-token", "authorization", "referer", "cookie"}, set())
        self.assertEqual(there["user-agent"], "ua/1")

    async def test_redirect_within_the_origin(self) -> None:
        first = self.numbers[0]
        url = f"http://127.0.0.1:{first}/to/{first}/x"
        await self.ask(url, credentials=SECRET.also_for([url]))
        self.assertEqual([each["x-token"] for each in self.servers[0].told], ["t", "t"])

    async def test_through_a_proxy(self) -> None:
        first, second, proxy = self.numbers
        settings = ProxySettings(http=parse_proxy(f"http://me:pw@127.0.0.1:{proxy}"))
        url = f"http://127.0.0.1:{first}/to/{second}/x?a=b"
        await self.ask(f"{url}#part", credentials=SECRET.also_for([url]), proxy=settings)
        self.assertEqual(self.proxy.asked, [f"GET {url}", f"GET http://127.0.0.1:{second}/x"])
        self.assertEqual(self.servers[0].told[0]["x-token"], "t")
        self.assertNotIn("x-token", self.servers[1].told[0])

    async def test_a_proxy_that_does_not_know_us(self) -> None:
        first, _, proxy = self.numbers
        other = parse_proxy(f"http://me:wrong@127.0.0.1:{proxy}")
        for url, words in ((f"http://127.0.0.1:{first}/x", "HTTP 407"), ("https://127.0.0.1:1/x", "407 Proxy Auth")):
            asking: Any = Deferred.fromCoroutine(self.ask(url, proxy=ProxySettings(other, other)))
            error: Any = await self.assertFailure(asking, SourceGone)
            self.assertIn(words, str(error))
        mine = parse_proxy(f"http://me:pw@127.0.0.1:{proxy}")
        asking = Deferred.fromCoroutine(self.ask("https://127.0.0.1:1/x", proxy=ProxySettings(mine, mine)))
        error = await self.assertFailure(asking, SourceError)
        self.assertIn("502 Bad Gateway", str(error))
        self.assertNotIsInstance(error, SourceGone)
        self.assertEqual(self.servers[0].told, [])
