"""Does a path find the one handler it belongs to?"""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.net.calls import Call
from p2sp.net.routes import LONGEST_PATH, Pattern, Route, RouteTable, path_segments


async def nothing(call: Call) -> None: ...


def table(*routes: str) -> RouteTable:
    made = RouteTable()
    for each in routes:
        method, pattern = each.split(" ")
        made.add(Route(method, Pattern.parse(pattern), nothing, None, None, None, False, 0, 1.0))
    return made


TABLE = table(
    "GET /",
    "GET /v1/resources",
    "POST /v1/resources",
    "GET /v1/resources/{id}",
    "GET /v1/resources/{id}.torrent",
    "PUT /v1/resources/{id}/mirrors/{n}",
    "GET /v1/resources/latest",
)


@pytest.mark.parametrize(
    ("method", "path", "pattern", "values"),
    [
        ("GET", b"/", "/", {}),
        ("GET", b"/v1/resources", "/v1/resources", {}),
        ("HEAD", b"/v1/resources", "/v1/resources", {}),
        ("POST", b"/v1/resources", "/v1/resources", {}),
        ("GET", b"/v1/resources/ab", "/v1/resources/{id}", {"id": "ab"}),
        ("GET", b"/v1/resources/ab.torrent", "/v1/resources/{id}.torrent", {"id": "ab"}),
        ("GET", b"/v1/resources/.torrent", "/v1/resources/{id}", {"id": ".torrent"}),
        ("GET", b"/v1/resources/latest", "/v1/resources/latest", {}),
        ("GET", b"/v1/resources/a%20%C3%BC%3F", "/v1/resources/{id}", {"id": "a ü?"}),
        ("PUT", b"/v1/resources/x/mirrors/7", "/v1/resources/{id}/mirrors/{n}", {"id": "x", "n": "7"}),
    ],
)
def test_found(method: str, path: bytes, pattern: str, values: Mapping[str, str]) -> None:
    route, found, _ = TABLE.find(method, path)
    assert route is not None
    assert (route.pattern.text, found) == (pattern, values)


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("GET", b"/v1", []),
        ("GET", b"/v1/resources/", []),
        ("GET", b"//v1/resources", []),
        ("GET", b"/v1/resources/a/b", []),
        ("GET", b"/v1/resources/a%2Fb", []),
        ("GET", b"/v1/resources/a%00", []),
        ("GET", b"/v1/resources/%ff", []),
        ("GET", b"*", []),
        ("GET", b"", []),
        ("GET", b"/" + b"a" * LONGEST_PATH, []),
        ("DELETE", b"/v1/resources", ["GET", "HEAD", "POST"]),
        ("HEAD", b"/v1/resources/x/mirrors/7", ["PUT"]),
        ("", b"/", ["GET", "HEAD"]),
    ],
)
def test_not_found(method: str, path: bytes, methods: list[str]) -> None:
    assert TABLE.find(method, path) == (None, {}, methods)


@given(st.binary(max_size=200))
def test_any_path_is_answered(path: bytes) -> None:
    segments = path_segments(path)
    assert segments is None or not any("/" in each for each in segments)
    TABLE.find("GET", path)


@pytest.mark.parametrize("pattern", ["v1", "", "/{a}/{a}", "/{A}", "/{", "/{a b}"])
def test_senseless_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Pattern.parse(pattern)


def test_a_route_is_not_given_twice() -> None:
    with pytest.raises(ValueError, match="routed twice"):
        table("GET /a/{x}", "GET /a/{x}")
