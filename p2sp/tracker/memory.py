"""How are swarms kept in this process's memory?"""

from heapq import nlargest
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2sp.net.ratelimit import client_key
from p2sp.tracker.books import AddressBook, NodeBook
from p2sp.tracker.entry import Admission, Candidates, Entry, Limits, Occupancy, Summary, Viewpoint, part_of
from p2sp.tracker.interfaces import ISwarmStore
from p2sp.tracker.swarm import Swarm, concerns

if TYPE_CHECKING:
    from random import Random

NEIGHBOURS: Final = 32
"""How many nodes behind the asker's own address are looked at."""


class _Queue:
    """Entries in the order of their last announce, the silent in front: a list through the entries themselves."""

    def __init__(self, expiry: float) -> None:
        self.expiry = expiry
        self.oldest: Entry | None = None
        self._newest: Entry | None = None
        self.size = 0

    def silent(self, now: float) -> Entry | None:
        """Somebody who was silent for too long."""
        oldest = self.oldest
        return oldest if oldest is not None and now - oldest.seen >= self.expiry else None

    def put(self, entry: Entry) -> None:
        entry.older, entry.newer = self._newest, None
        if self._newest is None:
            self.oldest = entry
        else:
            self._newest.newer = entry
        self._newest = entry
        self.size += 1

    def take(self, entry: Entry) -> None:
        if entry.older is None:
            self.oldest = entry.newer
        else:
            entry.older.newer = entry.newer
        if entry.newer is None:
            self._newest = entry.older
        else:
            entry.newer.older = entry.older
        entry.older = entry.newer = None
        self.size -= 1


@implementer(ISwarmStore)
class MemorySwarmStore:
    """Swarms in dicts; nothing survives the process. `expiry` in seconds of silence, `foreign` for foreign clients.

    The candidates it names are its own entries, good until the next announce: whoever asks reads them at once.
    """

    def __init__(self, expiry: float, limits: Limits | None = None, *, foreign: float | None = None) -> None:
        if not expiry > 0:
            raise ValueError(f"the expiry must be positive, not {expiry}")
        self._ours = _Queue(expiry)
        self._foreign = _Queue(foreign or expiry)
        self._limits = limits or Limits()
        self._swarms: dict[str, Swarm] = {}
        self._nodes = NodeBook()
        self._addresses = AddressBook()

    def announce(self, entry: Entry) -> Deferred[Admission]:
        self._expire(entry.seen)
        earlier = self._nodes.find(entry.node_id, entry.resource)
        admission = self._judge(entry, earlier)
        if admission is not Admission.LISTED:
            if earlier is not None:
                self._take(earlier)
        elif earlier is None:
            self._put(entry)
        else:
            self._renew(earlier, entry)
        return succeed(admission)

    def leave(self, resource: str, node_id: str, session: str, now: float) -> Deferred[bool]:
        self._expire(now)
        entry = self._nodes.find(node_id, resource)
        if entry is None or entry.session != session:
            return succeed(False)
        self._take(entry)
        return succeed(True)

    def look(
        self, resource: str, viewpoint: Viewpoint, inside: int, outside: int, now: float, rng: "Random"
    ) -> Deferred[Candidates]:
        self._expire(now)
        swarm = self._swarms.get(resource)
        if swarm is None:
            return succeed(Candidates())
        entries: list[Entry] = []
        if inside or outside:
            entries = swarm.draw(viewpoint, inside, outside, rng)
            neighbours = self._addresses.neighbours(viewpoint.host, resource, NEIGHBOURS)
            near = [each for each in neighbours if concerns(each, viewpoint)]
            if near:
                drawn = set(map(id, entries))
                entries += [each for each in near if id(each) not in drawn]
        return succeed(Candidates(tuple(entries), swarm.seeds, swarm.leeches, swarm.completions))

    def expire(self, now: float) -> Deferred[int]:
        return succeed(self._expire(now))

    def summaries(self, most: int, now: float) -> Deferred[list[Summary]]:
        self._expire(now)
        largest = nlargest(most, self._swarms.values(), key=len)
        return succeed([Summary(swarm.key, swarm.seeds, swarm.leeches) for swarm in largest])

    def occupancy(self, now: float) -> Deferred[Occupancy]:
        self._expire(now)
        return succeed(Occupancy(len(self._swarms), self._size, len(self._nodes)))

    def close(self) -> Deferred[None]:
        return succeed(None)

    def _judge(self, entry: Entry, earlier: Entry | None) -> Admission:
        limits = self._limits
        if earlier is None:
            if self._size >= limits.entries:
                return Admission.TOO_MANY_ENTRIES
            if entry.resource not in self._swarms and len(self._swarms) >= limits.swarms:
                return Admission.TOO_MANY_SWARMS
        if entry.supernode:
            return Admission.LISTED
        newcomer = earlier is None or earlier.supernode
        if newcomer:
            swarm = self._swarms.get(entry.resource)
            if swarm is not None and swarm.ordinary >= limits.nodes_per_swarm:
                return Admission.SWARM_FULL
            if self._nodes.count(entry.node_id) >= limits.swarms_per_node:
                return Admission.NODE_IN_TOO_MANY
        moved = newcomer or (
            earlier is not None and earlier.host != entry.host and client_key(earlier.host) != client_key(entry.host)
        )
        if moved and self._addresses.count(entry.host) >= limits.entries_per_address:
            return Admission.ADDRESS_HAS_TOO_MANY
        return Admission.LISTED

    def _put(self, entry: Entry) -> None:
        swarm = self._swarms.get(entry.resource)
        if swarm is None:
            swarm = self._swarms[entry.resource] = Swarm(entry.resource)
        # Every announce brings a string of its own; one for all is enough.
        entry.resource = swarm.key
        swarm.put(entry)
        self._nodes.put(entry)
        self._addresses.put(entry)
        self._queue(entry).put(entry)

    def _renew(self, earlier: Entry, entry: Entry) -> None:
        swarm = self._swarms[earlier.resource]
        if entry.seed and not earlier.seed and not entry.supernode:
            swarm.completions += 1
        if _standing(earlier) != _standing(entry):
            swarm.take(earlier)
            self._addresses.take(earlier)
            earlier.renew(entry)
            swarm.put(earlier)
            self._addresses.put(earlier)
        else:
            earlier.renew(entry)
        queue = self._queue(earlier)
        queue.take(earlier)
        queue.put(earlier)

    def _take(self, entry: Entry) -> None:
        self._queue(entry).take(entry)
        self._nodes.take(entry)
        self._addresses.take(entry)
        swarm = self._swarms[entry.resource]
        swarm.take(entry)
        if not len(swarm):
            del self._swarms[entry.resource]

    def _queue(self, entry: Entry) -> _Queue:
        # A foreign client's id is no node id, so that an entry never changes its queue.
        return self._foreign if entry.foreign else self._ours

    @property
    def _size(self) -> int:
        return self._ours.size + self._foreign.size

    def _expire(self, now: float) -> int:
        gone = 0
        for queue in (self._ours, self._foreign):
            while (silent := queue.silent(now)) is not None:
                self._take(silent)
                gone += 1
        return gone


def _standing(entry: Entry) -> tuple[object, ...]:
    """Everything by which an entry is filed."""
    return (part_of(entry), entry.seed, entry.speech, entry.isp, entry.host, bool(entry.port))
