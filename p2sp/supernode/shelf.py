"""What is one resource in the cache, and how does it come, serve and go?"""

import shutil
from pathlib import Path

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.download.node import Node
from p2sp.download.transfer import Transfer
from p2sp.resource.descriptor import Torrent, parse_torrent
from p2sp.resource.verification import Content, described
from p2sp.storage.disk import DiskStore, open_complete, open_store

TORRENT = "descriptor.torrent"
DATA = "data"
DIGEST = "sha256"
DIGEST = "sha256"


@attrs.define(eq=False)
class Shelf:
    """A resource that the cache holds or fills. `folder` is named by the resource id, never by anybody's string."""

    node: Node
    folder: Path
    torrent: Torrent
    content: Content
    store: DiskStore
    transfer: Transfer
    sha256: bytes | None = None
    readers: int = 0
    served: int = 0
    last_used: float = 0.0
    value: float = 0.0
    reason: str = ""
    filling: "Deferred[None] | None" = None
    failures: int = 0
    retry_at: float = 0.0

    _log = Logger()

    @classmethod
    async def open(cls, node: Node, folder: Path, torrent: Torrent) -> "Shelf":
        """Take a resource into the cache, or take it up again. Raises StorageError."""
        content = described(torrent.descriptor)
        folder.mkdir(parents=True, exist_ok=True)
        described_at = folder / TORRENT
        if not described_at.exists():
            temporary = folder / (TORRENT + ".new")
            temporary.write_bytes(torrent.descriptor.to_torrent(mirrors=torrent.mirrors))
            temporary.rename(described_at)
        path = folder / DATA
        if path.exists():
            # We made it ourselves, under our own name, only after every piece had verified.
            store = await open_complete(path, content, node.pool, node.reactor, trust=True, keep_leaves=True)
            sha256 = _read_digest(folder)
        else:
            store = await open_store(path, content, node.pool, node.reactor, keep_leaves=True)
            sha256 = None
        transfer = Transfer(node, content=content, store=store)
        shelf = cls(node, folder, torrent, content, store, transfer, sha256, last_used=node.reactor.seconds())
        if store.finished and (folder / DIGEST).exists():
            shelf.sha256 = (folder / DIGEST).read_bytes()[:32]
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
        return self.store.bytes_verified / self.size if self.size else 1.0

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return self.store.complete

    def fill(self) -> None:
        """Fetch what is missing, from servers and peers alike; does nothing while that goes on."""
        if self.filling is not None or (self.whole and self.store.finished):
            return
        self._log.info("filling {name}: {reason}", name=self.content.name, reason=self.reason)
        filling = self.transfer.download(self.torrent.mirrors)
        self.filling = filling
        filling.addCallback(lambda _: Deferred.fromCoroutine(self._filled()))
        filling.addErrback(self._failed)

    async def _filled(self) -> None:
        await self.store.finish()
        self.filling = None
        self.failures = 0
        if self.content.single:
            self.sha256 = await self.store.digest("sha256")
            (self.folder / DIGEST).write_bytes(self.sha256)
            (self.folder / DIGEST).write_bytes(self.sha256)
        self._log.info("holding {name}, {size} bytes", name=self.content.name, size=self.size)

    def _failed(self, failure: Failure) -> None:
        self.filling = None
        if failure.check(CancelledError):
            return
        self.failures += 1
        wait = min(5.0 * 2.0**self.failures, 600.0)
        self.retry_at = self.node.reactor.seconds() + wait
        self._log.error(
            "{name} cannot be filled: {reason}; tried again in {wait:.0f} s",
            name=self.content.name,
            reason=failure.getErrorMessage(),
            wait=wait,
        )

    async def close(self) -> None:
        """Stop; what is verified stays on disk."""
        await self.transfer.stop()
        await self.store.close()

    async def remove(self) -> None:
        """Stop, and free the space."""
        await self.transfer.stop()
        await self.store.discard()
        await self.node.pool.run(shutil.rmtree, self.folder, True)
        self._log.info("evicted {name}, {size} bytes", name=self.content.name, size=self.size)


def read_shelf(folder: Path) -> Torrent:
    """The descriptor of a resource that an earlier run left. Raises OSError or DescriptorError."""
    return parse_torrent((folder / TORRENT).read_bytes())


def _read_digest(folder: Path) -> bytes | None:
    """The SHA-256 that was found when the resource became whole; a lost one costs a header and nothing else."""
    try:
        found = (folder / DIGEST).read_bytes()
    except OSError:
        return None
    return found if len(found) == 32 else None
