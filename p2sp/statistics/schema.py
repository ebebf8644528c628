"""What do trackers tell the statistics server, and what does it tell the manager?"""

from typing import Annotated

from msgspec import Meta, Struct

from p2sp.net.fields import Count, NodeId, ResourceId, SessionId, Text
from p2sp.sketches import distinct, rates
from p2sp.tracker.schema import Counters, Event


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


Bucket = Annotated[int, Meta(ge=0, lt=rates.BUCKETS)]
"""Of rates; `sketches.rates.rate_of` says which."""


class Rollup(Struct, frozen=True):
    """Everything that happened to one resource in one ISP in one interval.

    `start` and `seconds` bound the interval. Bytes are what clients received, by kind of source, and `fill` what
    super nodes fetched. `clients` counts distinct nodes that received bytes, `speed` is their volume-weighted mean
    download rate in bytes a second, `slow` the rate at or below which a fifth of the bytes came. `completed` and
    `failed` are downloads; failed is one that stopped before it had everything.

    What cannot be added is there to be merged: `nodes` is the sketch of the clients' node ids (`sketches.distinct`),
    `speeds` the bytes by bucket of rate (`sketches.rates`).

    `revision` grows with every change: a reader asks for what is newer than the last one it saw. What is old is
    summed up in longer intervals; such a rollup stands for all that it covers, and comes with the largest of their
    revisions, so that who has seen them does not see it.
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
    failed: Count = 0
    slow: float = 0.0
    speeds: Annotated[dict[Bucket, Count], Meta(max_length=rates.BUCKETS)] = {}
    nodes: Annotated[bytes, Meta(max_length=distinct.MOST_BYTES)] = b""


class RollupPage(Struct, frozen=True):
    """Rollups changed after the cursor, oldest change first. `cursor` is where to go on; `more` says at once.

    `newest` is the last revision given out (0: none yet). When it is below a reader's cursor, the server has gone back
    to an older state (a restored backup), and what the reader knows is to be read anew.
    """

    rollups: Annotated[list[Rollup], Meta(max_length=1000)]
    cursor: Count
    more: bool
    newest: Count = 0


class ResourceRollups(Struct, frozen=True):
    """What happened to one resource, newest interval first."""

    rollups: Annotated[list[Rollup], Meta(max_length=1000)]


class HotResource(Struct, frozen=True):
    """What one resource was wanted for in a window of time: bytes by kind, distinct clients, how fast it came.

    `isps` is in how many ISPs; `speed`, `slow`, `clients`, `completed` and `failed` are as in a rollup.
    """

    resource: ResourceId
    length: Count
    volume: Count
    server: Count
    supernode: Count
    peer_local: Count
    peer_remote: Count
    fill: Count
    isps: Count
    clients: Count
    speed: float
    slow: float
    stalled_ms: Count
    completed: Count
    failed: Count

    @property
    def imported(self) -> float:
        """The share that came from outside the ISPs."""
        return (self.server + self.peer_remote) / self.volume if self.volume else 0.0


class HotPage(Struct, frozen=True):
    """What was wanted most, most bytes first."""

    resources: Annotated[list[HotResource], Meta(max_length=100)]


class Moment(Struct, frozen=True):
    """What happened from `start` for `seconds`: bytes by kind, and the mean download rate (0: unknown)."""

    start: float
    seconds: float
    server: Count
    supernode: Count
    peer_local: Count
    peer_remote: Count
    fill: Count
    speed: float
    stalled_ms: Count
    completed: Count
    failed: Count


class Course(Struct, frozen=True):
    """How it went, moment by moment, oldest first; moments in which nothing happened are there, too."""

    moments: Annotated[list[Moment], Meta(max_length=1000)]


class IspFigures(Struct, frozen=True):
    """What one ISP (None: the unknown one) received in a window of time.

    `offload` is the share of the delivered bytes that did not come from resource servers. `imported` is bytes that
    crossed the ISP's border, also to fill super nodes, and `copies` how many times they are the resources' lengths.
    """

    isp: str | None
    resources: Count
    length: Count
    volume: Count
    server: Count
    supernode: Count
    peer_local: Count
    peer_remote: Count
    fill: Count
    imported: Count
    offload: float
    copies: float
    speed: float
    stalled_ms: Count
    completed: Count
    failed: Count


class IspPage(Struct, frozen=True):
    """ISPs, most bytes first."""

    isps: Annotated[list[IspFigures], Meta(max_length=1000)]
