"""Which resources does a peer daemon seed? Those whose `.torrent` lies in its folder."""

from contextlib import suppress
from pathlib import Path

import attrs
from twisted.internet.defer import CancelledError, Deferred, gatherResults
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
FIRST_RETRY = 30.0
LONGEST_RETRY = 1800.0


@attrs.define(eq=False)
class _Kept:
    """One `.torrent`: its file's stamp, and what runs for it."""

    stamp: tuple[int, int]
    name: str = ""
    torrent: Torrent | None = None
    store: DiskStore | None = None
    transfer: Transfer | None = None
    fetching: bool = False
    failures: int = 0
    retry_at: float = 0.0


class Keeper:
    """Looks into the folder again and again: begins with what is new, ends what is gone.

    A `.torrent` that cannot be used is logged once, with the reason, and left alone until it changes. A fetch that
    fails is tried again, first after `retry` seconds, then later and later.
    """

    log = Logger()

    def __init__(self, node: Node, folder: Path, *, retry: float = FIRST_RETRY) -> None:
        self._node = node
        self._folder = folder
        self._retry = retry
        self._kept: dict[Path, _Kept] = {}

    @property
    def resources(self) -> int:
        """How many are seeded or being fetched."""
        return sum(kept.transfer is not None for kept in self._kept.values())

    async def scan(self) -> None:
        """Bring what runs in line with what lies in the folder."""
        found: dict[Path, tuple[int, int]] = {}
        for path in sorted(self._folder.glob("*.torrent"))[:MAX_RESOURCES]:
            # It may be gone since it was listed.
            with suppress(OSError):
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
        now = self._node.reactor.seconds()
        for kept in list(self._kept.values()):
            if kept.transfer is not None and not kept.fetching and now >= kept.retry_at:
                self._fetch(kept)

    async def stop(self) -> None:
        """Leave every swarm."""
        kept, self._kept = list(self._kept.values()), {}
        # All at once: each may have a tracker to say goodbye to that does not answer.
        await gatherResults([Deferred.fromCoroutine(self._end(each)) for each in kept], consumeErrors=True)

    async def _begin(self, path: Path, kept: _Kept) -> None:
        if path.stat().st_size > MAX_TORRENT:
            raise ResourceError(f"larger than {MAX_TORRENT} bytes")
        torrent = parse_torrent(path.read_bytes())
        descriptor = torrent.descriptor
        if descriptor.missing_layers:
            raise ResourceError("it has no piece layers")
        content = described(descriptor)
        target = self._folder / descriptor.name
        for path_there, there in self._kept.items():
            if there.torrent is not None and there.torrent.descriptor.resource_id == descriptor.resource_id:
                raise ResourceError(f"{path_there.name} describes the same resource")
        kept.name, kept.torrent = descriptor.name, torrent
        if target.exists():
            kept.store = await open_complete(target, content, self._node.pool, self._node.reactor, keep_leaves=True)
            if not kept.store.complete:
                raise StorageError(f"{target} is not what {path.name} describes")
        else:
            kept.store = await open_store(target, content, self._node.pool, self._node.reactor, keep_leaves=True)
        kept.transfer = Transfer(self._node, content=content, store=kept.store)
        if kept.store.finished:
            kept.transfer.start()
            self.log.info("seeding {name}, {id}", name=kept.name, id=descriptor.resource_id.hex())

    def _fetch(self, kept: _Kept) -> None:
        """Get what is missing, if anything is."""
        transfer, store, torrent = kept.transfer, kept.store, kept.torrent
        assert transfer is not None
        assert store is not None
        assert torrent is not None
        if store.finished:
            return
        self.log.info("fetching {name}", name=kept.name)
        kept.fetching = True
        fetching = transfer.download(torrent.mirrors)
        fetching.addCallback(lambda _: Deferred.fromCoroutine(self._fetched(kept, store)))
        fetching.addErrback(self._failed, kept)

    async def _fetched(self, kept: _Kept, store: DiskStore) -> None:
        await store.finish()
        kept.fetching, kept.failures = False, 0
        self.log.info("{name} is complete; seeding it", name=kept.name)

    def _failed(self, failure: Failure, kept: _Kept) -> None:
        kept.fetching = False
        if failure.check(CancelledError):
            return
        wait = min(self._retry * 2.0**kept.failures, LONGEST_RETRY)
        kept.failures += 1
        kept.retry_at = self._node.reactor.seconds() + wait
        self.log.error(
            "{name} could not be fetched: {reason}; tried again in {wait:.0f} s",
            name=kept.name,
            reason=failure.getErrorMessage(),
            wait=wait,
        )

    async def _end(self, kept: _Kept) -> None:
        transfer, kept.transfer = kept.transfer, None
        store, kept.store = kept.store, None
        kept.torrent = None
        if transfer is not None:
            await transfer.stop()
        if store is not None:
            await store.close()
