"""How does a super node's cache come to be what the manager wants it to be, and what readers ask for?"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from p2sp.download.node import Node
from p2sp.manager.schema import Held, Order, Trouble
from p2sp.resource.descriptor import Torrent
from p2sp.resource.errors import ResourceError
from p2sp.resource.verification import described
from p2sp.storage.interfaces import StorageError
from p2sp.supernode.cache import Entry, Wish, plan
from p2sp.supernode.departures import Departures
from p2sp.supernode.descriptions import Descriptions
from p2sp.supernode.fills import LINGER, Fill, next_fills
from p2sp.supernode.interfaces import Elsewhere, ICacheView, Served, Unavailable
from p2sp.supernode.shelf import TORRENT, Shelf, clear, read_shelf
from p2sp.supernode.window import is_read_elsewhere, once

MAX_TROUBLES = 1000
MAX_REASON = 200

MAX_READ_THROUGH = 32
"""Fills at a time that readers alone have begun."""


@implementer(ICacheView)
class Keeper:
    """The cache: shelves by resource id, and the way from orders and readers to shelves.

    What is ordered is filled, a few at a time, most valuable first; what nobody ordered stays while there is space.
    Who reads what is evicted reads it to its end, and its space is free only then. With `read_through` what a reader
    misses is taken in, where the index knows it and no order needs the space.
    """

    log = Logger()

    def __init__(
        self,
        node: Node,
        folder: Path,
        capacity: int,
        fills: int,
        *,
        read_through: bool = False,
        own_url: str | None = None,
    ) -> None:
        assert node.index is not None
        self._node = node
        self._folder = folder
        self._capacity = capacity
        self._fills = fills
        self._read_through = read_through
        self._own_url = own_url
        self._shelves: dict[str, Shelf] = {}
        self._departures = Departures(node.reactor.seconds, self._gone)
        self._waiting: list[tuple[Order, Torrent]] = []
        self._descriptions = Descriptions(node.index, node.reactor)
        self._wishes: list[Wish] | None = None
        # One at a time decides what comes and goes.
        self._deciding = DeferredLock()
        self._troubles: dict[str, str] = {}
        self._uploaded_before = 0
        self._restored = False
        self._leaving = False

    # -- ICacheView ------------------------------------------------------------------------------------------

    def lookup(self, resource_id: str) -> Served | None:
        shelf = self._shelves.get(resource_id)
        return None if shelf is None else Served(shelf.content, shelf.store, shelf.sha256)

    def missed(self, resource_id: str) -> "Deferred[Served | None]":
        return Deferred.fromCoroutine(self._missed(resource_id))

    async def _missed(self, resource_id: str) -> Served | None:
        if not self._restored or self._leaving:
            raise Unavailable("the cache is being closed" if self._leaving else "the cache is being opened", 1)
        if not self._read_through:
            if (leaving := self._departures.get(resource_id)) is not None:
                raise Unavailable("it is being evicted", 60, self._elsewhere(leaving.torrent))
            return None
        torrent = await self._descriptions.for_reader(resource_id)
        if torrent is None:
            return None
        async with self._deciding:
            if resource_id not in self._shelves:
                await self._admit(resource_id, torrent)
        return self.lookup(resource_id)

    def _elsewhere(self, torrent: Torrent) -> Elsewhere | None:
        mirrors = self._without_us(torrent).mirrors
        return Elsewhere(described(torrent.descriptor), mirrors) if mirrors else None

    def reading(self, resource_id: str, via: Iterable[str] = ()) -> Callable[[], None]:
        shelf = self._shelves[resource_id]
        shelf.readers += 1
        shelf.asked_by.update(via)

        def release() -> None:
            shelf.readers -= 1
            shelf.asked_by.subtract(via)
            for name in via:
                if not shelf.asked_by[name]:
                    # What anybody may call himself is not remembered.
                    del shelf.asked_by[name]
            shelf.used(0)
            if not shelf.readers:
                self._departures.look()

        return once(release)

    def wanted(self, resource_id: str, piece: int) -> None:
        shelf = self._shelves.get(resource_id)
        if shelf is not None and shelf.may_fill and not self._leaving:
            shelf.fill()

    def served(self, resource_id: str, count: int) -> None:
        shelf = self._shelves.get(resource_id) or self._departures.get(resource_id)
        if shelf is not None:
            shelf.used(count)

    # -- what there is ---------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Take up what an earlier run left; what cannot be used is named and left alone."""
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            if not re.fullmatch(r"[0-9a-f]{64}", folder.name) or folder.name in self._shelves:
                continue
            if folder.is_dir() and not (folder / TORRENT).exists():
                await self._node.pool.run(clear, folder)
                continue
            try:
                torrent = read_shelf(folder)
                if torrent.descriptor.resource_id.hex() != folder.name:
                    raise ResourceError("it describes another resource")
                await self._open(folder.name, torrent)
            except (OSError, ResourceError, StorageError) as error:
                self.log.warn("{folder} is not taken up: {reason}", folder=str(folder), reason=str(error))
        self._restored = True

    @property
    def used(self) -> int:
        """Bytes that the shelves take or will take, with those that are evicted and not gone yet."""
        return sum(shelf.size for shelf in self._all())

    @property
    def uploaded(self) -> int:
        """Bytes served since the start."""
        return self._uploaded_before + sum(shelf.uploaded for shelf in self._all())

    def _all(self) -> list[Shelf]:
        return [*self._shelves.values(), *self._departures.shelves]

    def held(self) -> list[Held]:
        """The inventory, for the heartbeat."""
        return [
            Held(
                resource=shelf.resource,
                bytes=shelf.size,
                have=shelf.have,
                served=shelf.uploaded,
                idle_seconds=shelf.idle,
            )
            for shelf in self._shelves.values()
        ]

    @property
    def leaving(self) -> int:
        """Resources that are evicted and still read."""
        return len(self._departures.shelves)

    def troubles(self) -> list[Trouble]:
        """Why what is ordered cannot be held, for the heartbeat."""
        found = {
            shelf.resource: shelf.complaint for shelf in self._shelves.values() if shelf.ordered and shelf.complaint
        }
        listed = [Trouble(resource, reason[:MAX_REASON]) for resource, reason in (self._troubles | found).items()]
        return listed[:MAX_TROUBLES]

    # -- what there shall be ---------------------------------------------------------------------------------

    async def follow(self, desired: Sequence[Order]) -> None:
        """Bring the cache in line with the orders, as far as it can be done now; nothing once it is being left."""
        if self._leaving:
            return
        self._troubles = {}
        torrents = await self._describe([order.resource for order in desired])
        known = [order for order in desired if order.resource in torrents]
        async with self._deciding:
            self._wishes = [Wish(order.resource, torrents[order.resource].descriptor.length) for order in known]
            for shelf in self._shelves.values():
                shelf.ordered, shelf.value = False, 0.0
            for order in desired:
                if order.resource in self._shelves:
                    self._shelves[order.resource].value = order.value
            todo = plan(self._capacity, self._entries(), self._wishes)
            await self._evict(todo.evict)
            for resource in todo.refused:
                self._troubles[resource] = "it does not fit into the cache"
                self.log.info("{resource} does not fit into the cache", resource=resource)
            orders = {order.resource: order for order in known}
            await self._hold_all([(orders[resource], torrents[resource]) for resource in todo.hold])
        self.arrange()

    async def _describe(self, resources: Iterable[str]) -> dict[str, Torrent]:
        """The descriptors of what is ordered, as far as the index knows them."""
        ordered = list(dict.fromkeys(resources))
        inside = {each: self._shelves[each] for each in ordered if each in self._shelves}
        # Where a fill has failed there may be other mirrors by now.
        anew = {resource for resource, shelf in inside.items() if shelf.failures and shelf.may_fill}
        wanted = [each for each in ordered if each not in inside or each in anew]
        found, failed = await self._descriptions.of_many(wanted, anew)
        for resource in anew & found.keys():
            inside[resource].torrent = self._without_us(found[resource])
        for resource in failed.keys() - inside.keys():
            reason = str(failed[resource])
            self._troubles[resource] = f"it is not known: {reason}"
            self.log.warn("{resource} is ordered but not known: {reason}", resource=resource, reason=reason)
        return {resource: shelf.torrent for resource, shelf in inside.items()} | found

    def _entries(self) -> list[Entry]:
        return [
            Entry(s.resource, s.size, s.idle, s.value, needed=s.readers > 0 and s.moving)
            for s in self._shelves.values()
        ]

    async def _evict(self, resources: Iterable[str]) -> None:
        for resource in resources:
            await self._departures.see_off(self._shelves.pop(resource))

    def _gone(self, shelf: Shelf) -> None:
        self._uploaded_before += shelf.uploaded
        if self._waiting and not self._leaving:
            Deferred.fromCoroutine(self._hold_waiting()).addErrback(
                lambda failure: self.log.failure("what waits for space cannot be held", failure)
            )

    async def _hold_waiting(self) -> None:
        async with self._deciding:
            await self._hold_all(self._waiting)
        self.arrange()

    async def _hold_all(self, wanted: Sequence[tuple[Order, Torrent]]) -> None:
        """Hold what has its space, the rest once those who read what was evicted are done."""
        self._waiting = []
        for order, torrent in wanted:
            resource = order.resource
            if resource not in self._shelves:
                if not self._has_space(resource, torrent):
                    self._waiting.append((order, torrent))
                    continue
                try:
                    await self._open(resource, torrent)
                except (OSError, StorageError) as error:
                    self._troubles[resource] = f"it cannot be held: {error}"
                    self.log.error("{resource} cannot be held: {reason}", resource=resource, reason=str(error))
                    continue
            shelf = self._shelves[resource]
            shelf.ordered, shelf.value, shelf.reason = True, order.value, order.reason

    def _has_space(self, resource: str, torrent: Torrent, evicted: int = 0) -> bool:
        """Whether there is space now, with so many bytes `evicted`; what is leaving comes back in its own."""
        if self._departures.get(resource) is not None:
            return self._departures.may_stay(resource)
        return self.used - evicted + torrent.descriptor.length <= self._capacity

    async def _admit(self, resource: str, torrent: Torrent) -> None:
        """Take in what a reader asks for, in place of what nobody ordered. Raises Unavailable."""
        if sum(shelf.filling is not None and not shelf.ordered for shelf in self._shelves.values()) >= MAX_READ_THROUGH:
            raise Unavailable("too much is being fetched for others", 10, self._elsewhere(torrent))
        evict: Sequence[str] = ()
        full = False
        # Before the first orders nobody has said what of all that is here is worth keeping.
        if self._wishes is not None:
            todo = plan(self._capacity, self._entries(), [*self._wishes, Wish(resource, torrent.descriptor.length)])
            evict = todo.evict
            # One reader's wish is no reason to take from others what they read.
            full = resource in todo.refused or any(map(self._is_read, evict))
        freed = sum(self._shelves[each].size for each in evict)
        if full or not self._has_space(resource, torrent, freed):
            raise Unavailable("the cache has no room for it", 60, self._elsewhere(torrent))
        try:
            await self._evict(evict)
            await self._open(resource, torrent, in_order=True)
        except (OSError, StorageError) as error:
            self.log.error("{resource} cannot be held: {reason}", resource=resource, reason=str(error))
            raise Unavailable("the cache cannot take it in", 60, self._elsewhere(torrent)) from error

    def _is_read(self, resource: str) -> bool:
        return self._shelves[resource].readers > 0 or is_read_elsewhere(self._folder / resource)

    async def _open(self, resource: str, torrent: Torrent, *, in_order: bool = False) -> None:
        """Have it on a shelf, of what lies in its folder or is leaving. Raises OSError, StorageError."""
        torrent, folder = self._without_us(torrent), self._folder / resource
        if self._departures.get(resource) is not None:
            shelf = await self._departures.take_back(resource)
        else:
            shelf = await Shelf.open(self._node, folder, torrent, self.arrange, in_order=in_order)
        self._shelves[resource] = shelf
        if shelf.store.complete and not shelf.store.finished:
            shelf.fill()

    def _without_us(self, torrent: Torrent) -> Torrent:
        """Who would fetch from himself what he does not have waits for ever."""
        own = self._own_url
        mirrors = tuple(url for url in torrent.mirrors if own is None or not url.startswith(own))
        return attrs.evolve(torrent, mirrors=mirrors)

    def arrange(self) -> None:
        """Begin the fills whose turn it is, and end those that nobody wants any more; to be called now and then."""
        if self._leaving:
            return
        shelves = self._shelves.values()
        states = [Fill(s.resource, s.value, s.moving) for s in shelves if s.ordered and (s.moving or s.may_fill)]
        for resource in next_fills(states, self._fills):
            self._shelves[resource].fill()
        for shelf in list(shelves):
            shelf.look()
            if not shelf.ordered and shelf.filling is not None and shelf.idle > LINGER:
                shelf.rest()
        self._departures.look()

    async def leave(self) -> None:
        """Take on nothing new, announce nothing and let peers go; what readers wait for still comes."""
        self._leaving = True
        quiet = [shelf for shelf in self._shelves.values() if not (shelf.readers and shelf.filling is not None)]
        await gatherResults([Deferred.fromCoroutine(shelf.withdraw()) for shelf in quiet], consumeErrors=True)

    async def close(self) -> None:
        """Let go of everything; it stays on disk."""
        self._leaving = True
        shelves, self._shelves = list(self._shelves.values()), {}
        # All at once: each may have a tracker to say goodbye to that does not answer.
        await gatherResults([Deferred.fromCoroutine(shelf.close()) for shelf in shelves], consumeErrors=True)
        await self._departures.close()
