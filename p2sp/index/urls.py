"""Which spellings of a URL mean the same, and which URLs may be a mirror?"""

import re
from typing import Final
from urllib.parse import quote, urlsplit

import idna

MAX_URL: Final = 2048
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\]")
_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9\-._~]")
# What may stand unescaped in a path or query (RFC 3986 section 3.3 and 3.4), and the escapes themselves.
_KEPT: Final = "%!$&'()*+,;=:@/?-._~[]"


class UrlError(ValueError):
    """A URL that cannot be a mirror; the text names it and says why."""


def normal_url(url: str) -> str:
    """The one spelling of an HTTP(S) URL that is compared.

    Scheme and host are lower case, a default port and the fragment are dropped, an empty path is `/` and escapes are
    written one way (RFC 3986 section 6.2.2 and 6.2.3). Raises UrlError for what is no such URL, is too long or holds
    credentials.
    """
    shown = url[:200]
    if len(url) > MAX_URL:
        raise UrlError(f"URL longer than {MAX_URL} characters: {shown!r}...")
    if _FORBIDDEN.search(url):
        raise UrlError(f"URL with a space, a backslash or a control character: {shown!r}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UrlError(f"not a URL ({error}): {shown!r}") from error
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise UrlError(f"not an http or https URL: {shown!r}")
    if not host:
        raise UrlError(f"URL without a host: {shown!r}")
    if "@" in parts.netloc:
        # Not shown: the message may be logged.
        raise UrlError(f"URL with credentials in it, for host {host!r}")
    host = _normal_host(host, shown)
    netloc = host if port is None or port == _DEFAULT_PORTS[scheme] else f"{host}:{port}"
    query = f"?{_normal_escapes(parts.query)}" if parts.query else ""
    normal = f"{scheme}://{netloc}{_normal_escapes(parts.path or '/')}{query}"
    if len(normal) > MAX_URL:
        raise UrlError(f"URL longer than {MAX_URL} characters once it is escaped: {shown!r}")
    return normal


def target_of(mirror: str, name: str) -> str:
    """Where a mirror's bytes really are, normalised: one that ends in `/` is a folder holding `name` (BEP 19).

    Raises UrlError like `normal_url`.
    """
    normal = normal_url(mirror)
    return normal_url(normal + quote(name, safe="")) if normal.endswith("/") else normal


def _normal_host(host: str, shown: str) -> str:
    if ":" in host:
        return f"[{host.lower()}]"
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except idna.IDNAError as error:
        raise UrlError(f"URL with a host that cannot be ({error}): {shown!r}") from error


def _normal_escapes(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        character = chr(int(match[0][1:], 16))
        return character if _UNRESERVED.fullmatch(character) else match[0].upper()

    return quote(_ESCAPE.sub(one, text), safe=_KEPT)
