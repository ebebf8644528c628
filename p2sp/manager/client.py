"""How do super nodes and operators talk to the manager?"""

from p2sp.manager.schema import (
    Heartbeat,
    HeartbeatAnswer,
    HeldPage,
    NodePage,
    PlacementPage,
    Rehearsal,
    RulePage,
    RuleRequest,
    RuleStatus,
    RuleView,
)
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

    async def held(self, node_id: str, offset: int = 0, limit: int = 1000) -> HeldPage:
        """What a super node said that it holds, by resource; for whom `nodes` is."""
        return await self._api.get(f"/v1/nodes/{node_id}/held", HeldPage, {"offset": offset, "limit": limit})

    async def rehearsal(self, policy: str | None = None) -> Rehearsal:
        """What a policy (the one in use, or "value" or "threshold") would change now; for whom `nodes` is."""
        return await self._api.get("/v1/rehearsal", Rehearsal, {"policy": policy})

    async def rules(self, offset: int = 0, limit: int = 1000) -> RulePage:
        """What operators said, by number; for whom `nodes` is."""
        return await self._api.get("/v1/rules", RulePage, {"offset": offset, "limit": limit})

    async def rule(self, number: int) -> RuleStatus:
        """A rule, and what became of it on each of its targets; for whom `nodes` is."""
        return await self._api.get(f"/v1/rules/{number}", RuleStatus)

    async def add_rule(self, request: RuleRequest) -> RuleView:
        """Pin, preheat or block a resource; needs a certificate for the role operator."""
        return await self._api.post("/v1/rules", request, RuleView)

    async def remove_rule(self, number: int) -> None:
        """Take a rule back; needs a certificate for the role operator."""
        await self._api.send("DELETE", f"/v1/rules/{number}", None, type(None))
