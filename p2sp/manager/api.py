"""What does the manager take from super nodes, and what does it tell operators?"""

from ipaddress import ip_address
from typing import Annotated, Any, Final

import msgspec

from p2sp.manager.control import Manager
from p2sp.manager.schema import Heartbeat, HeartbeatAnswer, NodePage, PlacementPage
from p2sp.net.addresses import https_url
from p2sp.net.jsonapi import Api, ApiError, Call
from p2sp.tracker.schema import Count, Text

SUPERNODES: Final = frozenset({"supernode"})
OPERATOR: Final = "operator"

MAX_HEARTBEAT: Final = 24 * 1024 * 1024
"""Bytes of a heartbeat: 100,000 resources with every field at its longest take about as much."""

MAX_PLACEMENTS: Final = 10_000
MAX_DROPPED: Final = 1000


class _PlacementQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    isp: Text | None = None
    offset: Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PLACEMENTS)] = 1000


class _NodeQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    offset: Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PLACEMENTS)] = 1000


class ManagerApi:
    """The handlers of the manager; `mount` adds them to an Api."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def mount(self, api: Api) -> None:
        """Route every call of the manager."""
        api.route("POST", "/v1/heartbeat", self.heartbeat, body=Heartbeat, roles=SUPERNODES, max_body=MAX_HEARTBEAT)
        api.route("GET", "/v1/placements", self.placements)
        api.route("GET", "/v1/nodes", self.nodes)

    async def health(self) -> dict[str, Any]:
        """Whether decisions rest on statistics that were read."""
        return {"informed": self._manager.informed}

    async def heartbeat(self, call: Call) -> HeartbeatAnswer:
        """Take a super node's state. Who it is and where it is stands in the connection, never in the body."""
        beat: Heartbeat = call.body
        try:
            url = https_url(beat.url)
        except ValueError as error:
            raise ApiError(422, "invalid", f"{error} - at `$.url`") from error
        assert call.caller is not None
        return await self._manager.heartbeat(call.caller.node_id, call.address, msgspec.structs.replace(beat, url=url))

    async def placements(self, call: Call) -> PlacementPage:
        """What is placed where and why, and what was dropped lately."""
        _for_operators(call)
        query = call.query_as(_PlacementQuery)
        dropped = await self._manager.dropped(query.isp, min(query.limit, MAX_DROPPED)) if query.offset == 0 else []
        return PlacementPage(await self._manager.placements(query.isp, query.offset, query.limit), dropped)

    async def nodes(self, call: Call) -> NodePage:
        """Which super nodes there are."""
        _for_operators(call)
        query = call.query_as(_NodeQuery)
        return NodePage(await self._manager.nodes(query.offset, query.limit))


def _for_operators(call: Call) -> None:
    """Let an operator's certificate in, and whoever is on this machine."""
    if ip_address(call.address).is_loopback:
        return
    if call.caller is None:
        raise ApiError(401, "identity", "this call needs an operator's certificate")
    if OPERATOR not in call.caller.roles:
        raise ApiError(403, "role", f"this call is for the role {OPERATOR}")
