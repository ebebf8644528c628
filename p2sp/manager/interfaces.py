"""What must the manager's memory promise?"""

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2sp.manager.placement import Decision, Plan
from p2sp.manager.rules import Rule


@attrs.frozen
class SuperNode:
    """A super node as it last presented itself; `seen` is seconds since 1970, `address` the one we observed."""

    node_id: str
    url: str
    address: str
    port: int
    isp: str | None
    capacity: int
    used: int
    uploaded: int
    seen: float


class INodeRegistry(Interface):
    """Super nodes, what they shall hold, what operators said, and how far the statistics were read.

    Everything is durable: once a Deferred has fired the change outlives the process. Each call is one transaction.
    """

    def saw(node: SuperNode) -> Deferred[None]:
        """Keep a super node's state; it replaces what was known of that node id."""

    def nodes(offset: int, limit: int) -> Deferred[list[SuperNode]]:
        """Super nodes by node id."""

    def forget(before: float) -> Deferred[int]:
        """Forget nodes last seen before a moment, unless something is placed on them; how many went."""

    def enact(isp: str, plan: Plan) -> Deferred[None]:
        """Make a plan's placements the ones in force in an ISP, and remember what was dropped (the last of it)."""

    def standing() -> Deferred[list[Decision]]:
        """Every placement in force."""

    def orders(node_id: str, limit: int) -> Deferred[list[Decision]]:
        """What a super node shall hold, most valuable first."""

    def page(isp: str | None, offset: int, limit: int) -> Deferred[list[Decision]]:
        """Placements in force, by ISP (all of them for None) and value."""

    def placed(resource: str) -> Deferred[list[Decision]]:
        """The placements in force of one resource, by ISP and node id."""

    def dropped(isp: str | None, limit: int) -> Deferred[list[Decision]]:
        """What was dropped, latest first, of the last 1000 drops; `since` and `reason` are those of the drop."""

    def add_rule(rule: Rule) -> Deferred[Rule]:
        """Keep an operator's rule under a new number, never given before; whatever number it bears now is ignored."""

    def remove_rule(number: int) -> Deferred[bool]:
        """Take a rule back; whether there was one."""

    def rules(offset: int, limit: int) -> Deferred[list[Rule]]:
        """Rules by number, also those that are over."""

    def rule(number: int) -> Deferred[Rule | None]:
        """One rule."""

    def rules_at(now: float) -> Deferred[list[Rule]]:
        """The rules that are not over at a moment, at most 10,000 of them, the oldest first."""

    def forget_rules(before: float) -> Deferred[int]:
        """Forget rules that were over before a moment; how many."""

    def checkpoint(now: float, cursor: int) -> Deferred[None]:
        """Remember that at `now` the statistics had been read up to `cursor`; larger cursors are void from then on."""

    def cursor(before: float) -> Deferred[int]:
        """How far the statistics had been read at a moment: whoever begins there misses nothing that came after.

        0, the start, when nobody remembers. Older checkpoints may be forgotten by this.
        """
