"""How is a server asked for a part of a file: where it sends us, on which condition, and when it says no?"""

from typing import Any

import attrs
from twisted.web.http_headers import Headers

from p2sp.sources.http_agent import Answer
from p2sp.sources.http_facts import Version, parse_content_range
from p2sp.sources.http_hosts import Host
from p2sp.sources.http_lane import Lane
from p2sp.sources.http_probe import ServerBusy, check_status, range_header, version_in
from p2sp.sources.interfaces import SourceChanged, SourceError, SourceRefused

EXPIRED = frozenset({401, 403, 404, 410})
"""What a URL that a redirect gave answers when its time is over; the original then gives another one."""

OVERLOADED = frozenset({429, 503})
REDIRECT_IDLE = 60.0
"""Seconds without a request after which a redirect is asked for anew."""

MAX_REDIRECTS_KEPT = 64


@attrs.frozen
class Wanted:
    """What a request is for: a part of a file of `length` bytes, or with `bounded` False all of it.

    `version`: the one that was begun with, where validators are what tells versions apart. `expects_part`: the server
    has served parts before, so that a whole answer means something.
    """

    url: str
    start: int
    stop: int
    length: int
    bounded: bool
    version: Version | None = None
    expects_part: bool = False


@attrs.define(eq=False)
class Asker:
    """Asks for parts on behalf of one source, and remembers where its URLs lead.

    The target of a redirect is used until it is refused or was idle; so one original is not asked for each part, and
    signed URLs that expire are renewed.
    """

    clock: Any
    label: str
    host: Host
    _finals: dict[str, tuple[str, float]] = attrs.field(factory=dict)

    def learn(self, url: str, final: str) -> None:
        """A request for `url` was answered by `final`."""
        self._finals.pop(url, None)
        if final != url:
            while len(self._finals) >= MAX_REDIRECTS_KEPT:
                del self._finals[next(iter(self._finals))]
            self._finals[url] = final, self.clock.seconds()

    async def ask(self, lane: Lane, wanted: Wanted) -> Answer:
        """The answer, 200 or 206, to a request for what is wanted.

        Raises SourceChanged when the file is another one, SourceRefused when the server says no for now, SourceError
        and its kinds for the rest.
        """
        fields = range_header(wanted.start, wanted.stop) if wanted.bounded else Headers()
        etag = wanted.version.etag if wanted.version is not None else ""
        conditional = bool(etag and wanted.bounded and wanted.expects_part and self.host.if_range)
        if conditional:
            fields.setRawHeaders(b"If-Range", [etag.encode("latin-1", "replace")])
        answer = await self._follow(lane, wanted.url, fields)
        if conditional and answer.status == 200 and self._is_same(answer, wanted):
            # Some caches drop the range of every conditional request (RFC 9110, 13.1.5 has them do it on a mismatch).
            self.host.if_range = False
            fields.removeHeader(b"If-Range")
            answer = await self._follow(lane, wanted.url, fields)
        if answer.status == 416:
            await self._revalidate(lane, wanted)
        try:
            check_status(self.label, answer)
        except SourceRefused as error:
            if answer.status in OVERLOADED:
                self.host.refused(self.clock.seconds(), error.retry_after)
            raise
        return answer

    @staticmethod
    def _is_same(answer: Answer, wanted: Wanted) -> bool:
        assert wanted.version is not None
        return version_in(answer).etag == wanted.version.etag and answer.length == wanted.length

    async def _follow(self, lane: Lane, url: str, fields: Headers) -> Answer:
        final, used = self._finals.get(url, ("", 0.0))
        if final and self.clock.seconds() - used < REDIRECT_IDLE:
            try:
                answer = await lane.request(final, fields)
            except SourceError:
                # The next try shall be told anew where to go: that server may be gone.
                self._finals.pop(url, None)
                raise
            if answer.status not in EXPIRED:
                self._finals[url] = final, self.clock.seconds()
                return answer
        answer = await lane.request(url, fields)
        self.learn(url, answer.url)
        return answer

    async def _revalidate(self, lane: Lane, wanted: Wanted) -> None:
        """A range inside the file was refused: is it still that file? Raises what follows from it, if that is clear."""
        self._finals.pop(wanted.url, None)
        answer = await self._follow(lane, wanted.url, range_header(0, 1))
        if answer.status == 200:
            total = answer.length
        else:
            given = parse_content_range(answer.field("content-range") or "")
            total = given.total if given is not None else None
        if total is not None and total != wanted.length:
            raise SourceChanged(f"{self.label}: has {total} bytes where {wanted.length} are expected")
        if wanted.version is not None and (conflict := wanted.version.conflicts(version_in(answer))):
            raise SourceChanged(f"{self.label}: changed on the server: {conflict}")
        if answer.status in (200, 206) and total is not None:
            raise ServerBusy(f"{self.label}: range refused (HTTP 416), though the file is as it was")
