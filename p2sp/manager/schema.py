"""What do super nodes and operators say to the manager, and what does it answer?"""

from typing import Annotated

from msgspec import Meta, Struct

from p2sp.manager.rules import RuleKind
from p2sp.net.fields import Count, NodeId, Port, ResourceId, Share, Text


class Held(Struct, frozen=True, forbid_unknown_fields=True):
    """One resource on a super node: bytes it takes there, share that is verified, bytes served since the start."""

    resource: ResourceId
    bytes: Count
    have: Share
    served: Count = 0
    idle_seconds: Annotated[float, Meta(ge=0)] = 0.0


class Trouble(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a super node cannot hold what it was told to."""

    resource: ResourceId
    reason: Text


class Heartbeat(Struct, frozen=True, forbid_unknown_fields=True):
    """A super node's state. Who it is and that it is one stands in its certificate.

    `url` is the base of its HTTPS service, `port` that of its wire; `capacity` and `used` are bytes of cache,
    `uploaded` is bytes served since its start. `fills` is how many resources it fetches at a time, `fill_rate` how many
    bytes a second at the most (0: no limit). `draining` says that it is being stopped and takes on nothing new.
    """

    url: Text
    port: Port
    capacity: Count
    used: Count
    uploaded: Count = 0
    held: Annotated[list[Held], Meta(max_length=100_000)] = []
    troubles: Annotated[list[Trouble], Meta(max_length=1000)] = []
    fills: Annotated[int, Meta(ge=1, le=100)] = 4
    fill_rate: Count = 0
    draining: bool = False


class Order(Struct, frozen=True):
    """A resource the super node shall hold, and why, in words and numbers. Most valuable first."""

    resource: ResourceId
    reason: str
    value: float = 0.0


class HeartbeatAnswer(Struct, frozen=True):
    """Desired state:

    hold exactly `desired` (what else is held may go when space is needed); come back in `interval` seconds. Of all that
    is placed there what is not being fetched yet is named little by little.
    """

    interval: Annotated[float, Meta(gt=0, le=86400)]
    desired: Annotated[list[Order], Meta(max_length=100_000)]
    isp: Text | None = None


class Placement(Struct, frozen=True):
    """One decision:

    this super node shall hold this resource. `state` is ordered, filling, held, failed (`trouble` says why) or going,
    as the super node is being stopped; times in seconds since 1970.
    """

    resource: ResourceId
    node_id: NodeId
    isp: Text | None
    state: str
    reason: str
    value: float
    since: float
    have: Share = 0.0
    trouble: Text = ""


class PlacementPage(Struct, frozen=True):
    """Placements now in force, and the last decisions to drop some."""

    placements: Annotated[list[Placement], Meta(max_length=10_000)]
    dropped: Annotated[list[Placement], Meta(max_length=1000)] = []


class NodeView(Struct, frozen=True):
    """A super node as the manager knows it: `whole` and `filling` are resources, `upload_rate` is bytes a second.

    One that is `draining` is being stopped: it keeps what it has, for `patience`, and gets nothing new.
    """

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
    whole: Count = 0
    filling: Count = 0
    upload_rate: float = 0.0
    draining: bool = False


class NodePage(Struct, frozen=True):
    """Registered super nodes."""

    nodes: Annotated[list[NodeView], Meta(max_length=10_000)]


class HeldPage(Struct, frozen=True):
    """What one super node said that it holds, by resource."""

    held: Annotated[list[Held], Meta(max_length=10_000)]


class RuleRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """An operator wants a resource pinned, preheated or blocked, in one ISP or (null) in all.

    `length` is its bytes, needed when nobody has reported on it yet. `seconds` is how long the rule holds; without it
    a preheat holds for a day, others until they are taken back.
    """

    kind: RuleKind
    resource: ResourceId
    isp: Text | None = None
    length: Count = 0
    seconds: Annotated[float, Meta(gt=0, le=10 * 366 * 86_400)] | None = None
    note: Text = ""


class RuleView(Struct, frozen=True):
    """A rule as it stands; `since` and `until` (null: until taken back) are seconds since 1970, `by` is a node id."""

    number: Count
    kind: RuleKind
    resource: ResourceId
    isp: Text | None
    length: Count
    since: float
    until: float | None
    by: str
    note: Text


class RulePage(Struct, frozen=True):
    """Rules by number."""

    rules: Annotated[list[RuleView], Meta(max_length=10_000)]


class Target(Struct, frozen=True):
    """What became of a rule in one ISP, on one super node (null: none).

    `state` is ordered, filling, held, failed, going, waiting (no decision or no room yet), no-supernode, blocked or
    over.
    """

    isp: Text
    node_id: NodeId | None
    state: str
    have: Share = 0.0
    reason: str = ""


class RuleStatus(Struct, frozen=True):
    """A rule, and what became of it on each of its targets."""

    rule: RuleView
    targets: Annotated[list[Target], Meta(max_length=10_000)]


class Rehearsal(Struct, frozen=True):
    """What a policy would change now; nothing of it was done. `kept` is how many placements would stay."""

    policy: str
    placed: Annotated[list[Placement], Meta(max_length=10_000)]
    dropped: Annotated[list[Placement], Meta(max_length=10_000)]
    kept: Count
