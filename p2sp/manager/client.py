"""How do super nodes and operators talk to the manager?"""

from p2sp.manager.schema import Heartbeat, HeartbeatAnswer, NodePage, PlacementPage
from p2sp.net.api_client import ApiClient


class ManagerClient:
    """The calls of a manager. Every one raises Unreachable, Refused or BadAnswer and nothing else."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        """Say what a super node holds, hear what it shall hold; needs a certificate for the role supernode."""
        return await self._api.post("/v1/heartbeat", beat, HeartbeatAnswer)

    async def placements(self, isp: str | None = None, offset: int = 0, limit: int = 1000) -> PlacementPage:
        """What is placed where and why, by ISP and value; what was dropped lately comes with the first page.

        For operators and for callers on the manager's own machine.
        """
        return await self._api.get("/v1/placements", PlacementPage, {"isp": isp, "offset": offset, "limit": limit})

    async def nodes(self, offset: int = 0, limit: int = 1000) -> NodePage:
        """Which super nodes there are, by node id; for operators and callers on the manager's own machine."""
        return await self._api.get("/v1/nodes", NodePage, {"offset": offset, "limit": limit})
