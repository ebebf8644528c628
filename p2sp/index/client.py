"""How do other roles and the command line ask the resource index?"""

from p2sp.index.schema import LookupAnswer, PublishAnswer, PublishRequest, ResourceView
from p2sp.net.api_client import ApiClient
from p2sp.net.errors import BadAnswer
from p2sp.resource.descriptor import MAX_TORRENT, Torrent, parse_torrent
from p2sp.resource.errors import DescriptorError


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

    async def listing(self, after: str | None = None, limit: int = 50, name: str | None = None) -> list[ResourceView]:
        """A page of resources, newest first, behind the id `after`; `name` is to be part of their names."""
        answer = await self._api.get("/v1/resources", LookupAnswer, {"after": after, "limit": limit, "name": name})
        return answer.resources

    async def _lookup(self, params: dict[str, object]) -> list[ResourceView]:
        return (await self._api.get("/v1/lookup", LookupAnswer, params)).resources
