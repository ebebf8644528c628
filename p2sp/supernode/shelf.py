"""What is one resource in the cache, and how does it come, serve and go?"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.download.node import Node
from p2sp.download.transfer import Transfer
from p2sp.resource.descriptor import MAX_TORRENT, Torrent, parse_torrent
from p2sp.resource.errors import DescriptorError
from p2sp.resource.verification import Content, described
from p2sp.sources.http_probe import Connect
from p2sp.storage.disk import DiskStore, open_complete, open_store
from p2sp.storage.files import sync_folder
from p2sp.supernode.via import name_of, through

T = TypeVar("T")

TORRENT = "descriptor.torrent"
EVICTED = "evicted.torrent"
"""What the descriptor is called once its resource is evicted: who reads it elsewhere holds a lock on that file."""

DATA = "data"
DIGEST = "sha256"
STUCK = 30.0
"""Seconds without a new piece after which a fill is one that waits, and others may run beside it."""

REMEMBERED = 60.0
"""Seconds of use that a crash may forget."""


@attrs.define(eq=False)
class Shelf:
    """A resource that the cache holds or fills. `folder` is named by the resource id, never by anybody's string.

    `ordered` says whether the manager wants it; `value` and `reason` are then what it says of it. `asked_by` counts the
    readers that come through other super nodes. `changed` is called whenever a fill has ended, well or not.
    """

    node: Node
    folder: Path
    torrent: Torrent
    content: Content
    store: DiskStore
    transfer: Transfer
    changed: Callable[[], None]
    asked_by: Counter[str]
    connect: Connect
    sha256: bytes | None = None
    readers: int = 0
    served: int = 0
    last_used: float = 0.0
    ordered: bool = False
    value: float = 0.0
    reason: str = "a reader asks for it"
    filling: "Deferred[None] | None" = None
    news_at: float = 0.0
    failures: int = 0
    trouble: str = ""
    retry_at: float = 0.0
    _remembered_at: float = 0.0
    _by_wire: int = 0
    _sealing: "Deferred[None] | None" = None
    _leaving: bool = False

    _log = Logger()

    @classmethod
    async def open(
        cls, node: Node, folder: Path, torrent: Torrent, changed: Callable[[], None], *, in_order: bool = False
    ) -> "Shelf":
        """Take a resource into the cache, or take it up again; it rests until `fill`. Raises OSError, StorageError.

        With `in_order` it is filled from its beginning on, for who reads it from there.
        """
        content = described(torrent.descriptor)
        await node.pool.run(_describe, folder, torrent)
        path = folder / DATA
        if path.exists():
            # We made it ourselves, under our own name, only after every piece had verified.
            store = await open_complete(path, content, node.pool, node.reactor, trust=True, keep_leaves=True)
        else:
            store = await open_store(path, content, node.pool, node.reactor, keep_leaves=True)
        asked_by: Counter[str] = Counter()
        connect = attrs.evolve(node.connect, via=through(name_of(node.identity.node_id), lambda: asked_by))
        transfer = Transfer(node, content=content, store=store, in_order=in_order, connect=connect)
        transfer.rest()
        idle = max(time.time() - (folder / TORRENT).stat().st_mtime, 0.0)
        now = node.reactor.seconds()
        shelf = cls(
            node,
            folder,
            torrent,
            content,
            store,
            transfer,
            changed,
            asked_by,
            connect,
            last_used=now - idle,
            remembered_at=now,
        )
        shelf.sha256 = read_digest(folder) if store.finished else None
        store.on_verified(shelf._arrived)
        transfer.start()
        return shelf

    @property
    def resource(self) -> str:
        """Its id in hex."""
        return self.content.key

    @property
    def size(self) -> int:
        """Bytes it takes once it is whole."""
        return self.content.layout.length

    @property
    def have(self) -> float:
        """The share that is verified."""
        return min(self.store.bytes_verified / self.size, 1.0) if self.size else 1.0

    @property
    def whole(self) -> bool:
        """Whether nothing is missing and all is under its own name."""
        return self.store.complete and self.store.finished

    @property
    def uploaded(self) -> int:
        """Bytes given out since it was opened, by HTTPS and by wire."""
        return self.served + self.transfer.report.uploaded

    @property
    def idle(self) -> float:
        """Seconds since somebody got something of it."""
        return 0.0 if self.readers else max(self.node.reactor.seconds() - self.last_used, 0.0)

    @property
    def moving(self) -> bool:
        """Whether it is being filled and that gets on."""
        return self.filling is not None and self.node.reactor.seconds() - self.news_at < STUCK

    @property
    def complaint(self) -> str:
        """Why it is not whole and does not get on; empty for what is or does."""
        if self.whole or self.moving:
            return ""
        if self.filling is not None:
            return f"nobody gave a piece of it for {STUCK:.0f} s; who has it is looked for"
        return self.trouble

    @property
    def may_fill(self) -> bool:
        """Whether it lacks something, is not being filled, and did not fail just now."""
        return not self.whole and self.filling is None and self.node.reactor.seconds() >= self.retry_at

    def look(self) -> None:
        """See whether somebody got something by wire; to be called now and then."""
        if self.transfer.report.uploaded > self._by_wire:
            self._by_wire = self.transfer.report.uploaded
            self.used(0)

    def used(self, count: int) -> None:
        """Somebody got so many bytes of it by HTTPS; the time of that outlives us, to the minute."""
        self.served += count
        self.last_used = self.node.reactor.seconds()
        if self.last_used - self._remembered_at >= REMEMBERED:
            self._remember()

    def _remember(self) -> None:
        self._remembered_at = self.node.reactor.seconds()
        when = time.time() - max(self._remembered_at - self.last_used, 0.0)
        with suppress(OSError):
            os.utime(self.folder / TORRENT, (when, when))

    def _arrived(self, _: int) -> None:
        self.news_at = self.node.reactor.seconds()

    def fill(self) -> None:
        """Fetch what is missing, from servers and peers alike; does nothing while that goes on."""
        if self.filling is not None or self.whole:
            return
        self._log.info("filling {name}: {reason}", name=self.content.name, reason=self.reason)
        self.news_at = self.node.reactor.seconds()
        filling = self.transfer.download(self.torrent.mirrors)
        self.filling = filling
        filling.addCallback(lambda _: self._seal())
        filling.addErrback(self._failed)
        filling.addBoth(lambda _: self.changed())

    def rest(self) -> None:
        """Fetch nothing more for now; what is there is served."""
        if self.filling is not None:
            self._log.info("{name} is not filled any further: nobody wants it now", name=self.content.name)
            self.filling.cancel()

    def _seal(self) -> "Deferred[None]":
        sealing = Deferred.fromCoroutine(self._filled())
        self._sealing = Deferred()
        # Whoever waits for it wants to know that it is over, not how it went.
        sealing.addBoth(_pass_by, self._sealing)
        return sealing

    async def _filled(self) -> None:
        await self.store.finish()
        self.filling = None
        self.failures, self.trouble = 0, ""
        if self.content.single:
            self.sha256 = await self.store.digest("sha256")
            await self.node.pool.run(_write_whole, self.folder / DIGEST, self.sha256)
        self._log.info("holding {name}, {size} bytes", name=self.content.name, size=self.size)

    def _failed(self, failure: Failure) -> None:
        self.filling = None
        if self._leaving:
            return
        self.transfer.rest()
        if failure.check(CancelledError):
            return
        self.failures += 1
        self.trouble = failure.getErrorMessage()
        wait = min(5.0 * 2.0 ** min(self.failures, 16), 600.0)
        self.retry_at = self.node.reactor.seconds() + wait
        self._log.error(
            "{name} cannot be filled: {reason}; tried again in {wait:.0f} s",
            name=self.content.name,
            reason=self.trouble,
            wait=wait,
        )

    async def withdraw(self) -> None:
        """Leave the swarm; what is there can still be read."""
        self._leaving = True
        await self.transfer.stop()

    async def close(self) -> None:
        """Stop; what is verified stays on disk."""
        await self.withdraw()
        self._remember()
        await self.store.close()

    async def hide(self) -> None:
        """Stop, but for who reads it now. A folder without a descriptor is one whose eviction was cut short."""
        try:
            await self.node.pool.run(_rename, self.folder, TORRENT, EVICTED)
        finally:
            await self.withdraw()

    async def show(self) -> None:
        """Be in the cache again after all, as if just opened. Raises OSError."""
        await self.node.pool.run(_rename, self.folder, EVICTED, TORRENT)
        await self.node.pool.run(_describe, self.folder, self.torrent)
        self.served, self._by_wire = self.uploaded, 0
        self.transfer = Transfer(self.node, content=self.content, store=self.store, connect=self.connect)
        self.transfer.rest()
        self._leaving = False
        self.transfer.start()

    async def remove(self) -> None:
        """Free the space of what is hidden; who still reads it is cut."""
        try:
            await self.store.discard()
        finally:
            if self._sealing is not None:
                await self._sealing
            await self.node.pool.run(clear, self.folder)
        self._log.info("evicted {name}, {size} bytes", name=self.content.name, size=self.size)


def read_shelf(folder: Path) -> Torrent:
    """The descriptor of a resource that an earlier run left. Raises OSError or DescriptorError."""
    with (folder / TORRENT).open("rb") as file:
        return parse_torrent(file.read(MAX_TORRENT))


def _describe(folder: Path, torrent: Torrent) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # One that cannot be used is made anew.
    with suppress(FileNotFoundError, DescriptorError):
        if read_shelf(folder).descriptor.resource_id == torrent.descriptor.resource_id:
            return
    _write_whole(folder / TORRENT, torrent.descriptor.to_torrent(mirrors=torrent.mirrors))
    sync_folder(folder.parent)


def _write_whole(path: Path, data: bytes) -> None:
    """The whole file or none, also after a power failure. Raises OSError."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    sync_folder(path.parent)


def _pass_by(result: T, over: "Deferred[None]") -> T:
    over.callback(None)
    return result


def _rename(folder: Path, old: str, new: str) -> None:
    # What was lost or spoilt meanwhile hinders nothing.
    with suppress(FileNotFoundError):
        (folder / old).rename(folder / new)
        sync_folder(folder)


def clear(folder: Path) -> None:
    """Remove a resource's folder, as far as that is possible."""
    shutil.rmtree(folder, ignore_errors=True)


def read_digest(folder: Path) -> bytes | None:
    """The SHA-256 that was found when the resource became whole; a lost one costs a header and nothing else."""
    try:
        found = (folder / DIGEST).read_bytes()
    except OSError:
        return None
    return found if len(found) == 32 else None
