"""What did each super node say of itself last, and can it be counted on?"""

from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from p2sp.manager.interfaces import SuperNode
from p2sp.manager.pacing import Budget, due
from p2sp.manager.packing import Room
from p2sp.manager.placement import Decision
from p2sp.manager.schema import Heartbeat, Held, NodeView, Placement

MAX_NODES: Final = 10_000
"""Super nodes that take part in decisions."""

SILENT_INTERVALS: Final = 3
"""Heartbeats a super node may miss before it counts as silent."""

GRACE: Final = 86_400.0
"""Seconds: after a start, nodes seen within this count as present until they had the time to come back."""


@attrs.frozen
class _State:
    """What stood in the last heartbeat; not worth keeping over a restart."""

    at: float
    uploaded: int
    upload_rate: float
    held: dict[str, Held]
    troubles: dict[str, str]
    budget: Budget | None

    @property
    def draining(self) -> bool:
        return self.budget is None

    @property
    def shares(self) -> dict[str, float]:
        return {each.resource: each.have for each in self.held.values()}


class Presence:
    """The states of super nodes in memory. `interval` is that of heartbeats; all times are seconds.

    `patience` is how long a silent node's placements wait for it: a node that restarts is not worth fetching all
    that it holds a second time. `settling` is how long after the start those that are there may need to report.
    """

    def __init__(self, started: float, interval: float, patience: float, settling: float) -> None:
        self._started = started
        self._interval = interval
        self._settling = settling
        self._patience = max(patience, SILENT_INTERVALS * interval)
        self._states: dict[str, _State] = {}

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._states

    def heard(self, node_id: str, beat: Heartbeat, now: float) -> None:
        """Keep what a super node says."""
        before = self._states.get(node_id)
        if before is None and len(self._states) >= MAX_NODES:
            return
        rate = 0.0
        # A count that shrinks is that of a new process.
        if before is not None and now > before.at and beat.uploaded >= before.uploaded:
            rate = (beat.uploaded - before.uploaded) / (now - before.at)
        held = {each.resource: each for each in beat.held}
        troubles = {each.resource: each.reason for each in beat.troubles}
        budget = None if beat.draining else Budget.of(beat.fills, beat.fill_rate, self._interval)
        self._states[node_id] = _State(now, beat.uploaded, rate, held, troubles, budget)

    def keep(self, node_ids: Iterable[str]) -> None:
        """Forget all but these."""
        for gone in self._states.keys() - set(node_ids):
            del self._states[gone]

    def alive(self, node: SuperNode, now: float) -> bool:
        """Whether it reports as it should."""
        return now - node.seen <= SILENT_INTERVALS * self._interval

    def present(self, node: SuperNode, now: float) -> bool:
        """Whether to count on it: neither its own restart nor ours is to cost it its placements."""
        if now - node.seen <= self._patience:
            return True
        starting = now - self._started <= self._patience
        return starting and node.seen > self._started - GRACE

    def settled(self, now: float) -> bool:
        """Whether every super node had the time to report since the start.

        Before, what one that has not reported holds would be placed on another, and fetched there.
        """
        return now - self._started >= self._settling

    def due(self, node_id: str, decisions: Sequence[Decision]) -> list[Decision]:
        """Which of the things placed on a node it is told of now."""
        state = self._states.get(node_id)
        if state is None:
            return []
        return due(decisions, state.shares, state.troubles, state.budget)

    def room(self, node: SuperNode) -> Room:
        """What it offers, and what it has."""
        state = self._states.get(node.node_id)
        if state is None:
            return Room(node.node_id, node.capacity)
        return Room(node.node_id, node.capacity, state.shares, state.draining)

    def held(self, node_id: str) -> list[Held]:
        """What a node said it holds, by resource."""
        state = self._states.get(node_id)
        return [] if state is None else [state.held[resource] for resource in sorted(state.held)]

    def view(self, node: SuperNode, now: float) -> NodeView:
        """A node as operators see it."""
        state = self._states.get(node.node_id)
        held = [] if state is None else list(state.held.values())
        whole = sum(each.have >= 1.0 for each in held)
        alive = self.alive(node, now)
        return NodeView(
            **attrs.asdict(node),
            alive=alive,
            whole=whole,
            filling=len(held) - whole,
            upload_rate=state.upload_rate if state is not None and alive else 0.0,
            draining=state is not None and state.draining,
        )

    def placement(self, decision: Decision) -> Placement:
        """A decision, and how far its super node says it has come."""
        state = self._states.get(decision.node_id)
        held = None if state is None else state.held.get(decision.resource)
        trouble = "" if state is None else state.troubles.get(decision.resource, "")
        have = 0.0 if held is None else held.have
        if state is not None and state.draining:
            return placement_of(decision, "going", have)
        if have >= 1.0:
            return placement_of(decision, "held", 1.0)
        if trouble:
            return placement_of(decision, "failed", have, trouble)
        return placement_of(decision, "ordered" if held is None else "filling", have)


def placement_of(decision: Decision, state: str, have: float = 0.0, trouble: str = "") -> Placement:
    """A decision as operators see it."""
    return Placement(
        resource=decision.resource,
        node_id=decision.node_id,
        isp=decision.isp,
        state=state,
        reason=decision.reason,
        value=decision.value,
        since=decision.since,
        have=have,
        trouble=trouble,
    )
