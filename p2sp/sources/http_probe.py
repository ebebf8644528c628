"""What does an HTTP server say of a URL, and how are servers reached at all?"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from p2sp.net.addresses import Network
from p2sp.net.proxy import ProxySettings
from p2sp.sources.http_agent import Answer, OddAnswer
from p2sp.sources.http_credentials import Credentials
from p2sp.sources.http_facts import Version, file_name, parse_content_range, retry_after, version_of
from p2sp.sources.http_hosts import Hosts
from p2sp.sources.http_lane import Deadlines, Lane
from p2sp.sources.http_meaning import Link, parse_digests, parse_links
from p2sp.sources.interfaces import ISpanSink, Reason, SourceChanged, SourceError, SourceGone, SourceRefused

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})


class NotFound(SourceGone):
    """The server says that there is nothing (404, 410)."""

    reason = Reason.MISSING


class HttpStatus(SourceGone):
    """The server answers with a status that no retry will better."""

    reason = Reason.ANSWER


class ServerBusy(SourceRefused):
    """The server answers with a status that a later try may better (408, 429, 5xx)."""

    reason = Reason.ANSWER


@attrs.frozen
class Connect:
    """How to reach HTTP servers: the reactor, whom to trust, the local address to use, how long to wait.

    `allowed` is for a daemon that fetches what others name: besides public addresses only these networks are dialled.
    `credentials` is what a user wants servers to be told, `proxy` through whom they are reached. `window`: bytes
    of a connection that may wait unread. `hosts` is what is known of servers, over all downloads. `via` is for who
    fetches on behalf of others: what a request's field of that name says when it is sent.
    """

    reactor: Any
    policy: IPolicyForHTTPS
    bind_address: str | None = None
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    allowed: Sequence[Network] | None = None
    credentials: Credentials | None = None
    proxy: ProxySettings | None = None
    window: int | None = None
    via: Callable[[], str] | None = None
    hosts: Hosts = attrs.field(factory=Hosts)

    def lane(self, label: str) -> Lane:
        """A connection of its own for one fetch at a time."""
        return Lane(
            self.reactor,
            label,
            self.policy,
            bind_address=self.bind_address,
            deadlines=self.deadlines,
            allowed=self.allowed,
            credentials=self.credentials,
            proxy=self.proxy,
            window=self.window,
            via=self.via,
        )


@attrs.define
class Probe:
    """What the first answer said of a URL. The answer's body is kept, for the first bytes of the download.

    `length` is None when the server does not tell it; `ranged` whether it serves parts.
    `digests` are of the whole file, by hashlib's name; `links` are what else the server says of it.
    """

    url: str
    name: str
    length: int | None
    version: Version
    ranged: bool
    content_type: str
    lane: Lane
    digests: Mapping[str, bytes] = attrs.field(factory=dict)
    links: tuple[Link, ...] = ()
    final_url: str = ""
    """Where redirects led."""

    def close(self) -> None:
        """Nobody wants the body."""
        self.lane.close()


async def probe(connect: Connect, url: str) -> Probe:
    """Ask for a URL from its first byte on (a ranged GET, RFC 9110, 14.2). Raises SourceError."""
    lane = connect.lane(url)
    try:
        answer = await lane.request(url, _with_digest(range_header(0, None)))
        if answer.status == 416:
            # An empty representation has no first byte to give.
            given = parse_content_range(answer.field("content-range") or "")
            if given is None or given.total != 0:
                raise OddAnswer(f"{url}: range refused (416)")
            return Probe(url, file_name(answer.url), 0, version_in(answer), False, "", lane)
        check_status(url, answer)
        ranged, length = False, answer.length
        end = length
        if answer.status == 206:
            given = parse_content_range(answer.field("content-range") or "")
            if given is None or given.first != 0 or given.last is None:
                raise OddAnswer(f"{url}: answered 206 with Content-Range {answer.field('content-range')!r}")
            ranged, length, end = True, given.total, given.last + 1
            if length is None:
                # Nothing tells whether that part is all there is: only a whole answer will do.
                answer = await lane.request(url, _with_digest(Headers()))
                check_status(url, answer)
                if answer.status != 200:
                    raise OddAnswer(f"{url}: answered {answer.status} to a request for the whole file")
                ranged, length, end = False, answer.length, answer.length
        lane.body_at(0, end)
        return Probe(
            url,
            file_name(answer.url, answer.field("content-disposition")),
            length,
            version_in(answer),
            ranged,
            (answer.field("content-type") or "").partition(";")[0].strip().lower(),
            lane,
            parse_digests(answer.field("repr-digest"), answer.field("digest")),
            parse_links(answer.field("link"), answer.url),
            answer.url,
        )
    except BaseException:
        lane.close()
        raise


async def read_small(connect: Connect, url: str, limit: int) -> bytes:
    """The whole of a small document, such as a `.torrent`.

    Raises SourceError, also when it is larger than `limit` bytes.
    """
    found = await probe(connect, url)
    try:
        if found.length is None or found.length > limit:
            raise SourceError(f"{url}: {found.length or 'unknown'} bytes where at most {limit} are expected")
        sink = Collector()
        if found.length:
            reached = await found.lane.serve(0, found.length, sink)
            if reached < found.length:
                raise SourceError(f"{url}: answer ended at byte {reached} of {found.length}")
        return b"".join(sink.parts)
    finally:
        found.close()


async def read_answer(connect: Connect, url: str, limit: int) -> bytes:
    """What a plain GET is answered with, whether or not its length is told: for services that know of no ranges.

    Raises SourceError, also when it is longer than `limit` bytes.
    """
    lane = connect.lane(url)
    try:
        answer = await lane.request(url, Headers())
        check_status(url, answer)
        sink = Collector()
        lane.body_at(0, answer.length)
        if await lane.serve_all(sink, limit + 1) > limit:
            raise SourceError(f"{url}: its answer is longer than {limit} bytes")
        return b"".join(sink.parts)
    finally:
        lane.close()


@implementer(ISpanSink)
class Collector:
    """A sink that keeps what it gets; whoever uses it bounds that."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def received(self, position: int, data: bytes) -> None:
        """Keep it."""
        self.parts.append(data)

    def register_producer(self, producer: IPushProducer) -> None:
        """Nothing is slow enough here to pause it."""

    def unregister_producer(self) -> None:
        """See `register_producer`."""


def range_header(start: int, stop: int | None) -> Headers:
    """The field that asks for bytes from `start` on, up to `stop` if there is one."""
    return Headers({b"Range": [f"bytes={start}-{'' if stop is None else stop - 1}".encode()]})


def _with_digest(headers: Headers) -> Headers:
    """The same, asking for a digest of the whole file (RFC 9530, 4); answers are of identity coding, so it fits."""
    headers.setRawHeaders(b"Want-Repr-Digest", [b"sha-256=10"])
    return headers


def version_in(answer: Answer) -> Version:
    """The validators of an answer."""
    return version_of(answer.field("etag"), answer.field("last-modified"), answer.field("date"))


def check_status(label: str, answer: Answer) -> None:
    """Raises what a status other than 200 and 206 means for the source: SourceError or one of its kinds."""
    status = answer.status
    if status in (200, 206):
        return
    if status in (404, 410):
        raise NotFound(f"{label}: not found (HTTP {status})")
    if status == 416:
        raise SourceChanged(f"{label}: range refused (HTTP 416); the file is shorter than it was")
    if status in RETRY_STATUS:
        raise ServerBusy(f"{label}: HTTP {status}", retry_after(answer.field("retry-after"), time.time()))
    raise HttpStatus(f"{label}: HTTP {status}")
