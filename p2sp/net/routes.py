"""Which handler answers a method and path?"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import attrs
import msgspec

from p2sp.net.calls import Call

Handler = Callable[[Call], Awaitable[object]]

_NAME: Final = re.compile(r"\{([a-z_]+)\}")
LONGEST_PATH: Final = 4096


@attrs.frozen
class Pattern:
    """A path pattern such as `/v1/resources/{id}.torrent`; a name matches within one segment."""

    text: str
    segments: tuple[re.Pattern[str], ...]
    # How many characters are fixed: of two patterns that match, the one that says more wins.
    literal: int

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read a pattern; raises ValueError when it does not begin with a slash or names something twice."""
        if not text.startswith("/"):
            raise ValueError(f"a path pattern begins with a slash: {text!r}")
        names = _NAME.findall(text)
        if len(names) != len(set(names)) or "{" in _NAME.sub("", text):
            raise ValueError(f"the names in a path pattern are {{lower_case}} and differ: {text!r}")
        segments = tuple(re.compile(_segment(each), re.S) for each in text[1:].split("/"))
        return cls(text, segments, len(_NAME.sub("", text)))

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The values of the names when the (decoded) segments fit, else None."""
        if len(segments) != len(self.segments):
            return None
        values: dict[str, str] = {}
        for pattern, segment in zip(self.segments, segments, strict=True):
            if (found := pattern.fullmatch(segment)) is None:
                return None
            values.update(found.groupdict())
        return values


def _segment(text: str) -> str:
    parts = _NAME.split(text)
    return "".join(re.escape(part) if i % 2 == 0 else f"(?P<{part}>.+)" for i, part in enumerate(parts))


def path_segments(path: bytes) -> list[str] | None:
    """The percent-decoded segments of a request path; None when one is not UTF-8 or hides a slash or NUL."""
    if len(path) > LONGEST_PATH or not path.startswith(b"/"):
        return None
    try:
        segments = [unquote_to_bytes(part).decode("utf-8") for part in path[1:].split(b"/")]
    except UnicodeDecodeError:
        return None
    return None if any("/" in each or "\0" in each for each in segments) else segments


@attrs.frozen
class Route:
    """One method and pattern with its handler and its limits (bytes of body, seconds of work)."""

    method: str
    pattern: Pattern
    handler: Handler
    body: Any
    decoder: msgspec.json.Decoder[Any] | None
    roles: frozenset[str] | None
    needs_identity: bool
    max_body: int
    deadline: float


@attrs.define
class RouteTable:
    """All routes of an API, the most specific first."""

    _routes: list[Route] = attrs.field(factory=list)

    def add(self, route: Route) -> None:
        """Add a route; raises ValueError when there is one for this method and pattern."""
        if any(each.method == route.method and each.pattern == route.pattern for each in self._routes):
            raise ValueError(f"{route.method} {route.pattern.text} is routed twice")
        self._routes.append(route)
        self._routes.sort(key=lambda each: -each.pattern.literal)

    def find(self, method: str, path: bytes) -> tuple[Route | None, Mapping[str, str], list[str]]:
        """The route for a request, the values of its names, and which methods the path knows.

        HEAD is answered by the GET route. No route and no methods: there is nothing at this path.
        """
        segments = path_segments(path)
        if segments is None:
            return None, {}, []
        wanted = "GET" if method == "HEAD" else method
        methods: set[str] = set()
        for route in self._routes:
            values = route.pattern.match(segments)
            if values is None:
                continue
            if route.method == wanted:
                return route, values, []
            methods.add(route.method)
        if "GET" in methods:
            methods.add("HEAD")
        return None, {}, sorted(methods)
