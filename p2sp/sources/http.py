"""How are spans of a resource fetched from an HTTP server that may break every rule? The HTTP source."""

import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from p2sp.net.addresses import Network
from p2sp.resource.layout import Segment
from p2sp.resource.verification import Content
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.http_facts import Version, file_name, parse_content_range, retry_after, version_of
from p2sp.sources.http_lane import Answer, Deadlines, Lane
from p2sp.sources.interfaces import (
    ISource,
    ISpanSink,
    SourceChanged,
    SourceError,
    SourceGone,
    SourceRefused,
)

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})


class NotFound(SourceGone):
    """The server says that there is nothing (404, 410)."""


class HttpStatus(SourceGone):
    """The server answers with a status that no retry will better."""


@attrs.frozen
class Connect:
    """How to reach HTTP servers: the reactor, whom to trust, the local address to use, how long to wait.

    `allowed` is for a daemon that fetches what others name: besides public addresses only these networks are dialled.
    """

    reactor: Any
    policy: IPolicyForHTTPS
    bind_address: str | None = None
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    allowed: Sequence[Network] | None = None

    def lane(self, label: str) -> Lane:
        """A connection of its own for one fetch at a time."""
        return Lane(
            self.reactor,
            label,
            self.policy,
            bind_address=self.bind_address,
            deadlines=self.deadlines,
            allowed=self.allowed,
        )


@attrs.define
class Probe:
    """What the first answer said of a URL. The answer's body is kept, for the first bytes of the download.

    `length` is None when the server does not tell it; `ranged` whether it serves parts.
    """

    url: str
    name: str
    length: int | None
    version: Version
    ranged: bool
    content_type: str
    lane: Lane

    def close(self) -> None:
        """Nobody wants the body."""
        self.lane.close()


async def probe(connect: Connect, url: str) -> Probe:
    """Ask for a URL from its first byte on (a ranged GET, RFC 9110, 14.2). Raises SourceError."""
    lane = connect.lane(url)
    try:
        answer = await lane.request(url, _range_header(0, None))
        if answer.status == 416:
            # An empty representation has no first byte to give.
            given = parse_content_range(answer.field("content-range") or "")
            if given is None or given.total != 0:
                raise SourceError(f"{url}: range refused (416)")
            return Probe(url, file_name(answer.url), 0, _version(answer), False, "", lane)
        _check_status(url, answer)
        ranged, length = False, answer.length
        if answer.status == 206:
            given = parse_content_range(answer.field("content-range") or "")
            if given is None or given.first != 0:
                raise SourceError(f"{url}: answered 206 with Content-Range {answer.field('content-range')!r}")
            ranged, length = True, given.total
        lane.body_at(0)
        return Probe(
            url,
            file_name(answer.url, answer.field("content-disposition")),
            length,
            _version(answer),
            ranged,
            (answer.field("content-type") or "").partition(";")[0].strip().lower(),
            lane,
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
        sink = _Collector()
        if found.length:
            await found.lane.serve(0, found.length, sink)
        return b"".join(sink.parts)
    finally:
        found.close()


@implementer(ISource)
class HttpSource:
    """One URL of a resource, over up to `connections` connections.

    A server that ignores ranges is read from the start on one connection, and what is not wanted is thrown away: its
    bytes are never written where they do not belong. For a tree of files the URL is a folder and file paths are
    appended (BEP 19).
    """

    kind = Kind.SERVER

    def __init__(
        self,
        connect: Connect,
        url: str,
        content: Content,
        *,
        connections: int = 4,
        version: Version | None = None,
        found: Probe | None = None,
    ) -> None:
        self.label = url
        self.url = url
        self.closed = False
        self.version = version or Version()
        self._connect = connect
        self._content = content
        self._connections = max(1, connections)
        self._ranged: bool | None = None
        self._idle: list[Lane] = []
        self._busy: dict[Span, tuple[Lane | None, list[int]]] = {}
        self._watchers: list[Callable[[], None]] = []
        if found is not None:
            self.version = found.version
            self._ranged = found.ranged
            self._idle.append(found.lane)

    @property
    def slots(self) -> int:
        """One connection until the server has shown that it serves parts, then as many as allowed."""
        if self.closed:
            return 0
        return self._connections if self._ranged else 1

    def has(self, piece: int) -> bool:
        """Servers have everything."""
        return not self.closed

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed) if changed in self._watchers else None

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for lane, _ in list(self._busy.values()):
            if lane is not None:
                lane.close()
        for lane in self._idle:
            lane.close()
        self._idle.clear()
        self._changed()

    def fetch(self, span: Span, sink: ISpanSink) -> "Deferred[None]":
        self._busy[span] = (None, [span.stop])
        return Deferred.fromCoroutine(self._fetch(span, sink))

    def shorten(self, span: Span, stop: int) -> None:
        if span in self._busy:
            lane, stops = self._busy[span]
            stops[0] = min(stops[0], stop)
            if lane is not None:
                segment_stop = stops[0]
                lane.cut(segment_stop)

    # -- one fetch -------------------------------------------------------------------------------------------

    async def _fetch(self, span: Span, sink: ISpanSink) -> None:
        stops = self._busy[span][1]
        lane = self._lane_for(span.start)
        self._busy[span] = (lane, stops)
        try:
            for segment in self._content.layout.file_segments(span.start, span.stop):
                if segment.position < stops[0]:
                    await self._fetch_segment(lane, segment, stops, sink)
            sink.unregister_producer()
        except CancelledError:
            lane.close()
            raise
        except BaseException:
            sink.unregister_producer()
            lane.close()
            raise
        else:
            if self.closed:
                lane.close()
            else:
                self._idle.append(lane)
        finally:
            del self._busy[span]

    def _lane_for(self, start: int) -> Lane:
        """The lane whose open body goes on where we want to begin, else an idle one, else a new one."""
        chosen = next((lane for lane in self._idle if lane.position == start), None)
        if chosen is None and self._idle:
            chosen = next((lane for lane in self._idle if lane.position is None), self._idle[0])
        if chosen is None:
            return self._connect.lane(self.label)
        self._idle.remove(chosen)
        return chosen

    async def _fetch_segment(self, lane: Lane, segment: Segment, stops: list[int], sink: ISpanSink) -> None:
        start = segment.position

        def stop() -> int:
            return min(stops[0], segment.position + segment.length)

        while start < stop():
            held = lane.position
            if held is None or held > start or (held < start and self._ranged is not False):
                held = await self._open(lane, segment, start, stop())
            await lane.serve(start, stop(), sink)
            # A server may end a part early (RFC 9110, 15.3.7): what was served is known to the lane alone.
            start = stop()

    async def _open(self, lane: Lane, segment: Segment, start: int, stop: int) -> int:
        """Have the body of a new answer ready; the position of its first byte."""
        length = self._content.layout.lengths[segment.file]
        base = segment.position - segment.offset
        offset = start - base
        bounded = self._ranged is not False
        answer = await lane.request(
            self._url_of(segment.file),
            _range_header(offset, stop - base if bounded else None) if bounded else Headers(),
        )
        _check_status(self.label, answer)
        if conflict := self.version.conflicts(_version(answer)):
            raise SourceChanged(f"{self.label}: changed on the server: {conflict}")
        self.version = attrs.evolve(
            self.version,
            etag=self.version.etag or _version(answer).etag,
            last_modified=self.version.last_modified or _version(answer).last_modified,
        )
        if answer.status == 206:
            given = parse_content_range(answer.field("content-range") or "")
            if given is None or given.first is None:
                raise SourceGone(f"{self.label}: 206 with Content-Range {answer.field('content-range')!r}")
            if given.total is not None and given.total != length:
                raise SourceChanged(f"{self.label}: has {given.total} bytes where {length} are expected")
            if given.first == offset:
                self._learn(ranged=True)
                lane.body_at(start)
                return start
            if given.first != 0:
                raise SourceGone(f"{self.label}: asked for byte {offset}, answered from byte {given.first}")
        elif answer.length is not None and answer.length != length:
            raise SourceChanged(f"{self.label}: has {answer.length} bytes where {length} are expected")
        self._learn(ranged=False)
        lane.body_at(base)
        return base

    def _learn(self, *, ranged: bool) -> None:
        if self._ranged is not ranged:
            self._ranged = ranged
            self._changed()

    def _url_of(self, file: int) -> str:
        if self._content.single:
            return self.url + quote(self._content.name) if self.url.endswith("/") else self.url
        path = "/".join(quote(part, safe="") for part in (self._content.name, *self._content.paths[file]))
        return f"{self.url.rstrip('/')}/{path}"

    def _changed(self) -> None:
        for changed in list(self._watchers):
            changed()


@implementer(ISpanSink)
class _Collector:
    """A sink that keeps what it gets, for documents of bounded size."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def received(self, position: int, data: bytes) -> None:
        self.parts.append(data)

    def register_producer(self, producer: IPushProducer) -> None:
        """Nothing is slow enough here to pause it."""

    def unregister_producer(self) -> None:
        """See `register_producer`."""


def _range_header(start: int, stop: int | None) -> Headers:
    return Headers({b"Range": [f"bytes={start}-{'' if stop is None else stop - 1}".encode()]})


def _version(answer: Answer) -> Version:
    return version_of(answer.field("etag"), answer.field("last-modified"), answer.field("date"))


def _check_status(label: str, answer: Answer) -> None:
    status = answer.status
    if status in (200, 206):
        return
    if status in (404, 410):
        raise NotFound(f"{label}: not found (HTTP {status})")
    if status == 416:
        raise SourceChanged(f"{label}: range refused (HTTP 416); the file is shorter than it was")
    if status in RETRY_STATUS:
        raise SourceRefused(f"{label}: HTTP {status}", retry_after(answer.field("retry-after"), time.time()))
    raise HttpStatus(f"{label}: HTTP {status}")
