"""How are swarms kept in this process's memory?"""

from collections import OrderedDict
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2sp.net.ratelimit import client_key
from p2sp.tracker.interfaces import ISwarmStore
from p2sp.tracker.swarm import Admission, Candidates, Entry, Limits, Occupancy, Swarm

if TYPE_CHECKING:
    from random import Random


@implementer(ISwarmStore)
class MemorySwarmStore:
    """Swarms in dicts; nothing survives the process. `expiry` in seconds of silence."""

    def __init__(self, expiry: float, limits: Limits | None = None) -> None:
        if not expiry > 0:
            raise ValueError(f"the expiry must be positive, not {expiry}")
        self._expiry = expiry
        self._limits = limits or Limits()
        self._swarms: dict[str, Swarm] = {}
        # In the order of last announce, so that the silent stand in front.
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._per_node: dict[str, int] = {}
        self._per_address: dict[str, int] = {}

    def announce(self, entry: Entry) -> Deferred[Admission]:
        self._expire(entry.seen)
        key = (entry.resource, entry.node_id)
        earlier = self._entries.get(key)
        admission = self._judge(entry, earlier)
        if admission is Admission.LISTED:
            self._put(key, entry, earlier)
        elif earlier is not None:
            self._take(earlier)
        return succeed(admission)

    def leave(self, resource: str, node_id: str, session: str, now: float) -> Deferred[bool]:
        self._expire(now)
        entry = self._entries.get((resource, node_id))
        if entry is None or entry.session != session:
            return succeed(False)
        self._take(entry)
        return succeed(True)

    def look(
        self, resource: str, node_id: str, isp: str | None, count: int, now: float, rng: "Random"
    ) -> Deferred[Candidates]:
        self._expire(now)
        swarm = self._swarms.get(resource)
        if swarm is None:
            return succeed(Candidates())
        entries = swarm.draw(node_id, isp, count, rng) if count > 0 else []
        return succeed(Candidates(tuple(entries), swarm.seeds, swarm.leeches))

    def expire(self, now: float) -> Deferred[int]:
        return succeed(self._expire(now))

    def occupancy(self, now: float) -> Deferred[Occupancy]:
        self._expire(now)
        return succeed(Occupancy(len(self._swarms), len(self._entries), len(self._per_node)))

    def close(self) -> Deferred[None]:
        return succeed(None)

    def _judge(self, entry: Entry, earlier: Entry | None) -> Admission:
        limits = self._limits
        if earlier is None:
            if len(self._entries) >= limits.entries:
                return Admission.TOO_MANY_ENTRIES
            if entry.resource not in self._swarms and len(self._swarms) >= limits.swarms:
                return Admission.TOO_MANY_SWARMS
        if entry.supernode:
            return Admission.LISTED
        newcomer = earlier is None or earlier.supernode
        swarm = self._swarms.get(entry.resource)
        if newcomer and swarm is not None and swarm.ordinary >= limits.nodes_per_swarm:
            return Admission.SWARM_FULL
        if newcomer and self._per_node.get(entry.node_id, 0) >= limits.swarms_per_node:
            return Admission.NODE_IN_TOO_MANY
        address = client_key(entry.host)
        moved = newcomer or (earlier is not None and client_key(earlier.host) != address)
        if moved and self._per_address.get(address, 0) >= limits.entries_per_address:
            return Admission.ADDRESS_HAS_TOO_MANY
        return Admission.LISTED

    def _put(self, key: tuple[str, str], entry: Entry, earlier: Entry | None) -> None:
        if earlier is not None:
            self._count(earlier, -1)
        self._count(entry, 1)
        self._swarms.setdefault(entry.resource, Swarm()).put(entry, earlier)
        self._entries[key] = entry
        self._entries.move_to_end(key)

    def _take(self, entry: Entry) -> None:
        del self._entries[(entry.resource, entry.node_id)]
        self._count(entry, -1)
        swarm = self._swarms[entry.resource]
        swarm.take(entry)
        if not swarm:
            del self._swarms[entry.resource]

    def _count(self, entry: Entry, by: int) -> None:
        _add(self._per_node, entry.node_id, by)
        _add(self._per_address, client_key(entry.host), by)

    def _expire(self, now: float) -> int:
        gone = 0
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if now - oldest.seen < self._expiry:
                break
            self._take(oldest)
            gone += 1
        return gone


def _add(table: dict[str, int], key: str, by: int) -> None:
    count = table.get(key, 0) + by
    if count:
        table[key] = count
    else:
        table.pop(key, None)
