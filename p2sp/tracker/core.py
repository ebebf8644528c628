"""What does a tracker do with an announce, whatever way it came in?"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger

from p2sp.locality.asn import AsnTable
from p2sp.locality.lan import lan_of
from p2sp.locality.network_map import NetworkMap, is_local
from p2sp.net.trust import Caller
from p2sp.tracker.accounting import Accounting, sample_of
from p2sp.tracker.entry import Admission, Candidates, Entry, Speech, Viewpoint, swarm_key
from p2sp.tracker.foreign_accounts import KnownResources
from p2sp.tracker.interfaces import ISwarmStore
from p2sp.tracker.registry import LocalTrackers
from p2sp.tracker.schema import LONGEST_INTERVAL, AnnounceAnswer, AnnounceRequest, Event, Node, Scope, TrackerRef
from p2sp.tracker.selection import Policy

if TYPE_CHECKING:
    from random import Random

SUPERNODE_ROLE: Final = "supernode"
# Nodes that all started at once must not come back all at once.
JITTER: Final = 0.1


@attrs.define
class Tally:
    """What was done since the start: announces by event, those kept out of the swarms by limit, nodes named."""

    announces: Counter[str] = attrs.field(factory=Counter)
    unlisted: Counter[str] = attrs.field(factory=Counter)
    named: int = 0


@attrs.define
class Tracker:
    """A tracker without its network: swarms, choice of nodes, and the account of the downloads.

    `interval` is in seconds. `now` never goes back and counts silence, `wall` is seconds since 1970 and stamps
    samples. Where the network map knows no ISP, `asns` may. `epoch` is made anew with each empty store.
    `others` are the trackers it can name besides itself. `resources` learns what the swarms are of.
    """

    scope: Scope
    epoch: str
    interval: float
    store: ISwarmStore
    policy: Policy
    now: Callable[[], float]
    wall: Callable[[], float]
    rng: "Random"
    network_map: NetworkMap | None = None
    asns: AsnTable | None = None
    registry: LocalTrackers | None = None
    accounting: Accounting | None = None
    resources: KnownResources | None = None
    others: tuple[TrackerRef, ...] = ()
    tally: Tally = attrs.field(factory=Tally)
    log = Logger()

    async def announce(self, caller: Caller, address: str, request: AnnounceRequest) -> AnnounceAnswer:
        """Note a node's state in a swarm and name nodes to it.

        The node is `caller` at the observed `address`; nothing in the request can make it another. A node that
        a limit keeps out of the store is answered all the same. Raises ValueError when more is left than there is.
        """
        if request.left > request.length > 0:
            raise ValueError(f"{request.left} bytes cannot be left of {request.length}")
        self.tally.announces[request.event.value] += 1
        isp = self.isp_of(address)
        now = self.now()
        supernode = SUPERNODE_ROLE in caller.roles
        entry = Entry(
            resource=swarm_key(request.resource),
            node_id=caller.node_id,
            session=request.session,
            host=address,
            port=request.port,
            isp=isp,
            left=request.left,
            length=request.length,
            seen=now,
            supernode=supernode,
            speech=Speech.BOTH if request.clear else Speech.TLS,
        )
        if self.accounting is not None and request.home:
            self.accounting.add(
                sample_of(request, node_id=caller.node_id, isp=isp, supernode=supernode, at=self.wall())
            )
        if self.resources is not None:
            self.resources.learn(request.resource, request.length, request.v1)
        swarms = [entry.resource]
        if request.clear and request.v1 is not None:
            # Foreign clients of BitTorrent v1 are a swarm of their own, which this node is in as well.
            swarms.append(request.v1)
        stopped = request.event is Event.STOPPED
        chosen, whole = await self.meet(entry, swarms, 0 if stopped else request.wanted, stopped=stopped)
        seeds, leeches = whole.seeds, whole.leeches
        if self.registry is not None:
            # Nodes of an ISP announce to its tracker, and not all of them here.
            told = self.registry.numbers(entry.resource, now)
            seeds, leeches = max(seeds, told[0]), max(leeches, told[1])
        return AnnounceAnswer(
            interval=self.spread(self.interval),
            epoch=self.epoch,
            address=address,
            isp=isp,
            nodes=_as_nodes(chosen, entry),
            trackers=self._trackers(isp, now),
            seeds=seeds,
            leeches=leeches,
            known=(whole.seeds + whole.leeches) / (seeds + leeches) if seeds + leeches else 1.0,
        )

    def isp_of(self, address: str) -> str | None:
        """The ISP of an observed address; None when nobody knows it."""
        isp = None if self.network_map is None else self.network_map.isp_of(address)
        return self.asns.isp_of(address) if isp is None and self.asns is not None else isp

    def spread(self, interval: float) -> float:
        """An interval give or take a tenth."""
        return min(interval * self.rng.uniform(1.0 - JITTER, 1.0 + JITTER), LONGEST_INTERVAL)

    async def meet(
        self, entry: Entry, swarms: Sequence[str], wanted: int, *, stopped: bool
    ) -> tuple[list[Entry], Candidates]:
        """Let a node join these swarms, or leave them, and choose whom to name to it.

        The second of the answer has everybody who was drawn, and the numbers of the first swarm.
        """
        viewpoint = Viewpoint(entry.node_id, entry.host, entry.isp, entry.seed, entry.speech)
        amounts = self.policy.amounts(viewpoint, wanted)
        found = []
        for swarm in swarms:
            if stopped:
                await self.store.leave(swarm, entry.node_id, entry.session, entry.seen)
            else:
                here = entry if swarm == entry.resource else attrs.evolve(entry, resource=swarm)
                admission = await self.store.announce(here)
                if admission is not Admission.LISTED:
                    self.tally.unlisted[admission.value] += 1
                    self.log.debug("{node} is not listed: {why}", node=entry.node_id, why=admission.value)
            found.append(await self.store.look(swarm, viewpoint, amounts.inside, amounts.outside, entry.seen, self.rng))
        whole = found[0]
        if len(found) > 1:
            whole = attrs.evolve(whole, entries=tuple(each for some in found for each in some.entries))
        chosen = self.policy(viewpoint, whole, wanted, self.rng) if wanted else []
        for each in chosen:
            each.named += 1
        self.tally.named += len(chosen)
        return chosen, whole

    def _trackers(self, isp: str | None, now: float) -> list[TrackerRef]:
        local = [] if self.registry is None else self.registry.serving(isp, now)
        return [*self.others, *local][:16]


def _as_nodes(chosen: Sequence[Entry], asker: Entry) -> list[Node]:
    on_lan, isp = lan_of(asker.host), asker.isp
    return [
        Node(
            "" if each.foreign else each.node_id,
            each.host,
            each.port,
            each.supernode,
            is_local(each.isp, isp),
            on_lan(each.host),
            each.have,
        )
        for each in chosen
    ]
