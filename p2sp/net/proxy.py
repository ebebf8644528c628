"""Through which proxy is a server reached, if through any?"""

import re
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

MAX_RULES: Final = 256


@attrs.frozen
class Proxy:
    """An HTTP proxy: host, port, and what it is told in `Proxy-Authorization`, if anything."""

    host: str
    port: int
    authorization: bytes | None = attrs.field(default=None, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the proxy {host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """`[http://][NAME:PASSWORD@]HOST[:PORT]` as a proxy; the port is 80 when it is not told.

    Raises ValueError, which never quotes a password.
    """
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urlsplit("http://")
    shown = text.rpartition("@")[2][:200]
    if parts.scheme != "http":
        raise ValueError(f"{shown}: only http:// proxies are used")
    if not host or not host.isascii() or re.search(r"\s", text) or parts.path not in ("", "/"):
        raise ValueError(f"{shown}: not the URL of a proxy, such as http://proxy.example:3128")
    authorization = None
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + b64encode(user.encode())
    return Proxy(host, 80 if port is None else port, authorization)


@attrs.frozen
class _Rule:
    """A word of no_proxy: a network, or a name with everything below it, of one port or of all."""

    network: IPv4Network | IPv6Network | None
    suffix: str
    port: int | None

    def covers(self, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            try:
                return ip_address(host) in self.network
            except ValueError:
                return False
        return self.suffix == "*" or host == self.suffix or host.endswith(f".{self.suffix}")


def _rule(word: str) -> _Rule | None:
    text = word.strip().lower()
    try:
        return _Rule(ip_network(text.strip("[]"), strict=False), "", None)
    except ValueError:
        pass
    port = None
    if match := re.fullmatch(r"(.+):(\d{1,5})", text):
        text, port = match[1], int(match[2])
        try:
            return _Rule(ip_network(text.strip("[]"), strict=False), "", port)
        except ValueError:
            pass
    text = text if text == "*" else text.removeprefix("*").strip(".")
    return _Rule(None, text, port) if text else None


@attrs.frozen
class ProxySettings:
    """Which proxy leads to which server: one per scheme, and the exceptions."""

    http: Proxy | None = None
    https: Proxy | None = None
    exceptions: tuple[_Rule, ...] = ()

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """The proxy to a server; None for the direct way."""
        proxy = self.https if scheme == "https" else self.http
        host = host.strip("[]").lower().rstrip(".")
        if proxy is None or any(rule.covers(host, port) for rule in self.exceptions):
            return None
        return proxy


def proxy_settings(given: str | None, environment: Mapping[str, str]) -> ProxySettings | None:
    """What `--proxy` or else the environment says; None where no proxy is named.

    `given` is a proxy for everything, and the empty string for none at all. The environment's words are `http_proxy`
    (in small letters only: a CGI program's HTTP_PROXY is the caller's), `https_proxy`, `all_proxy` and `no_proxy`,
    names with everything below them, addresses and networks (`10.0.0.0/8`), each maybe with `:port`, or `*`. The
    exceptions hold for `given` too. Raises ValueError naming the word.
    """

    def word(name: str, *, capitals: bool = True) -> str:
        return environment.get(name) or (environment.get(name.upper(), "") if capitals else "")

    def named(name: str, text: str) -> Proxy | None:
        try:
            return parse_proxy(text) if text.strip() else None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    if given is not None:
        plain = secure = named("--proxy", given)
    else:
        other = word("all_proxy")
        plain = named("http_proxy", word("http_proxy", capitals=False) or other)
        secure = named("https_proxy", word("https_proxy") or other)
    if plain is None and secure is None:
        return None
    words = re.split(r"[,\s]+", word("no_proxy"))[:MAX_RULES]
    return ProxySettings(plain, secure, tuple(rule for each in words if (rule := _rule(each)) is not None))
