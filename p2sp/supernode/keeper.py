"""How does a super node's cache come to be what the manager wants it to be?"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from p2sp.download.node import Node
from p2sp.manager.schema import Held, Order
from p2sp.net.errors import NetError
from p2sp.resource.descriptor import Torrent
from p2sp.resource.errors import ResourceError
from p2sp.storage.interfaces import StorageError
from p2sp.supernode.cache import Entry, Wish, plan
from p2sp.supernode.interfaces import ICacheView, Served
from p2sp.supernode.shelf import Shelf, read_shelf

MAX_DESCRIBED = 1000


@implementer(ICacheView)
class Keeper:
    """The cache: shelves by resource id, and the way from orders to shelves.

    What is ordered is filled, a few at a time, most valuable first; what nobody ordered stays while there is space,
    and what is being read never goes.
    """

    log = Logger()

    def __init__(self, node: Node, folder: Path, capacity: int, fills: int) -> None:
        self._node = node
        self._folder = folder
        self._capacity = capacity
        self._fills = fills
        self._shelves: dict[str, Shelf] = {}
        self._described: dict[str, Torrent] = {}

    # -- ICacheView ------------------------------------------------------------------------------------------

    def lookup(self, resource_id: str) -> Served | None:
        shelf = self._shelves.get(resource_id)
        return None if shelf is None else Served(shelf.content, shelf.store, shelf.sha256)

    def reading(self, resource_id: str) -> Callable[[], None]:
        shelf = self._shelves[resource_id]
        shelf.readers += 1
        done = False

        def release() -> None:
            nonlocal done
            if not done:
                done = True
                shelf.readers -= 1

        return release

    def wanted(self, resource_id: str, piece: int) -> None:
        shelf = self._shelves.get(resource_id)
        if shelf is not None and not shelf.whole and self._node.reactor.seconds() >= shelf.retry_at:
            shelf.fill()

    def served(self, resource_id: str, count: int) -> None:
        shelf = self._shelves.get(resource_id)
        if shelf is not None:
            shelf.served += count
            shelf.last_used = self._node.reactor.seconds()

    # -- what there is ---------------------------------------------------------------------------------------

    async def restore(self) -> None:
        """Take up what an earlier run left; what cannot be used is named and left alone."""
        for folder in sorted(self._folder.iterdir()) if self._folder.is_dir() else []:
            if not re.fullmatch(r"[0-9a-f]{64}", folder.name) or folder.name in self._shelves:
                continue
            try:
                torrent = read_shelf(folder)
                if torrent.descriptor.resource_id.hex() != folder.name:
                    raise ResourceError("it describes another resource")
                await self._open(folder.name, torrent)
            except (OSError, ResourceError, StorageError) as error:
                self.log.warn("{folder} is not taken up: {reason}", folder=str(folder), reason=str(error))

    @property
    def used(self) -> int:
        """Bytes that the shelves take or will take."""
        return sum(shelf.size for shelf in self._shelves.values())

    @property
    def uploaded(self) -> int:
        """Bytes served since the start."""
        return sum(shelf.served + shelf.transfer.report.uploaded for shelf in self._shelves.values())

    def held(self) -> list[Held]:
        """The inventory, for the heartbeat."""
        now = self._node.reactor.seconds()
        return [
            Held(
                resource=shelf.resource,
                bytes=shelf.size,
                have=min(shelf.have, 1.0),
                served=shelf.served + shelf.transfer.report.uploaded,
                idle_seconds=max(now - shelf.last_used, 0.0),
            )
            for shelf in self._shelves.values()
        ]

    # -- what there shall be ---------------------------------------------------------------------------------

    async def follow(self, desired: Sequence[Order]) -> None:
        """Bring the cache in line with the orders, as far as it can be done now."""
        wishes: list[Wish] = []
        for order in desired:
            torrent = await self._describe(order.resource)
            if torrent is not None:
                wishes.append(Wish(order.resource, torrent.descriptor.length))
        now = self._node.reactor.seconds()
        for shelf in self._shelves.values():
            shelf.value = 0.0
        for order in desired:
            if order.resource in self._shelves:
                self._shelves[order.resource].value = order.value
        entries = [
            Entry(s.resource, s.size, max(now - s.last_used, 0.0), s.value, s.readers) for s in self._shelves.values()
        ]
        todo = plan(self._capacity, entries, wishes)
        for resource in todo.evict:
            try:
                await self._shelves.pop(resource).remove()
            except (OSError, StorageError) as error:
                self.log.error("{resource} cannot be removed: {reason}", resource=resource, reason=str(error))
        for resource in todo.refused:
            self.log.info("{resource} does not fit into the cache", resource=resource)
        reasons = {order.resource: order for order in desired}
        for resource in todo.hold:
            await self._hold(resource, reasons[resource])

    async def _hold(self, resource: str, order: Order) -> None:
        if resource not in self._shelves:
            try:
                await self._open(resource, self._described[resource])
            except (OSError, StorageError) as error:
                self.log.error("{resource} cannot be held: {reason}", resource=resource, reason=str(error))
                return
        shelf = self._shelves[resource]
        shelf.value, shelf.reason = order.value, order.reason
        filling = sum(each.filling is not None for each in self._shelves.values())
        if not shelf.whole and filling < self._fills and self._node.reactor.seconds() >= shelf.retry_at:
            shelf.fill()

    async def _open(self, resource: str, torrent: Torrent) -> None:
        shelf = await Shelf.open(self._node, self._folder / resource, torrent)
        self._shelves[resource] = shelf
        if shelf.whole and not shelf.store.finished:
            shelf.fill()

    async def _describe(self, resource: str) -> Torrent | None:
        if resource in self._shelves:
            return self._shelves[resource].torrent
        if resource not in self._described:
            assert self._node.index is not None
            try:
                torrent = await self._node.index.torrent(resource)
            except NetError as error:
                self.log.warn("{resource} is ordered but not known: {reason}", resource=resource, reason=str(error))
                return None
            while len(self._described) >= MAX_DESCRIBED:
                del self._described[next(iter(self._described))]
            self._described[resource] = torrent
        return self._described[resource]

    async def close(self) -> None:
        """Let go of everything; it stays on disk."""
        shelves, self._shelves = list(self._shelves.values()), {}
        # All at once: each may have a tracker to say goodbye to that does not answer.
        await gatherResults([Deferred.fromCoroutine(shelf.close()) for shelf in shelves], consumeErrors=True)
