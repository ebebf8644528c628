"""Which resources does a peer daemon seed? Those whose `.torrent` lies in its folder."""

from pathlib import Path

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.download.node import Node
from p2sp.download.transfer import Transfer
from p2sp.resource.descriptor import MAX_TORRENT, Torrent, parse_torrent
from p2sp.resource.errors import ResourceError
from p2sp.resource.verification import described
from p2sp.storage.disk import DiskStore, open_complete, open_store
from p2sp.storage.interfaces import StorageError

MAX_RESOURCES = 10_000


@attrs.define(eq=False)
class _Kept:
    """One `.torrent`: its file's stamp, and what runs for it."""

    stamp: tuple[int, int]
    name: str = ""
    store: DiskStore | None = None
    transfer: Transfer | None = None


class Keeper:
    """Looks into the folder again and again: begins with what is new, ends what is gone.

    A `.torrent` that cannot be used is logged once, with the reason, and left alone until it changes.
    """

    log = Logger()

    def __init__(self, node: Node, folder: Path) -> None:
        self._node = node
        self._folder = folder
        self._kept: dict[Path, _Kept] = {}

    @property
    def resources(self) -> int:
        """How many are seeded or being fetched."""
        return sum(kept.transfer is not None for kept in self._kept.values())

    async def scan(self) -> None:
        """Bring what runs in line with what lies in the folder."""
        found: dict[Path, tuple[int, int]] = {}
        for path in sorted(self._folder.glob("*.torrent"))[:MAX_RESOURCES]:
            stat = path.stat()
            found[path] = (stat.st_mtime_ns, stat.st_size)
        for path, kept in list(self._kept.items()):
            if found.get(path) != kept.stamp:
                del self._kept[path]
                await self._end(kept)
        for path, stamp in found.items():
            if path not in self._kept:
                kept = self._kept[path] = _Kept(stamp)
                try:
                    await self._begin(path, kept)
                except (ResourceError, StorageError, OSError) as error:
                    self.log.error("{path} is not seeded: {reason}", path=str(path), reason=str(error))
                    await self._end(kept)

    async def stop(self) -> None:
        """Leave every swarm."""
        kept, self._kept = list(self._kept.values()), {}
        for each in kept:
            await self._end(each)

    async def _begin(self, path: Path, kept: _Kept) -> None:
        if path.stat().st_size > MAX_TORRENT:
            raise ResourceError(f"larger than {MAX_TORRENT} bytes")
        torrent = parse_torrent(path.read_bytes())
        descriptor = torrent.descriptor
        if descriptor.missing_layers:
            raise ResourceError("it has no piece layers")
        content = described(descriptor)
        target = self._folder / descriptor.name
        kept.name = descriptor.name
        if target.exists():
            kept.store = await open_complete(target, content, self._node.pool, self._node.reactor)
            if not kept.store.complete:
                raise StorageError(f"{target} is not what {path.name} describes")
        else:
            kept.store = await open_store(target, content, self._node.pool, self._node.reactor)
        kept.transfer = Transfer(self._node, content=content, store=kept.store)
        if kept.store.complete:
            kept.transfer.start()
            self.log.info("seeding {name}, {id}", name=kept.name, id=descriptor.resource_id.hex())
        else:
            self._fetch(kept, kept.transfer, kept.store, torrent)

    def _fetch(self, kept: _Kept, transfer: Transfer, store: DiskStore, torrent: Torrent) -> None:
        self.log.info("fetching {name}", name=kept.name)
        fetching = transfer.download(torrent.mirrors)
        fetching.addCallback(lambda _: Deferred.fromCoroutine(self._fetched(kept, store)))
        fetching.addErrback(self._failed, kept)

    async def _fetched(self, kept: _Kept, store: DiskStore) -> None:
        await store.finish()
        self.log.info("{name} is complete; seeding it", name=kept.name)

    def _failed(self, failure: Failure, kept: _Kept) -> None:
        if not failure.check(CancelledError):
            self.log.error("{name} could not be fetched: {reason}", name=kept.name, reason=failure.getErrorMessage())

    async def _end(self, kept: _Kept) -> None:
        transfer, kept.transfer = kept.transfer, None
        store, kept.store = kept.store, None
        if transfer is not None:
            await transfer.stop()
        if store is not None:
            await store.close()
