"""What do nodes and trackers say to each other?"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from p2sp.net.fields import Count, InfoHashV1, NodeIdOrNone, Port, ResourceId, SessionId, Share, Text

MOST_SUMMARIES = 5_000
"""Swarms that a local tracker tells of."""

LONGEST_INTERVAL = 86_400.0
"""Seconds that no answer asks a node to wait for longer."""


class Event(StrEnum):
    """Why a node announces (BEP 3)."""

    STARTED = "started"
    PROGRESS = "progress"
    COMPLETED = "completed"
    STOPPED = "stopped"


class Scope(StrEnum):
    """What part of the network a tracker serves."""

    GLOBAL = "global"
    LOCAL = "local"


class Counters(Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes since the session began; they only grow. Down by kind of source, peers by whether they are in our ISP."""

    server: Count = 0
    supernode: Count = 0
    peer_local: Count = 0
    peer_remote: Count = 0
    up: Count = 0


class AnnounceRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """One node's state in one swarm, and the account of its session so far.

    `session` names the account: made anew by the node for each download. `port` is where its wire listens, 0 for
    nowhere. `left` and `length` are bytes; `length` is 0 while the descriptor is unknown. `rate` is the download rate
    in bytes a second. `home` says that this tracker is to forward the counters; a node names one so, and a second one
    when it leaves, since the first may die before it has.
    `wanted` is how many nodes it can use. `clear` says that it also talks to foreign BitTorrent clients, in clear text
    at the same port; `v1` is the info-hash by which those of BitTorrent v1 know the resource, if it has one.
    """

    resource: ResourceId
    session: SessionId
    event: Event
    port: Port
    length: Count
    left: Count
    counters: Counters
    rate: Count = 0
    stalled_ms: Count = 0
    home: bool = True
    wanted: Annotated[int, Meta(ge=0, le=200)] = 50
    clear: bool = False
    v1: InfoHashV1 | None = None


class Node(Struct, frozen=True):
    """A node to connect to: the address it was seen at, the port it named, the key it proved.

    An empty `node_id` is a foreign client's, to be talked to in clear text. `local` is in the asker's ISP, `lan` behind
    the asker's own address.
    """

    node_id: NodeIdOrNone
    host: Text
    port: Port
    supernode: bool = False
    local: bool = False
    lan: bool = False
    have: Share = 0.0


class TrackerRef(Struct, frozen=True):
    """A tracker to use besides the one that answers."""

    url: Text
    scope: Scope


class AnnounceAnswer(Struct, frozen=True):
    """Whom to connect to, and when to come back.

    `epoch` changes when the tracker lost its memory. `address` and `isp` are how the tracker sees the node (None:
    unknown ISP, never local to anything). `seeds` and `leeches` count the swarm as far as this tracker has heard of it,
    from its nodes and from local trackers, and `known` is the share of those that it could name.
    """

    interval: Annotated[float, Meta(gt=0, le=LONGEST_INTERVAL)]
    epoch: Text
    address: Text
    isp: Text | None = None
    nodes: Annotated[list[Node], Meta(max_length=200)] = []
    trackers: Annotated[list[TrackerRef], Meta(max_length=16)] = []
    seeds: Count = 0
    leeches: Count = 0
    known: Share = 1.0


class SwarmSummary(Struct, frozen=True, forbid_unknown_fields=True):
    """How many nodes a tracker knows in a swarm, which `swarm` names by the first 40 digits of the resource id."""

    swarm: InfoHashV1
    seeds: Count = 0
    leeches: Count = 0


class Registration(Struct, frozen=True, forbid_unknown_fields=True):
    """A local tracker says to the global one that it serves these ISPs, and what its largest swarms are."""

    url: Text
    isps: Annotated[list[Text], Meta(min_length=1, max_length=1000)]
    swarms: Annotated[list[SwarmSummary], Meta(max_length=MOST_SUMMARIES)] = []


class RegistrationAnswer(Struct, frozen=True):
    """When to register again."""

    interval: Annotated[float, Meta(gt=0, le=LONGEST_INTERVAL)]
