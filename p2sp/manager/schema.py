"""What do super nodes and operators say to the manager, and what does it answer?"""

from typing import Annotated

from msgspec import Meta, Struct

from p2sp.tracker.schema import Count, NodeId, Port, ResourceId, Share, Text


class Held(Struct, frozen=True, forbid_unknown_fields=True):
    """One resource on a super node: bytes it takes there, share that is verified, bytes served since the start."""

    resource: ResourceId
    bytes: Count
    have: Share
    served: Count = 0
    idle_seconds: Annotated[float, Meta(ge=0)] = 0.0


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True):
    """A super node's state. Who it is and that it is one stands in its certificate.

    `url` is the base of its HTTPS service, `port` that of its wire; `capacity` and `used` are bytes of cache.
    """

    url: Text
    port: Port
    capacity: Count
    used: Count
    uploaded: Count = 0
    held: Annotated[list[Held], Meta(max_length=100_000)] = []


class Order(Struct, frozen=True):
    """A resource the super node shall hold, and why, in words and numbers. Most valuable first."""

    resource: ResourceId
    reason: str
    value: float = 0.0


class HeartbeatAnswer(Struct, frozen=True):
    """Desired state:

    hold exactly `desired` (what else is held may go when space is needed); come back in `interval` seconds.
    """

    interval: Annotated[float, Meta(gt=0, le=86400)]
    desired: Annotated[list[Order], Meta(max_length=100_000)]
    isp: Text | None = None


class Placement(Struct, frozen=True):
    """One decision:

    this super node shall hold this resource. `state` is ordered, filling or held; times in seconds since 1970.
    """

    resource: ResourceId
    node_id: NodeId
    isp: Text | None
    state: str
    reason: str
    value: float
    since: float
    have: Share = 0.0


class PlacementPage(Struct, frozen=True):
    """Placements now in force, and the last decisions to drop some."""

    placements: Annotated[list[Placement], Meta(max_length=10_000)]
    dropped: Annotated[list[Placement], Meta(max_length=1000)] = []


class NodeView(Struct, frozen=True):
    """A super node as the manager knows it."""

    node_id: NodeId
    url: str
    address: str
    port: Port
    isp: Text | None
    capacity: Count
    used: Count
    uploaded: Count
    seen: float
    alive: bool


class NodePage(Struct, frozen=True):
    """Registered super nodes."""

    nodes: Annotated[list[NodeView], Meta(max_length=10_000)]
