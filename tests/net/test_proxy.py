"""Which proxy is chosen for which server, and what is it told?"""

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.net.proxy import Proxy, parse_proxy, proxy_settings


@pytest.mark.parametrize(
    ("text", "host", "port", "user"),
    [
        ("http://proxy.example:3128", "proxy.example", 3128, None),
        ("proxy.example:3128", "proxy.example", 3128, None),
        ("http://10.0.0.1", "10.0.0.1", 80, None),
        ("http://[::1]:8080/", "::1", 8080, None),
        ("http://me:p%40ss@proxy:1", "proxy", 1, "me:p@ss"),
        ("HTTP://proxy:1", "proxy", 1, None),
    ],
)
def test_parse(text: str, host: str, port: int, user: str | None) -> None:
    authorization = None if user is None else b"Basic " + b64encode(user.encode())
    assert parse_proxy(text) == Proxy(host, port, authorization)


@pytest.mark.parametrize(
    "text",
    [
        "socks5://me:secret@h:1",
        "https://me:secret@h:1",
        "http://",
        "http://me:secret@h:99999",
        "http://me:secret@h/path",
    ],
)
def test_parse_refuses_and_keeps_the_secret(text: str) -> None:
    with pytest.raises(ValueError, match="prox") as caught:
        parse_proxy(text)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert "c2VjcmV0" not in repr(parse_proxy("http://:secret@h:1"))
    assert str(parse_proxy("http://a:b@[::1]:1")) == "the proxy [::1]:1"


@given(st.text())
def test_parse_never_fails_otherwise(text: str) -> None:
    with suppress(ValueError):
        assert parse_proxy(text).host


def test_environment() -> None:
    settings = proxy_settings(None, {"http_proxy": "a:1", "HTTPS_PROXY": "b:2"})
    assert settings is not None
    assert settings.proxy_for("http", "h", 80) == Proxy("a", 1)
    assert settings.proxy_for("https", "h", 443) == Proxy("b", 2)
    settings = proxy_settings(None, {"ALL_PROXY": "c:3", "https_proxy": "b:2"})
    assert settings is not None
    assert settings.proxy_for("http", "h", 80) == Proxy("c", 3)
    assert settings.proxy_for("https", "h", 443) == Proxy("b", 2)
    assert proxy_settings(None, {"HTTP_PROXY": "evil:1"}) is None, "a CGI program's is the caller's word"
    assert proxy_settings(None, {"http_proxy": ""}) is None
    assert proxy_settings("", {"http_proxy": "a:1"}) is None
    given_one = proxy_settings("d:4", {"http_proxy": "a:1", "no_proxy": "h"})
    assert given_one is not None
    assert given_one.proxy_for("https", "x", 443) == Proxy("d", 4)
    assert given_one.proxy_for("http", "h", 80) is None
    with pytest.raises(ValueError, match=r"^https_proxy: socks"):
        proxy_settings(None, {"https_proxy": "socks5://h"})


@pytest.mark.parametrize(
    ("rules", "host", "port", "direct"),
    [
        ("example.org", "example.org", 80, True),
        ("example.org", "www.Example.org.", 80, True),
        (".example.org", "example.org", 80, True),
        ("*.example.org", "www.example.org", 80, True),
        ("example.org", "badexample.org", 80, False),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "example.org", 80, False),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "ten.example", 80, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("127.0.0.1:81", "127.0.0.1", 80, False),
        ("fd00::/8", "[fd12::1]", 80, True),
        ("[::1]:81", "::1", 81, True),
        ("a, b example.org", "example.org", 80, True),
        ("*", "anything", 80, True),
        ("", "h", 80, False),
        (" ,, . ", "h", 80, False),
    ],
)
def test_exceptions(rules: str, host: str, port: int, direct: bool) -> None:
    settings = proxy_settings("p:1", {"no_proxy": rules})
    assert settings is not None
    assert (settings.proxy_for("http", host, port) is None) is direct
