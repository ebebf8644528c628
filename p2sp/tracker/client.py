"""How does another part of the network talk to a tracker?"""

from p2sp.locality.alto import LARGEST_DOCUMENT, LocalityError
from p2sp.locality.network_map import NetworkMap
from p2sp.net.api_client import ApiClient
from p2sp.net.errors import BadAnswer
from p2sp.tracker.schema import AnnounceAnswer, AnnounceRequest, Registration, RegistrationAnswer


class TrackerClient:
    """A tracker's calls over an ApiClient, whose TLS identity is the node that announces.

    Every call raises NetError (Unreachable, Refused, BadAnswer) when it cannot be answered.
    """

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def announce(self, request: AnnounceRequest) -> AnnounceAnswer:
        """Say what this node is doing in a swarm; the answer names nodes to connect to."""
        return await self._api.post("/v1/announce", request, AnnounceAnswer)

    async def register(self, registration: Registration) -> RegistrationAnswer:
        """Say to a global tracker which ISPs a local one serves; needs a tracker's certificate."""
        return await self._api.post("/v1/trackers", registration, RegistrationAnswer)

    async def network_map(self) -> NetworkMap:
        """The network map the tracker goes by."""
        data = await self._api.get_bytes("/v1/map", LARGEST_DOCUMENT)
        try:
            return NetworkMap.decode(data)
        except LocalityError as error:
            raise BadAnswer(f"{self._api.base_url}/v1/map", str(error)) from error
