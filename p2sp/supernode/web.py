"""How does a super node give its cache to anything that speaks HTTP: curl, browsers, web-seed clients?"""

import math
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from mimetypes import MimeTypes
from typing import Any, Final

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from p2sp.net.addresses import observed_address
from p2sp.net.calls import ApiError
from p2sp.net.presence import work_for
from p2sp.net.ratelimit import RateTable
from p2sp.net.reading import widen
from p2sp.resource.verification import Content
from p2sp.resource.web_seed import file_url
from p2sp.storage.interfaces import StorageError
from p2sp.supernode.interfaces import ICacheView, Served, Unavailable
from p2sp.supernode.ranges import Part, Unsatisfiable, digest_headers, is_match, none_match, requested_part
from p2sp.supernode.stream import ClientStalled, NoProgress, Pace, Stream, arrival
from p2sp.supernode.turns import Turns
from p2sp.supernode.via import MAX_HOPS, PATIENCE, hops

MAX_STREAMS: Final = 1000
"""Answers under way at once; beyond that clients are asked to come back."""

LARGE: Final = 1024 * 1024
"""Bytes of an answer from which on it is written in larger portions; of a small one too much might be for nothing."""

_ID: Final = re.compile(rb"[0-9A-Fa-f]{64}")
# The built-in table alone: what a name means must not differ from machine to machine.
_TYPES: Final = MimeTypes(filenames=())
_UNKNOWN_TYPE: Final = "application/octet-stream"


@attrs.frozen
class _File:
    """One file of a resource that a request names, as positions of its store."""

    resource: str
    served: Served
    name: str
    start: int
    length: int

    @property
    def etag(self) -> str:
        return f'"{self.resource}"'


class CacheResource(Resource):
    """Answers `/r/<resource id>/<name>` and, in a tree, `/r/<resource id>/<name>/<path>`; mount it with `Api.mount`.

    GET with a single Range and HEAD, conditional by a strong ETag (RFC 9110). A resource that is still being filled is
    served as its pieces come; when none come in time the answer ends short of its Content-Length, so that no client
    takes it for whole. Before the first byte that is a 503 instead. `name` is what we are called in a `Via`, `turns`
    are for all who write in this process to share, `rates` is how often one address may ask; `elsewhere` answers what
    this cache has not, where another may.
    """

    isLeaf = True
    log = Logger()

    def __init__(
        self,
        cache: ICacheView,
        clock: IReactorTime,
        *,
        pace: Pace | None = None,
        name: str = "",
        turns: Turns | None = None,
        max_streams: int = MAX_STREAMS,
        rates: RateTable | None = None,
        elsewhere: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self._cache = cache
        self._clock = clock
        self._pace = pace or Pace()
        self._turns = turns or Turns(clock)
        self._name = name
        self._max_streams = max_streams
        self._rates = rates
        self._elsewhere = elsewhere
        self._streams = 0
        self.answers: Counter[str] = Counter()
        """How many answers were begun, by status; what is passed on counts where it is answered."""

    def behind(self) -> "CacheResource":
        """The same cache for other processes of ours, which see to it themselves how often somebody may ask."""
        return CacheResource(self._cache, self._clock, pace=self._pace, turns=self._turns, name=self._name)

    @property
    def streams(self) -> int:
        """Answers under way."""
        return self._streams

    def render(self, request: Any) -> int:
        """Answer one request; its work ends when the client goes away."""
        working, present = work_for(request, self._answer(request))

        def failed(failure: Failure) -> None:
            if failure.check(CancelledError):
                return
            self.log.failure("{path}: the answer failed", failure, path=request.path)
            if present():
                request.loseConnection()

        working.addErrback(failed)
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        request.setHeader("Server", "p2sp")
        request.setHeader("X-Content-Type-Options", "nosniff")
        try:
            await self._serve(request)
        except ApiError as error:
            self.answers[str(error.status)] += 1
            _refuse(request, error)

    async def _serve(self, request: Any) -> None:
        if request.method not in (b"GET", b"HEAD"):
            raise ApiError(405, "method", "only GET and HEAD are known here", {"Allow": "GET, HEAD"})
        self._count(request)
        via = hops(_header(request, "Via"))
        try:
            file = await self._find(request.postpath, via)
            if file is None:
                await self._pass_on(request)
                return
        except Unavailable as error:
            raise _not_here(request.postpath, error, send_on=not via) from error
        if not is_match(_header(request, "If-Match"), file.etag):
            raise ApiError(412, "changed", "the file is another one", {"ETag": file.etag})
        if not none_match(_header(request, "If-None-Match"), file.etag):
            request.setResponseCode(304)
            self.answers["304"] += 1
            _describe(request, file)
            request.finish()
            return
        # A Range means something in a GET only (RFC 9110 section 14.2).
        wished = _header(request, "Range") if request.method == b"GET" else None
        try:
            part = requested_part(wished, _header(request, "If-Range"), file.etag, file.length)
        except Unsatisfiable:
            where = {"Content-Range": f"bytes */{file.length}", "Accept-Ranges": "bytes"}
            raise ApiError(416, "range", f"the file has {file.length} bytes", where) from None
        if request.method == b"HEAD" or part.start == part.stop:
            self._head(request, file, part)
            request.finish()
            return
        self._check_crowd()
        release = self._cache.reading(file.resource, via)
        self._streams += 1
        try:
            await self._stream(request, file, part, via)
        finally:
            self._streams -= 1
            release()

    def _count(self, request: Any) -> None:
        if self._rates is not None:
            address = observed_address(getattr(request.getClientAddress(), "host", ""))
            wait = self._rates.wait(address, self._clock.seconds())
            if wait > 0:
                retry = {"Retry-After": str(math.ceil(wait))}
                raise ApiError(429, "too-many", "too many requests from this address", retry)

    def _check_crowd(self) -> None:
        if self._streams >= self._max_streams:
            raise ApiError(503, "busy", "too many clients are being served", {"Retry-After": "10"})

    async def _pass_on(self, request: Any) -> None:
        assert self._elsewhere is not None
        self._check_crowd()
        self._streams += 1
        try:
            await self._elsewhere(request)
        finally:
            self._streams -= 1

    async def _find(self, path: list[bytes], via: Collection[str]) -> _File | None:
        """The file that the segments behind the mount point name; they are only ever compared.

        None when somebody else is to be asked. Raises ApiError or Unavailable.
        """
        missing = ApiError(404, "not-found", "there is no such file in this cache")
        if len(path) < 2 or _ID.fullmatch(path[0]) is None:
            raise missing
        resource = path[0].decode().lower()
        served = self._cache.lookup(resource)
        if served is None:
            # Who owns the cache knows what is in it.
            if self._elsewhere is None:
                self._check_circle(via)
            served = await self._cache.missed(resource)
        if served is None:
            if self._elsewhere is not None:
                return None
            raise missing
        content, layout = served.content, served.content.layout
        index = _index_in(content, path[1:])
        if index is None:
            raise missing
        return _File(resource, served, _last_name(content, index), layout.file_start(index), layout.lengths[index])

    def _check_circle(self, via: Collection[str]) -> None:
        """Of what is not here: whoever asks for it because we asked him waits for us as we for him."""
        if self._name in via or len(via) >= MAX_HOPS:
            raise ApiError(508, "circle", "this super node itself asks for it, through the one that asks now")

    async def _stream(self, request: Any, file: _File, part: Part, via: Collection[str]) -> None:
        store = file.served.store
        wanted: Callable[[int], None] = lambda piece: self._cache.wanted(file.resource, piece)  # noqa: E731
        first = store.content.layout.piece_at(file.start + part.start)
        pace = self._pace
        if via:
            pace = attrs.evolve(pace, fill=min(pace.fill, PATIENCE))
        if not store.has(first):
            self._check_circle(via)
        try:
            await arrival(store, first, wanted, self._clock, pace.fill)
        except NoProgress as error:
            self.log.warn("{path}: {error}", path=request.path, error=error)
            raise ApiError(503, "filling", "this part is not in the cache yet", {"Retry-After": "10"}) from error
        self._head(request, file, part)
        if part.stop - part.start >= LARGE:
            widen(request.channel)
        stream = Stream(
            store,
            file.start + part.start,
            file.start + part.stop,
            request,
            clock=self._clock,
            pace=pace,
            wanted=wanted,
            sent=lambda count: self._cache.served(file.resource, count),
            turns=self._turns,
        )
        try:
            await stream.run()
        except (NoProgress, StorageError) as error:
            self.log.warn("{path} ends short: {error}", path=request.path, error=error)
            request.loseConnection()
        except ClientStalled as error:
            self.log.info("{path} is cut off: {error}", path=request.path, error=error)
            request.transport.abortConnection()
        else:
            request.finish()

    def _head(self, request: Any, file: _File, part: Part) -> None:
        _describe(request, file)
        request.setHeader("Accept-Ranges", "bytes")
        request.setHeader("Content-Type", media_type(file.name))
        request.setHeader("Content-Length", str(part.stop - part.start))
        if file.served.sha256 is not None and file.served.content.single:
            for name, value in digest_headers(file.served.sha256).items():
                request.setHeader(name, value)
        if part.partial:
            request.setResponseCode(206)
            request.setHeader("Content-Range", f"bytes {part.start}-{part.stop - 1}/{file.length}")
        self.answers[str(request.code)] += 1


def _index_in(content: Content, segments: list[bytes]) -> int | None:
    """Which file of the content `<name>` or `<name>/<path>` is."""
    try:
        name, *inner = (segment.decode() for segment in segments)
        return content.paths.index(tuple(inner)) if name == content.name else None
    except ValueError:
        return None


def _not_here(path: list[bytes], error: Unavailable, *, send_on: bool) -> ApiError:
    """Where to look instead, or when to come back; a super node knows for itself where to look."""
    where = error.elsewhere if send_on else None
    index = None if where is None else _index_in(where.content, path[1:])
    if where is None or index is None:
        return ApiError(503, "unavailable", str(error), {"Retry-After": str(error.retry_after)})
    urls = [file_url(mirror, where.content, index) for mirror in where.mirrors]
    # What began inside TLS stays there, if it can.
    urls.sort(key=lambda url: not url.startswith("https:"))
    return ApiError(307, "elsewhere", f"{error}; a resource server has it", {"Location": urls[0]})


def _header(request: Any, name: str) -> str | None:
    values = request.requestHeaders.getRawHeaders(name)
    return ", ".join(values) if values else None


def _last_name(content: Content, index: int) -> str:
    path = content.paths[index]
    return path[-1] if path else content.name


def media_type(name: str) -> str:
    """The media type that a name suggests; a compressed file is what it is, never an encoding of something else."""
    kind, encoding = _TYPES.guess_type(name)
    return kind if kind is not None and encoding is None else _UNKNOWN_TYPE


def _describe(request: Any, file: _File) -> None:
    request.setHeader("ETag", file.etag)
    # The URL names the content: it can never be anything else.
    request.setHeader("Cache-Control", "public, max-age=31536000, immutable")


def _refuse(request: Any, error: ApiError) -> None:
    reply = error.reply()
    request.setResponseCode(reply.status)
    request.setHeader("Content-Type", reply.content_type)
    request.setHeader("Content-Length", str(len(reply.body)))
    request.setHeader("Cache-Control", "no-store")
    for name, value in reply.headers.items():
        request.setHeader(name, value)
    request.write(reply.body if request.method != b"HEAD" else b"")
    request.finish()
