"""How are spans of a resource fetched from an HTTP server that may break every rule? The HTTP source."""

from collections.abc import Callable, Collection

import attrs
from twisted.internet.defer import CancelledError, Deferred
from zope.interface import implementer

from p2sp.resource.layout import Segment
from p2sp.resource.verification import Content
from p2sp.resource.web_seed import file_url
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.http_agent import BadServer
from p2sp.sources.http_asking import Asker, Wanted
from p2sp.sources.http_facts import Version, parse_content_range
from p2sp.sources.http_hosts import RANGE_AGAIN
from p2sp.sources.http_lane import Lane
from p2sp.sources.http_probe import Connect, Probe, version_in
from p2sp.sources.interfaces import ISource, ISpanSink, SourceChanged, SourceError


@implementer(ISource)
class HttpSource:
    """One URL of a resource, over up to `connections` connections to its host, which all URLs of that host share.

    A server that ignores ranges is read from the start on one connection, and what is not wanted is thrown away: its
    bytes are never written where they do not belong; later it is asked for a range again. `in_row`: it ignored ranges
    when it was known last, so it is given what comes first, and asked for that as a range. For a tree of files the
    URL is a folder and file paths are appended (BEP 19).
    """

    kind = Kind.SERVER
    hints: Collection[int] = ()
    hints_only = False

    def __init__(
        self,
        connect: Connect,
        url: str,
        content: Content,
        *,
        connections: int = 4,
        version: Version | None = None,
        found: Probe | None = None,
        in_row: bool = False,
    ) -> None:
        self.label = url
        self.url = url
        self.closed = False
        self.version = version or Version()
        self._connect = connect
        self._content = content
        self._connections = max(1, connections)
        self._ranged: bool | None = False if in_row else None
        self._ignored_at = float("-inf")
        self._host = connect.hosts.of(url)
        self._asker = Asker(connect.reactor, url, self._host)
        self._idle: list[Lane] = []
        self._busy: dict[Span, tuple[Lane | None, list[int]]] = {}
        self._watchers: list[Callable[[], None]] = []
        self.wasted: Callable[[int], None] = lambda count: None
        if found is not None:
            self.version = found.version
            self._learn(ranged=found.ranged)
            self._asker.learn(found.url, found.final_url or found.url)
            self._adopt(found.lane)
            self._idle.append(found.lane)

    @property
    def slots(self) -> int:
        """One connection until the server has shown that it serves parts, then what its host may be asked for.

        Each URL has a connection of its own, unless the host has asked for fewer.
        """
        allowed = self._host.allowed(self._connections, self._connect.reactor.seconds())
        if self.closed or not allowed:
            return 0
        mine = len(self._busy)
        more = max(allowed - self._host.busy, 0)
        if not mine and not self._host.refusing:
            more = max(more, 1)
        return min(self._connections if self._ranged else 1, mine + more)

    @property
    def ranged(self) -> bool | None:
        """Whether it serves parts; None while it has not shown it."""
        return self._ranged

    @property
    def in_row(self) -> bool:
        """Whether it has shown that it ignores ranges."""
        return self._ranged is False

    def has(self, piece: int) -> bool:
        """Servers have everything."""
        return not self.closed

    def pieces(self) -> int:
        return 0 if self.closed else -1

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
        self._host.busy += 1
        return Deferred.fromCoroutine(self._fetch(span, sink))

    def shorten(self, span: Span, stop: int) -> None:
        if span in self._busy:
            lane, stops = self._busy[span]
            stops[0] = min(stops[0], stop)
            if lane is not None:
                lane.cut(stops[0])

    # -- one fetch -------------------------------------------------------------------------------------------

    async def _fetch(self, span: Span, sink: ISpanSink) -> None:
        stops = self._busy[span][1]
        lane = self._lane_for(span.start)
        self._busy[span] = (lane, stops)
        try:
            for segment in self._content.layout.file_segments(span.start, span.stop):
                if segment.position >= stops[0]:
                    break
                if segment.file in self._content.pads:
                    # No server has them (BEP 47).
                    sink.received(segment.position, bytes(min(segment.length, stops[0] - segment.position)))
                else:
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
            self._host.busy -= 1

    def _lane_for(self, start: int) -> Lane:
        """The lane whose open body goes on where we want to begin, else an idle one, else a new one."""
        chosen = next((lane for lane in self._idle if lane.position == start), None)
        if chosen is None and self._idle:
            chosen = next((lane for lane in self._idle if lane.position is None), self._idle[0])
        if chosen is None:
            return self._adopt(self._connect.lane(self.label))
        self._idle.remove(chosen)
        return chosen

    def _adopt(self, lane: Lane) -> Lane:
        lane.counted = self._counted
        lane.wasted = lambda count: self.wasted(count)
        return lane

    async def _fetch_segment(self, lane: Lane, segment: Segment, stops: list[int], sink: ISpanSink) -> None:
        start = segment.position

        def stop() -> int:
            return min(stops[0], segment.position + segment.length)

        while start < stop():
            held = lane.position
            if held is None or held > start or (held < start and self._ranged is not False):
                await self._open(lane, segment, start, stop())
            # A server may give less than was asked for (RFC 9110, 15.3.7); the rest is asked for again.
            reached = await lane.serve(start, stop(), sink)
            if reached <= start < stop():
                raise SourceError(f"{self.label}: answer ended at byte {reached}, before byte {start} that was wanted")
            start = reached

    async def _open(self, lane: Lane, segment: Segment, start: int, stop: int) -> None:
        """Have the body of a new answer ready: from `start` on, or from the file's first byte."""
        length = self._content.layout.lengths[segment.file]
        base = segment.position - segment.offset
        offset = start - base
        now = self._connect.reactor.seconds()
        bounded = self._ranged is not False or now - self._ignored_at >= RANGE_AGAIN
        judged = self._content.by_piece
        answer = await self._asker.ask(
            lane,
            Wanted(
                file_url(self.url, self._content, segment.file),
                offset,
                stop - base,
                length,
                bounded,
                version=None if judged else self.version,
                expects_part=self._ranged is True,
            ),
        )
        self._compare(version_in(answer))
        if answer.status == 206:
            given = parse_content_range(answer.field("content-range") or "")
            if given is None or given.first is None or given.last is None:
                raise BadServer(f"{self.label}: 206 with Content-Range {answer.field('content-range')!r}")
            if given.total is not None and given.total != length:
                raise SourceChanged(f"{self.label}: has {given.total} bytes where {length} are expected")
            if given.first == offset:
                self._learn(ranged=True)
                lane.body_at(start, min(base + given.last + 1, segment.position + segment.length))
                return
            if given.first != 0:
                raise BadServer(f"{self.label}: asked for byte {offset}, answered from byte {given.first}")
            self._learn(ranged=False)
            if bounded and given.last < offset:
                # It can but begin at the first byte: then it shall not stop before it reaches ours.
                await self._open(lane, segment, start, stop)
                return
            lane.body_at(base, base + given.last + 1)
            return
        if answer.length is not None and answer.length != length:
            raise SourceChanged(f"{self.label}: has {answer.length} bytes where {length} are expected")
        self._learn(ranged=False)
        lane.body_at(base, base + length if answer.length is not None else None)

    def _compare(self, version: Version) -> None:
        """Raises SourceChanged when the server holds another version than the one begun with.

        Where hashes judge every piece they are believed instead: validators differ between the files of a folder, and
        some servers make up new ones for each answer.
        """
        if self._content.by_piece:
            return
        if conflict := self.version.conflicts(version):
            raise SourceChanged(f"{self.label}: changed on the server: {conflict}")
        self.version = attrs.evolve(
            self.version,
            etag=self.version.etag or version.etag,
            last_modified=self.version.last_modified or version.last_modified,
        )

    def _counted(self, count: int) -> None:
        if self._host.arrived(count, self._connect.reactor.seconds()):
            self._changed()

    def _learn(self, *, ranged: bool) -> None:
        if ranged:
            self._host.serves_parts()
        else:
            self._ignored_at = self._connect.reactor.seconds()
        if self._ranged is not ranged:
            self._ranged = ranged
            self._changed()

    def _changed(self) -> None:
        for changed in list(self._watchers):
            changed()
