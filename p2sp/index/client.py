"""How do other roles and the command line ask the resource index?"""

from collections.abc import Collection, Iterable
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IPolicyForHTTPS

from p2sp.index.schema import (
    MOST_NAMES,
    LookupAnswer,
    NamesAnswer,
    NamesRequest,
    PublishAnswer,
    PublishRequest,
    ResourceView,
)
from p2sp.net.addresses import https_url
from p2sp.net.api_client import ApiClient
from p2sp.net.errors import BadAnswer, NetError
from p2sp.resource.descriptor import MAX_TORRENT, Torrent, parse_torrent
from p2sp.resource.errors import DescriptorError

REMEMBERED: Final = 10_000
"""Names that are remembered; a name never changes."""

WAIT: Final = 1.0
"""Seconds that somebody waits for names."""

ASK_AGAIN: Final = 30.0
"""Seconds after which the index is asked again for what it did not know, or at all after it was away."""


class IndexClient:
    """The calls of a resource index. Every one raises Unreachable, Refused or BadAnswer and nothing else."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def publish(self, request: PublishRequest) -> PublishAnswer:
        """Publish a resource or add mirrors to it; needs a certificate for the role publisher or operator."""
        return await self._api.post("/v1/resources", request, PublishAnswer)

    async def resource(self, resource: str) -> ResourceView:
        """What the index knows of an id (64 hex digits); Refused with status 404 when it knows nothing."""
        path = f"/v1/resources/{resource}"
        view = await self._api.get(path, ResourceView)
        if view.id != resource.lower():
            raise BadAnswer(f"{self._api.base_url}{path}", f"it describes another resource, {view.id}")
        return view

    async def torrent(self, resource: str) -> Torrent:
        """The whole descriptor of an id, with the mirrors; the index is not believed but checked.

        Refused with status 404 when the id is unknown, BadAnswer when what comes is not that resource, or is not
        complete with piece layers.
        """
        path = f"/v1/resources/{resource}.torrent"
        url = f"{self._api.base_url}{path}"
        data = await self._api.get_bytes(path, MAX_TORRENT)
        try:
            torrent = parse_torrent(data)
        except DescriptorError as error:
            raise BadAnswer(url, str(error)) from error
        found = torrent.descriptor.resource_id.hex()
        if found != resource.lower():
            raise BadAnswer(url, f"it describes another resource, {found}")
        if torrent.descriptor.missing_layers:
            raise BadAnswer(url, "its piece layers are not complete")
        return torrent

    async def lookup_url(self, url: str) -> list[ResourceView]:
        """Resources that a mirror has at this URL, newest first; a claim of publishers, not a proof."""
        return await self._lookup({"url": url})

    async def lookup_digest(self, sha256: str) -> list[ResourceView]:
        """Lone files that were published with this SHA-256 (64 hex digits)."""
        return await self._lookup({"digest": f"sha-256:{sha256}"})

    async def lookup_root(self, length: int, root: str) -> list[ResourceView]:
        """Lone files of `length` bytes with this Merkle root (64 hex digits)."""
        return await self._lookup({"length": length, "root": root})

    async def names(self, resources: Collection[str]) -> dict[str, str]:
        """The names of up to 500 ids; those the index does not know are left out."""
        answer = await self._api.post("/v1/names", NamesRequest([*resources]), NamesAnswer)
        return {resource: answer.names[resource] for resource in resources if resource in answer.names}

    async def listing(self, after: str | None = None, limit: int = 50, name: str | None = None) -> list[ResourceView]:
        """A page of resources, newest first, behind the id `after`; `name` is to be part of their names."""
        answer = await self._api.get("/v1/resources", LookupAnswer, {"after": after, "limit": limit, "name": name})
        return answer.resources

    async def _lookup(self, params: dict[str, object]) -> list[ResourceView]:
        return (await self._api.get("/v1/lookup", LookupAnswer, params)).resources


class Names:
    """What resources are called, for pages that people look at; without an index nothing has a name.

    Nobody waits long for a name: what is not known in a second is shown without one.
    """

    def __init__(self, api: ApiClient | None, clock: IReactorTime) -> None:
        self._api = api
        self._clock = clock
        self._known: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._away_until = float("-inf")

    @classmethod
    def at(cls, url: str | None, policy: IPolicyForHTTPS, reactor: IReactorTime) -> "Names":
        """Those that the index at a URL knows; None for no index."""
        return cls(None if url is None else ApiClient(reactor, https_url(url), policy=policy), reactor)

    async def of(self, resources: Iterable[str]) -> dict[str, str]:
        """The names of these, as far as they are known."""
        wanted = dict.fromkeys(resources)
        now = self._clock.seconds()
        if self._api is not None and now >= self._away_until:
            unknown = [each for each in wanted if each not in self._known and now >= self._asked.get(each, now)]
            if unknown:
                await self._ask(IndexClient(self._api), unknown[:MOST_NAMES], now)
        return {each: self._known[each] for each in wanted if each in self._known}

    async def _ask(self, index: IndexClient, unknown: list[str], now: float) -> None:
        asking = Deferred.fromCoroutine(index.names(unknown))
        try:
            found = await asking.addTimeout(WAIT, self._clock)
        except (NetError, DeadlineError):
            self._away_until = now + ASK_AGAIN
            return
        self._known.update(found)
        self._asked.update({each: now + ASK_AGAIN for each in unknown if each not in found})
        for book in (self._known, self._asked):
            for oldest in [*book][: max(len(book) - REMEMBERED, 0)]:
                del book[oldest]

    def close(self) -> "Deferred[None]":
        """Let go of the connections."""
        return succeed(None) if self._api is None else self._api.close()
