"""What of the cache can a process serve that does not own it?"""

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from zope.interface import implementer

from p2sp.resource.descriptor import Torrent
from p2sp.resource.errors import DescriptorError
from p2sp.resource.verification import described
from p2sp.storage.disk import DiskStore, open_complete
from p2sp.storage.interfaces import StorageError
from p2sp.storage.pool import Pool
from p2sp.supernode.interfaces import ICacheView, Served
from p2sp.supernode.shelf import DATA, EVICTED, TORRENT, read_digest, read_shelf

MAX_VIEWS: Final = 512
"""Resources that are open at a time; of more, those nobody reads are closed."""


@attrs.define(eq=False)
class _View:
    folder: Path
    served: Served
    store: DiskStore
    readers: int = 0
    mark: int | None = None

    def hold(self) -> None:
        """Let the owner know that this is being read: a lock that ends with us, however we end."""
        with suppress(OSError):
            self.mark = _open_mark(self.folder)
            fcntl.flock(self.mark, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def let_go(self) -> None:
        mark, self.mark = self.mark, None
        if mark is not None:
            os.close(mark)


@implementer(ICacheView)
class Window:
    """What is whole in a cache folder, read only. What is not, and what is not there, is for the owner to say.

    Content never changes, so who reads what is evicted meanwhile is served on; nobody new is.
    """

    def __init__(self, reactor: Any, pool: Pool, folder: Path) -> None:
        self._reactor = reactor
        self._pool = pool
        self._folder = folder
        self._views: dict[str, _View] = {}
        self._evicted: list[_View] = []
        self._opening = DeferredLock()
        self._given: Counter[str] = Counter()

    def lookup(self, resource_id: str) -> Served | None:
        view = self._views.get(resource_id)
        return None if view is None else view.served

    def missed(self, resource_id: str) -> "Deferred[Served | None]":
        return Deferred.fromCoroutine(self._missed(resource_id))

    async def _missed(self, resource_id: str) -> Served | None:
        async with self._opening:
            if resource_id not in self._views:
                folder = self._folder / resource_id
                found = await self._pool.run(_look, folder)
                if found is None:
                    return None
                content = described(found[0].descriptor)
                try:
                    store = await open_complete(folder / DATA, content, self._pool, self._reactor, trust=True)
                except StorageError:  # evicted in this moment
                    return None
                self._views[resource_id] = _View(folder, Served(content, store, found[1]), store)
        return self.lookup(resource_id)

    def reading(self, resource_id: str, via: Iterable[str] = ()) -> Callable[[], None]:
        view = self._views[resource_id]
        view.readers += 1
        if view.readers == 1:
            view.hold()

        def release() -> None:
            view.readers -= 1
            if not view.readers:
                view.let_go()

        return once(release)

    def wanted(self, resource_id: str, piece: int) -> None:
        """All of what is served here is there."""

    def served(self, resource_id: str, count: int) -> None:
        self._given[resource_id] += count

    def take_account(self) -> dict[str, int]:
        """Bytes given since this was last asked, by resource."""
        given, self._given = self._given, Counter()
        return dict(given)

    def give_back(self, account: dict[str, int]) -> None:
        """An account that could not be delivered counts the next time."""
        self._given.update(account)

    async def tidy(self) -> None:
        """Close what was evicted, so that its space becomes free, and what is too much; to be called now and then."""
        for resource, view in list(self._views.items()):
            gone = not (view.folder / TORRENT).exists()
            if gone or (not view.readers and len(self._views) > MAX_VIEWS):
                del self._views[resource]
                self._evicted.append(view)
        left = [view for view in self._evicted if not view.readers]
        self._evicted = [view for view in self._evicted if view.readers]
        for view in left:
            await view.store.close()

    async def close(self) -> None:
        """Close everything."""
        views, self._views, self._evicted = [*self._views.values(), *self._evicted], {}, []
        for view in views:
            view.let_go()
            await view.store.close()


def once(ending: Callable[[], None]) -> Callable[[], None]:
    """The same, which does nothing when it is called again."""
    left = [ending]
    return lambda: left.pop()() if left else None


def _look(folder: Path) -> tuple[Torrent, bytes | None] | None:
    """The descriptor and the digest of a resource that is whole."""
    try:
        if not (folder / DATA).exists():
            return None
        return read_shelf(folder), read_digest(folder)
    except (OSError, DescriptorError):
        return None


def is_read_elsewhere(folder: Path) -> bool:
    """Whether another process reads the resource in this folder now."""
    try:
        mark = _open_mark(folder)
    except OSError:
        return False
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(mark)
    return False


def _open_mark(folder: Path) -> int:
    """The descriptor's file, under whichever name it lies there. Raises OSError."""
    try:
        return os.open(folder / TORRENT, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(folder / EVICTED, os.O_RDONLY | os.O_CLOEXEC)
