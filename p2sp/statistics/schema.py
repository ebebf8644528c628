"""What do trackers tell the statistics server, and what does it tell the manager?"""

from typing import Annotated

from msgspec import Meta, Struct

from p2sp.tracker.schema import Count, Counters, Event, NodeId, ResourceId, SessionId, Text


class Sample(Struct, frozen=True, forbid_unknown_fields=True):
    """One announce's accounting as a tracker forwards it.

    The counters are the session's own, cumulative: the server takes the difference to the last it saw of that
    session, so that a sample lost, late or sent twice changes nothing. `at` is seconds since 1970 by the tracker's
    clock. A super node's own downloads are marked: they are fills, not demand.
    """

    session: SessionId
    resource: ResourceId
    node_id: NodeId
    at: float
    event: Event
    counters: Counters
    length: Count
    left: Count
    isp: Text | None = None
    rate: Count = 0
    stalled_ms: Count = 0
    supernode: bool = False


class SampleBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Samples as they came, oldest first."""

    samples: Annotated[list[Sample], Meta(max_length=5000)]


class SampleAnswer(Struct, frozen=True):
    """How many samples were taken; those too old or too far ahead are refused."""

    accepted: int
    refused: int = 0


class Rollup(Struct, frozen=True):
    """Everything that happened to one resource in one ISP in one interval.

    `start` and `seconds` bound the interval. Bytes are what clients received, by kind of source, and `fill` what
    super nodes fetched. `clients` counts distinct nodes that received bytes, `speed` is their volume-weighted mean
    download rate in bytes a second. `revision` grows with every change: a reader asks for what is newer than the last
    one it saw.
    """

    isp: str | None
    resource: ResourceId
    start: float
    seconds: float
    server: Count
    supernode: Count
    peer_local: Count
    peer_remote: Count
    fill: Count
    clients: Count
    speed: float
    stalled_ms: Count
    length: Count
    completed: Count
    revision: Count


class RollupPage(Struct, frozen=True):
    """Rollups changed after the cursor, oldest change first. `cursor` is where to go on; `more` says at once."""

    rollups: Annotated[list[Rollup], Meta(max_length=1000)]
    cursor: Count
    more: bool


class ResourceRollups(Struct, frozen=True):
    """What happened to one resource, newest interval first."""

    rollups: Annotated[list[Rollup], Meta(max_length=1000)]
