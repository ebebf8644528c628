"""What does a user want to be told to which server, and to no other: header fields, passwords, cookies?"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from http.cookiejar import CookieJar, DefaultCookiePolicy, LoadError, MozillaCookieJar
from netrc import NetrcParseError
from netrc import netrc as Netrc
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import Request

import attrs
from twisted.web.http_headers import Headers

MAX_HEADERS: Final = 64
MAX_FIELD: Final = 8192
MAX_FILE: Final = 4 * 1024 * 1024
"""Bytes of the largest netrc or cookies file that is read."""

Origin = tuple[str, str, int]
"""Scheme, host and port (RFC 6454)."""

_PORTS: Final = {"http": 80, "https": 443}
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# What a download must decide by itself, or its framing breaks.
_OURS: Final = frozenset(
    {"accept-encoding", "connection", "content-length", "expect", "host", "if-range", "keep-alive", "range", "te"}
    | {"proxy-authorization", "proxy-connection", "trailer", "transfer-encoding", "upgrade"}
)


def origin_of(url: str) -> Origin:
    """The origin of a URL. Raises ValueError for one without host or with a port that is none."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    host = parts.hostname
    if scheme not in _PORTS or not host:
        raise ValueError(f"{url[:200]!r} names no HTTP server")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    return scheme, host.lower().rstrip("."), parts.port or _PORTS[scheme]


def parse_header(text: str) -> tuple[str, str]:
    """`Name: value` as both. Raises ValueError saying what is wrong with it."""
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _TOKEN.fullmatch(name):
        # Not quoted: what was meant as a value may be a secret.
        raise ValueError("a header is written 'Name: value'")
    if name.lower() in _OURS:
        raise ValueError(f"the header {name} is set by the download itself")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) or len(value) > MAX_FIELD:
        raise ValueError(f"the value of header {name} has control characters or more than {MAX_FIELD} bytes")
    return name, value


def parse_user(text: str) -> tuple[str, str]:
    """`NAME:PASSWORD` as both. Raises ValueError."""
    name, colon, password = text.partition(":")
    if not colon or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("it is written NAME:PASSWORD")
    return name, password


def basic(user: tuple[str, str]) -> bytes:
    """The value of an Authorization field (RFC 7617, UTF-8)."""
    return b"Basic " + b64encode(":".join(user).encode())


def read_netrc(path: Path) -> Netrc:
    """Read a netrc file. Raises ValueError naming it."""
    _check_size(path)
    try:
        return Netrc(str(path))
    except NetrcParseError as error:
        raise ValueError(f"{path}, line {error.lineno}: not in the form of a netrc file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def read_cookies(path: Path) -> CookieJar:
    """Read cookies in Netscape's format (`cookies.txt`, curl's jar). Raises ValueError naming the file."""
    _check_size(path)
    # A cookie of one host is for no other below it.
    strict = DefaultCookiePolicy(strict_ns_domain=DefaultCookiePolicy.DomainStrictNonDomain)
    jar = MozillaCookieJar(policy=strict)
    try:
        jar.load(str(path), ignore_discard=True, ignore_expires=True)
    except LoadError as error:
        raise ValueError(
            f"{path}: not cookies in Netscape's format, whose first line is '# Netscape HTTP Cookie File'"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    for cookie in jar:
        # curl writes 0 for a cookie of a session.
        if cookie.expires == 0:
            cookie.expires = None
    return jar


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    if size > MAX_FILE:
        raise ValueError(f"{path}: larger than {MAX_FILE} bytes")


@attrs.frozen(kw_only=True)
class Credentials:
    """What requests carry besides what a download needs.

    `headers`, `user`, `referer` and a netrc's `default` go only to `origins`, those of the URLs that the user named;
    a netrc's other entries go to the hosts they name, cookies where their domain, path and scheme allow it. So nothing
    of it follows a redirect to somebody else.
    """

    origins: frozenset[Origin] = frozenset()
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    user: tuple[str, str] | None = attrs.field(default=None, repr=False)
    netrc: Netrc | None = attrs.field(default=None, repr=False)
    cookies: CookieJar | None = attrs.field(default=None, repr=False)
    referer: str | None = None
    user_agent: str | None = None

    def also_for(self, urls: Iterable[str]) -> "Credentials":
        """The same for the origins of some more URLs."""
        return attrs.evolve(self, origins=self.origins | frozenset(map(origin_of, urls)))

    def apply(self, url: str, headers: Headers) -> None:
        """Add to a request's fields what its server may be told. `url` is the one really asked, also in a redirect."""
        origin = origin_of(url)
        named = origin in self.origins
        if self.user_agent is not None:
            headers.setRawHeaders("User-Agent", [self.user_agent])
        if named:
            for name in dict.fromkeys(name for name, _ in self.headers):
                headers.setRawHeaders(name, _values(self.headers, name))
            if self.referer is not None and not headers.hasHeader("Referer"):
                headers.setRawHeaders("Referer", [self.referer])
        user = self.user if named and self.user is not None else self._from_netrc(origin[1], named)
        if user is not None and not headers.hasHeader("Authorization"):
            headers.setRawHeaders(b"Authorization", [basic(user)])
        if self.cookies is not None:
            self._add_cookies(self.cookies, url, headers)

    def _from_netrc(self, host: str, named: bool) -> tuple[str, str] | None:
        if self.netrc is None:
            return None
        found = self.netrc.hosts.get(host) or (self.netrc.hosts.get("default") if named else None)
        return None if found is None else (found[0] or found[1] or "", found[2] or "")

    @staticmethod
    def _add_cookies(jar: CookieJar, url: str, headers: Headers) -> None:
        request = Request(url)  # noqa: S310 - never opened, only a form in which the jar wants its question
        jar.add_cookie_header(request)
        ours = request.get_header("Cookie")
        if ours:
            given = [value.decode("latin-1") for value in headers.getRawHeaders(b"Cookie", [])]
            headers.setRawHeaders("Cookie", ["; ".join([*given, ours])])


def _values(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    return [value for each, value in headers if each.lower() == name.lower()]
