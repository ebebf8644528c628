"""What does the resource index answer, and to whom?"""

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from p2sp.index.interfaces import Contradiction, IIndexStore, TooManyMirrors
from p2sp.index.publication import Publication, PublicationError, with_mirrors
from p2sp.index.schema import (
    Hex64,
    LookupAnswer,
    NamesAnswer,
    NamesRequest,
    PublishAnswer,
    PublishRequest,
    ResourceView,
)
from p2sp.index.store import MAX_PAGE
from p2sp.index.urls import UrlError, normal_url
from p2sp.net.fields import Count, ResourceId
from p2sp.net.jsonapi import Api, ApiError, Call, Reply
from p2sp.resource.descriptor import MAX_TORRENT
from p2sp.resource.errors import DescriptorError, ResourceError
from p2sp.resource.magnet import Magnet, parse_resource_id

PUBLISHERS: Final = frozenset({"publisher", "operator"})

MAX_PUBLISH_BODY: Final = MAX_TORRENT // 3 * 4 + 1024 * 1024
"""Bytes of a publish request: the largest torrent in base64, and its mirrors."""

TORRENT_TYPE: Final = "application/x-bittorrent"
_DIGEST: Final = re.compile(r"sha-?256:([0-9a-fA-F]{64})", re.IGNORECASE)

Examine = Callable[[PublishRequest], Deferred[Publication]]
"""Checks a publication off the reactor's thread: a large torrent takes seconds to hash."""


class _LookupQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: Annotated[str, msgspec.Meta(max_length=8192)] | None = None
    digest: str | None = None
    length: Count | None = None
    root: Hex64 | None = None


class _ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: ResourceId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = 50
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None


class IndexApi:
    """The handlers of the index; `mount` adds them to an Api."""

    log = Logger()

    def __init__(self, store: IIndexStore, clock: IReactorTime, examine: Examine) -> None:
        self._store = store
        self._clock = clock
        self._examine = examine

    def mount(self, api: Api) -> None:
        """Route every call of the index."""
        api.route(
            "POST",
            "/v1/resources",
            self.publish,
            body=PublishRequest,
            roles=PUBLISHERS,
            max_body=MAX_PUBLISH_BODY,
        )
        api.route("GET", "/v1/resources", self.listing)
        api.route("GET", "/v1/resources/{id}", self.resource)
        api.route("GET", "/v1/resources/{id}.torrent", self.torrent)
        api.route("GET", "/v1/lookup", self.lookup)
        api.route("POST", "/v1/names", self.names, body=NamesRequest)

    async def publish(self, call: Call) -> PublishAnswer:
        """Take a descriptor and its mirrors; 422 names what is wrong with them, 409 what they contradict."""
        try:
            publication = await self._examine(call.body)
        except (DescriptorError, PublicationError) as error:
            raise ApiError(422, "torrent", str(error)) from error
        except UrlError as error:
            raise ApiError(422, "mirror", str(error)) from error
        try:
            await self._store.publish(publication, self._clock.seconds())
        except Contradiction as error:
            raise ApiError(409, "contradiction", str(error)) from error
        except TooManyMirrors as error:
            raise ApiError(409, "too-many-mirrors", str(error)) from error
        self.log.info(
            "{name} ({id}) was published by {node} with {mirrors} mirrors",
            name=publication.name,
            id=publication.id,
            node=call.caller.node_id if call.caller else None,
            mirrors=len(publication.mirrors),
        )
        return PublishAnswer(publication.id, str(Magnet(bytes.fromhex(publication.id), publication.name)))

    async def resource(self, call: Call) -> Reply:
        """What is known of an id."""
        view = await self._store.resource(_id_in(call))
        if view is None:
            raise _unknown(call)
        return _tagged(call, msgspec.json.encode(view), "application/json")

    async def torrent(self, call: Call) -> Reply:
        """The torrent of an id, its mirrors as web seeds (BEP 19)."""
        stored = await self._store.torrent(_id_in(call))
        if stored is None:
            raise _unknown(call)
        body = with_mirrors(stored.torrent, stored.mirrors)
        return _tagged(call, body, TORRENT_TYPE, {"Content-Disposition": _attachment(f"{stored.name}.torrent")})

    async def listing(self, call: Call) -> LookupAnswer:
        """Resources newest first; only the first files and mirrors of each are shown."""
        query = call.query_as(_ListQuery)
        return LookupAnswer(await self._store.listing(query.after, query.limit, query.name))

    async def names(self, call: Call) -> NamesAnswer:
        """What many resources are called, for who shows them to people."""
        return NamesAnswer(await self._store.names(call.body.ids))

    async def lookup(self, call: Call) -> LookupAnswer:
        """Resources by URL, by digest, or by length and root: exactly one of the three."""
        query = call.query_as(_LookupQuery)
        asked = [query.url is not None, query.digest is not None, query.root is not None or query.length is not None]
        if sum(asked) != 1:
            raise ApiError(400, "query", "ask for exactly one of url, digest, or length with root")
        return LookupAnswer(await self._find(query))

    async def _find(self, query: _LookupQuery) -> list[ResourceView]:
        if query.url is not None:
            try:
                target = normal_url(query.url)
            except UrlError as error:
                raise ApiError(400, "url", str(error)) from error
            return await self._store.by_target(target)
        if query.digest is not None:
            digest = _DIGEST.fullmatch(query.digest)
            if digest is None:
                raise ApiError(400, "digest", f"not a digest (sha-256: and 64 hex digits): {query.digest[:80]!r}")
            return await self._store.by_digest(digest[1].lower())
        if query.length is None or query.root is None:
            raise ApiError(400, "query", "length and root go together: a root alone does not name a file")
        return await self._store.by_root(query.length, query.root)


def _id_in(call: Call) -> str:
    try:
        return parse_resource_id(call.path["id"]).hex()
    except ResourceError as error:
        raise ApiError(404, "unknown", str(error)) from error


def _unknown(call: Call) -> ApiError:
    return ApiError(404, "unknown", f"no resource {call.path['id'].lower()} is known here")


def _tagged(call: Call, body: bytes, content_type: str, headers: dict[str, str] | None = None) -> Reply:
    """A body with a strong ETag, or 304 when the caller has it (RFC 9110 section 13.1.2)."""
    tag = f'"{sha256(body).hexdigest()[:32]}"'
    marked = {"ETag": tag, "Cache-Control": "no-cache", **(headers or {})}
    held = {each.strip().removeprefix("W/") for each in (call.header("If-None-Match") or "").split(",")}
    if held & {tag, "*"}:
        return Reply(b"", content_type, 304, marked)
    return Reply(body, content_type, 200, marked)


def _attachment(name: str) -> str:
    """A Content-Disposition that every client can read (RFC 6266, RFC 8187)."""
    plain = re.sub(r"[^A-Za-z0-9._ ()+-]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
