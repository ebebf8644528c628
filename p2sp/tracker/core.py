"""What does a tracker do with an announce, whatever way it came in?"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
from twisted.logger import Logger

from p2sp.locality.network_map import NetworkMap, is_local
from p2sp.net.trust import Caller
from p2sp.tracker.accounting import Accounting, sample_of
from p2sp.tracker.interfaces import ISwarmStore
from p2sp.tracker.registry import LocalTrackers
from p2sp.tracker.schema import LONGEST_INTERVAL, AnnounceAnswer, AnnounceRequest, Event, Node, Scope, TrackerRef
from p2sp.tracker.selection import Policy, Viewpoint
from p2sp.tracker.swarm import Admission, Candidates, Entry

if TYPE_CHECKING:
    from random import Random

SUPERNODE_ROLE: Final = "supernode"
# Nodes that all started at once must not come back all at once.
JITTER: Final = 0.1


@attrs.define
class Tracker:
    """A tracker without its network: swarms, choice of nodes, and the account of the downloads.

    `interval` is in seconds. `now` never goes back and counts silence, `wall` is seconds since 1970 and stamps
    samples. `epoch` is made anew with each empty store. `home` and `others` are the trackers it can name besides
    itself.
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
    registry: LocalTrackers | None = None
    accounting: Accounting | None = None
    others: tuple[TrackerRef, ...] = ()
    log = Logger()

    async def announce(self, caller: Caller, address: str, request: AnnounceRequest) -> AnnounceAnswer:
        """Note a node's state in a swarm and name nodes to it.

        The node is `caller` at the observed `address`; nothing in the request can make it another. A node that
        a limit keeps out of the store is answered all the same. Raises ValueError when more is left than there is.
        """
        if request.left > request.length > 0:
            raise ValueError(f"{request.left} bytes cannot be left of {request.length}")
        isp = None if self.network_map is None else self.network_map.isp_of(address)
        now = self.now()
        supernode = SUPERNODE_ROLE in caller.roles
        entry = Entry(
            resource=request.resource,
            node_id=caller.node_id,
            session=request.session,
            host=address,
            port=request.port,
            isp=isp,
            left=request.left,
            length=request.length,
            seen=now,
            supernode=supernode,
        )
        if self.accounting is not None and request.home:
            self.accounting.add(
                sample_of(request, node_id=caller.node_id, isp=isp, supernode=supernode, at=self.wall())
            )
        candidates = await self._note(entry, request)
        viewpoint = Viewpoint(caller.node_id, address, isp, entry.seed)
        chosen = self.policy(viewpoint, candidates, request.wanted, self.rng)
        return AnnounceAnswer(
            interval=min(self.interval * self.rng.uniform(1.0 - JITTER, 1.0 + JITTER), LONGEST_INTERVAL),
            epoch=self.epoch,
            address=address,
            isp=isp,
            nodes=[_as_node(each, isp) for each in chosen],
            trackers=self._trackers(isp, now),
            seeds=candidates.seeds,
            leeches=candidates.leeches,
        )

    async def _note(self, entry: Entry, request: AnnounceRequest) -> Candidates:
        wanted = request.wanted
        if request.event is Event.STOPPED:
            await self.store.leave(entry.resource, entry.node_id, entry.session, entry.seen)
            wanted = 0
        else:
            admission = await self.store.announce(entry)
            if admission is not Admission.LISTED:
                self.log.debug("{node} is not listed: {why}", node=entry.node_id, why=admission.value)
        return await self.store.look(entry.resource, entry.node_id, entry.isp, wanted, entry.seen, self.rng)

    def _trackers(self, isp: str | None, now: float) -> list[TrackerRef]:
        local = [] if self.registry is None else self.registry.serving(isp, now)
        return [*self.others, *local][:16]


def _as_node(entry: Entry, isp: str | None) -> Node:
    return Node(
        node_id=entry.node_id,
        host=entry.host,
        port=entry.port,
        supernode=entry.supernode,
        local=is_local(entry.isp, isp),
        have=entry.have,
    )
