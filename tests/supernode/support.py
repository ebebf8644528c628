"""What do the tests of a super node's cache build again and again?"""

import random
from collections import Counter
from collections.abc import Callable, Iterable

import attrs
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from p2sp.resource.descriptor import FileEntry, make_descriptor
from p2sp.resource.merkle import BLOCK, FileHasher
from p2sp.resource.verification import Content, described
from p2sp.storage.interfaces import IPieceStore
from p2sp.supernode.interfaces import ICacheView, Served

PIECE = 4 * BLOCK


def some_bytes(count: int, seed: int = 7) -> bytes:
    """Bytes that look like nothing, the same for the same seed."""
    return random.Random(seed).randbytes(count)


def content_of(name: str, files: dict[tuple[str, ...], bytes]) -> Content:
    """A described content of small pieces; the path of a lone file is `(name,)`."""
    entries = []
    for path in sorted(files):
        hasher = FileHasher(PIECE)
        hasher.update(files[path])
        root, layer = hasher.finish()
        entries.append((FileEntry(path, len(files[path]), root), layer))
    return described(make_descriptor(name, entries, PIECE))


async def fill(store: IPieceStore, pieces: Iterable[int], data: bytes, start: int = 0) -> None:
    """Give the store whole pieces of `data`, which begins at position `start`."""
    layout = store.content.layout
    for piece in pieces:
        first, last = layout.piece_start(piece) - start, layout.piece_end(piece) - start
        (verdict,) = await store.write(first + start, [data[first:last]], "test")
        assert verdict.good


@implementer(ICacheView)
@attrs.define
class Cache:
    """A cache that holds what it is given and remembers what it was told."""

    held: dict[str, Served] = attrs.field(factory=dict)
    readers: Counter[str] = attrs.field(factory=Counter)
    waits: list[int] = attrs.field(factory=list)
    asked_by: list[tuple[str, ...]] = attrs.field(factory=list)
    counted: Counter[str] = attrs.field(factory=Counter)
    on_missed: Callable[[str], Deferred[Served | None]] = attrs.field(default=lambda _: succeed(None))
    on_wanted: Callable[[int], object] = attrs.field(default=lambda _: None)

    def lookup(self, resource_id: str) -> Served | None:
        return self.held.get(resource_id)

    def missed(self, resource_id: str) -> "Deferred[Served | None]":
        return self.on_missed(resource_id)

    def reading(self, resource_id: str, via: Iterable[str] = ()) -> Callable[[], None]:
        self.readers[resource_id] += 1
        if via:
            self.asked_by.append(tuple(via))
        return lambda: self.readers.subtract({resource_id: 1})

    def wanted(self, resource_id: str, piece: int) -> None:
        self.waits.append(piece)
        self.on_wanted(piece)

    def served(self, resource_id: str, count: int) -> None:
        self.counted[resource_id] += count
