"""What does the manager take from super nodes, and what does it tell operators?"""

from ipaddress import ip_address
from typing import Annotated, Any, Final

import msgspec

from p2sp.manager.control import Manager
from p2sp.manager.placement import Limits
from p2sp.manager.policies import POLICIES
from p2sp.manager.presence import placement_of
from p2sp.manager.ruling import TooManyRulesError, UnknownLengthError
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
from p2sp.net.addresses import https_url
from p2sp.net.fields import Count, Text
from p2sp.net.jsonapi import Api, ApiError, Call

SUPERNODES: Final = frozenset({"supernode"})
OPERATOR: Final = "operator"
OPERATORS: Final = frozenset({OPERATOR})

MAX_HEARTBEAT: Final = 24 * 1024 * 1024
"""Bytes of a heartbeat: 100,000 resources with every field at its longest take about as much."""

MAX_PLACEMENTS: Final = 10_000
MAX_DROPPED: Final = 1000


class _PlacementQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    isp: Text | None = None
    offset: Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PLACEMENTS)] = 1000


class _PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    offset: Count = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PLACEMENTS)] = 1000


class _RehearsalQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    policy: Text | None = None


class ManagerApi:
    """The handlers of the manager; `mount` adds them to an Api. `policy` names the one in use, with its `limits`."""

    def __init__(self, manager: Manager, policy: str, limits: Limits) -> None:
        self._manager = manager
        self._policy = policy
        self._limits = limits

    def mount(self, api: Api) -> None:
        """Route every call of the manager."""
        api.route("POST", "/v1/heartbeat", self.heartbeat, body=Heartbeat, roles=SUPERNODES, max_body=MAX_HEARTBEAT)
        api.route("GET", "/v1/placements", self.placements)
        api.route("GET", "/v1/nodes", self.nodes)
        api.route("GET", "/v1/nodes/{id}/held", self.held)
        api.route("GET", "/v1/rehearsal", self.rehearsal)
        api.route("GET", "/v1/rules", self.rules)
        api.route("GET", "/v1/rules/{number}", self.rule)
        api.route("POST", "/v1/rules", self.add_rule, body=RuleRequest, roles=OPERATORS)
        api.route("DELETE", "/v1/rules/{number}", self.remove_rule, roles=OPERATORS)

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
        query = call.query_as(_PageQuery)
        return NodePage(await self._manager.nodes(query.offset, query.limit))

    async def held(self, call: Call) -> HeldPage:
        """What a super node said that it holds; nothing for one that has not been heard since the start."""
        _for_operators(call)
        query = call.query_as(_PageQuery)
        return HeldPage(self._manager.presence.held(call.path["id"])[query.offset : query.offset + query.limit])

    async def rehearsal(self, call: Call) -> Rehearsal:
        """What a policy, the one in use or another, would change now."""
        _for_operators(call)
        name = call.query_as(_RehearsalQuery).policy or self._policy
        if name not in POLICIES:
            raise ApiError(422, "invalid-query", f"policy is one of {', '.join(sorted(POLICIES))}")
        placed, dropped, kept = [], [], 0
        for before, plan in await self._manager.rehearse(POLICIES[name](self._limits)):
            known = {(decision.resource, decision.node_id) for decision in before}
            news = [each for each in plan.placed if (each.resource, each.node_id) not in known]
            kept += len(plan.placed) - len(news)
            placed += [placement_of(each, "proposed") for each in news]
            dropped += [placement_of(each, "proposed") for each in plan.dropped]
        return Rehearsal(name, placed[:MAX_PLACEMENTS], dropped[:MAX_PLACEMENTS], kept)

    async def rules(self, call: Call) -> RulePage:
        """What operators said."""
        _for_operators(call)
        query = call.query_as(_PageQuery)
        return RulePage(await self._manager.rules(query.offset, query.limit))

    async def rule(self, call: Call) -> RuleStatus:
        """One rule, and what became of it on each of its targets."""
        _for_operators(call)
        status = await self._manager.ruling.status(_number(call))
        if status is None:
            raise ApiError(404, "unknown", "there is no rule of this number")
        return status

    async def add_rule(self, call: Call) -> RuleView:
        """Pin, preheat or block a resource."""
        assert call.caller is not None
        try:
            return await self._manager.ruling.add(call.body, call.caller.node_id)
        except UnknownLengthError as error:
            raise ApiError(422, "invalid", f"{error} - at `$.length`") from error
        except TooManyRulesError as error:
            raise ApiError(409, "too-many-rules", str(error)) from error

    async def remove_rule(self, call: Call) -> None:
        """Take a rule back; what it pinned is then judged as anything else."""
        if not await self._manager.ruling.registry.remove_rule(_number(call)):
            raise ApiError(404, "unknown", "there is no rule of this number")


def _number(call: Call) -> int:
    text = call.path["number"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ApiError(404, "unknown", "a rule's number is a number")
    return int(text)


def _for_operators(call: Call) -> None:
    """Let an operator's certificate in, and whoever is on this machine."""
    if ip_address(call.address).is_loopback:
        return
    if call.caller is None:
        raise ApiError(401, "identity", "this call needs an operator's certificate")
    if OPERATOR not in call.caller.roles:
        raise ApiError(403, "role", f"this call is for the role {OPERATOR}")
