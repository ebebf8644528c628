"""How is a server asked so that bytes come as they are stored, and what went wrong when it did not answer?"""

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TCPTimedOutError, TimeoutError  # noqa: A004 - so it is called there
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.python.url import URL
from twisted.web._newclient import ParseError
from twisted.web.error import InfiniteRedirection, RedirectWithNoLocation, SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from p2sp.net.errors import BadAnswer, ForbiddenTarget, ProxyRefused, in_words
from p2sp.sources.http_credentials import Credentials
from p2sp.sources.interfaces import Reason, SourceError, SourceGone, SourceStalled

USER_AGENT: Final = b"p2sp/0.1"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SMALL: Final = 64 * 1024
_FATAL: Final = (
    InfiniteRedirection,
    RedirectWithNoLocation,
    SchemeNotSupported,
    ForbiddenTarget,
    ProxyRefused,
    ValueError,
)


class BadServer(SourceGone):
    """Nothing can be made of what the server says, or of where it sends us."""

    reason = Reason.ANSWER


class OddAnswer(SourceError):
    """An answer that nothing can be made of, though the next one may be better."""

    reason = Reason.ANSWER


class Url(URL):
    """A URL as treq takes it: of a host that is an IPv6 address too, which `URL` takes for a name to encode."""

    def to_uri(self) -> URL:
        """The same in ASCII. Raises ValueError."""
        literal = ":" in self.host
        uri = URL.to_uri(self.replace(host="address") if literal else self)
        return uri.replace(scheme=uri.scheme.lower(), host=self.host if literal else uri.host)


class _Discarded(Protocol):
    """The body of a redirect, read only so that its connection can be used again."""

    def __init__(self) -> None:
        self.over: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Nobody wants it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over.callback(None)


@implementer(IAgent)
@attrs.define
class PlainAgent:
    """Innermost agent, for one request and its redirects.

    Whatever is above asked for, bodies come as they are stored; and what began over TLS stays there.
    Each server, also one that a redirect names, is told of `credentials` what is meant for it, and `via` whom the
    request comes through (RFC 9110 section 7.6.3).
    """

    agent: IAgent
    credentials: Credentials | None = None
    via: Callable[[], str] | None = None
    secure: bool = False

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> "Deferred[IResponse]":
        if not uri.startswith((b"http:", b"https:")):
            raise BadServer(f"redirect to {uri.decode('ascii', 'replace')[:200]} refused")
        if self.secure and not uri.startswith(b"https:"):
            raise BadServer(f"redirect from https to {uri.decode('ascii', 'replace')} refused")
        self.secure = uri.startswith(b"https:")
        headers = headers.copy() if headers is not None else Headers()
        if self.credentials is not None:
            self.credentials.apply(uri.decode("ascii"), headers)
        headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        if self.via is not None:
            headers.setRawHeaders("Via", [self.via()])
        if not headers.hasHeader(b"User-Agent"):
            headers.setRawHeaders(b"User-Agent", [USER_AGENT])
        d: Deferred[IResponse] = self.agent.request(method, uri, headers, bodyProducer)
        return d.addCallback(self._look)

    def _look(self, response: IResponse) -> "IResponse | Deferred[IResponse]":
        if response.code in _REDIRECTS:
            if not isinstance(response.length, int) or response.length > _SMALL:
                return response
            body = _Discarded()
            response.deliverBody(body)
            return body.over.addCallback(lambda _: response)
        coding = b", ".join(response.headers.getRawHeaders(b"content-encoding", [])).strip().lower()
        if coding not in (b"", b"identity") and response.code in (200, 206):
            raise BadServer(f"server encodes the body ({coding.decode('ascii', 'replace')}) though asked not to")
        return response


@attrs.frozen
class Answer:
    """Status and header fields of a response, before its body. `length` is of the body, None when it is not told."""

    status: int
    headers: Headers
    url: str
    length: int | None

    def field(self, name: str) -> str | None:
        """A header field's values joined as one, or None. Servers send UTF-8 or, as they once were told, Latin-1."""
        values = self.headers.getRawHeaders(name.encode())
        if not values:
            return None
        joined = b", ".join(values)
        try:
            return joined.decode()
        except UnicodeDecodeError:
            return joined.decode("latin-1")


def closes(response: IResponse) -> bool:
    """Whether a server of HTTP/1.0 ends its connection after this answer: it does unless it says otherwise."""
    kept = response.headers.getRawHeaders(b"connection", [])
    return response.version[1:] < (1, 1) and b"keep-alive" not in b",".join(kept).lower()


def innermost(failure: Failure) -> BaseException:
    """What made a request fail, below the layers that only wrap it."""
    error: BaseException = failure.value or Exception("unknown")
    reasons = getattr(error, "reasons", None)
    if isinstance(reasons, list) and reasons and isinstance(reasons[0], Failure):
        return innermost(reasons[0])
    return error


def reason_of(failure: Failure) -> str:
    """The innermost reason of a failed request, in a few words."""
    return in_words(innermost(failure))


def as_source_error(label: str, error: Exception) -> SourceError:
    """What a failed request means for the source; CancelledError goes through as it is."""
    inner = innermost(Failure(error))
    if isinstance(inner, CancelledError):
        raise inner
    if isinstance(inner, SourceError):
        return type(inner)(f"{label}: {inner}")
    if isinstance(inner, InfiniteRedirection):
        return BadServer(f"{label}: redirects go round in a circle")
    if isinstance(inner, ProxyRefused) and (inner.status in (408, 429) or inner.status >= 500):
        # The proxy could not reach the server just now.
        return SourceError(f"{label}: {inner}")
    if isinstance(inner, TimeoutError | TCPTimedOutError):
        return SourceStalled(f"{label}: no connection in time")
    if isinstance(inner, ParseError | BadAnswer):
        return OddAnswer(f"{label}: {reason_of(Failure(inner))}")
    if isinstance(inner, _FATAL):
        return BadServer(f"{label}: {reason_of(Failure(inner))}")
    return SourceError(f"{label}: {reason_of(Failure(error))}")
