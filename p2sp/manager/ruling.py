"""What do operators' rules come to, target by target?"""

from collections.abc import Callable
from typing import Final

import attrs

from p2sp.manager.demand import DemandTable
from p2sp.manager.interfaces import INodeRegistry
from p2sp.manager.presence import MAX_NODES, Presence
from p2sp.manager.rules import Rule, RuleKind
from p2sp.manager.schema import RuleRequest, RuleStatus, RuleView, Target
from p2sp.manager.store import MAX_RULES

PREHEATED: Final = 86_400.0
"""Seconds for which a preheat holds when nobody says how long."""

REMEMBERED: Final = 30 * 86_400.0
"""Seconds for which a rule that is over can still be looked at."""


class UnknownLengthError(ValueError):
    """Nobody has said how long a resource is, so no room can be found for it."""


class TooManyRulesError(ValueError):
    """There are as many rules as count at once."""


@attrs.frozen
class Ruling:
    """Operators' rules, kept in the registry and looked at beside what super nodes say."""

    registry: INodeRegistry
    demand: DemandTable
    presence: Presence
    now: Callable[[], float]

    async def add(self, request: RuleRequest, by: str) -> RuleView:
        """Take a rule; `by` is the operator's node id. It counts from the next decision on.

        Raises UnknownLengthError for what is to be held and of unknown length, TooManyRulesError.
        """
        now = self.now()
        if len(await self.registry.rules_at(now)) >= MAX_RULES:
            raise TooManyRulesError(f"{MAX_RULES} rules are in force; take some back")
        length = request.length or await self._length_of(request.resource)
        if not length and request.kind is not RuleKind.BLOCK:
            raise UnknownLengthError("nobody has reported on this resource: say its length in bytes")
        seconds = request.seconds
        if seconds is None and request.kind is RuleKind.PREHEAT:
            seconds = PREHEATED
        rule = Rule(
            number=0,
            kind=request.kind,
            resource=request.resource,
            isp=request.isp or None,
            length=length,
            since=now,
            until=None if seconds is None else now + seconds,
            by=by,
            note=request.note,
        )
        return view_of(await self.registry.add_rule(rule))

    async def _length_of(self, resource: str) -> int:
        placed = await self.registry.placed(resource)
        return max([self.demand.length_of(resource), *(decision.length for decision in placed)])

    async def status(self, number: int) -> RuleStatus | None:
        """A rule and what became of it; None when there is none of that number."""
        rule = await self.registry.rule(number)
        if rule is None:
            return None
        now = self.now()
        decisions = await self.registry.placed(rule.resource)
        here: dict[str, list[Target]] = {}
        for decision in decisions:
            if rule.isp in (None, decision.isp):
                seen = self.presence.placement(decision)
                target = Target(decision.isp, decision.node_id, seen.state, seen.have, seen.trouble or decision.reason)
                here.setdefault(decision.isp, []).append(target)
        isps = {node.isp for node in await self.registry.nodes(0, MAX_NODES) if node.isp is not None}
        wanted = isps | here.keys() if rule.isp is None else {rule.isp}
        targets = [
            target for isp in sorted(wanted) for target in here.get(isp) or [self._absent(rule, isp, isp in isps, now)]
        ]
        return RuleStatus(view_of(rule), targets)

    def _absent(self, rule: Rule, isp: str, has_nodes: bool, now: float) -> Target:
        """Why it is on no super node of an ISP."""
        if rule.until is not None and now >= rule.until:
            return Target(isp, None, "over", reason="its time is over")
        if rule.kind is RuleKind.BLOCK:
            return Target(isp, None, "blocked", reason=rule.reason())
        if not has_nodes:
            return Target(isp, None, "no-supernode", reason="this ISP has no super node")
        return Target(isp, None, "waiting", reason="not decided yet, or no super node here has the room")

    async def forget(self) -> None:
        """Forget what was over long ago."""
        await self.registry.forget_rules(self.now() - REMEMBERED)


def view_of(rule: Rule) -> RuleView:
    """A rule as operators see it."""
    return RuleView(**attrs.asdict(rule))
