"""What is done with a store's bytes in the threads of the disk pool: written, judged, hashed?"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import attrs

from p2sp.resource.layout import Segment
from p2sp.resource.merkle import BLOCK, leaf_hashes
from p2sp.resource.verification import Content, Evidence
from p2sp.storage.interfaces import StorageError
from p2sp.storage.leaves import LeafFile
from p2sp.storage.pieces import parts_of


class Medium(Protocol):
    """Where bytes lie. Called in the pool's threads, never for the same bytes by two at a time.

    In a joined row a place may go on beyond its file, in those that follow.
    """

    def write(self, where: Segment, data: memoryview) -> None:
        """Put all of `data` at a place. Raises StorageError."""

    def read(self, where: Segment) -> bytes:
        """Exactly the bytes of a place. Raises StorageError."""

    def at_hand(self, where: Segment) -> bytes | None:
        """The same if that takes no waiting for a disk, else None; called on the reactor's thread."""


@attrs.frozen
class Work:
    """Blocks of one piece on their way to the disk: a run of buffers from block `first` on, and the runs claimed."""

    piece: int
    where: Segment
    data: Sequence[bytes | memoryview]
    first: int
    runs: Sequence[range]
    whole: bool
    """Whether this is the piece from its first byte to its last: it is judged as it passes, not read again."""

    def parts(self) -> Iterator[tuple[int, memoryview]]:
        """What is to be written, with its distance from the first byte; nothing is copied if all is claimed."""
        if len(self.runs) == 1 and len(self.runs[0]) == -(-self.where.length // BLOCK):
            at = 0
            for buffer in self.data:
                yield at, memoryview(buffer)
                at += len(buffer)
            return
        joined = memoryview(b"".join(self.data))
        for run in self.runs:
            at = (run.start - self.first) * BLOCK
            yield at, joined[at : (run.stop - self.first) * BLOCK]


def write_job(
    medium: Medium, content: Content, work: Work, blamed: bool, sidecar: LeafFile | None
) -> tuple[list[bytes], bool | None]:
    """Write claimed blocks; their leaf hashes if they are evidence or wanted, and the verdict of a whole piece."""
    where = work.where
    for at, part in work.parts():
        medium.write(Segment(where.file, where.offset + at, len(part), where.position + at), part)
    evidence = content.verification.evidence
    good = content.verification.judge(work.piece, work.data) if work.whole and evidence is Evidence.BYTES else None
    if evidence is not Evidence.LEAVES and good is not False and not (good and blamed):
        return [b""] * sum(map(len, work.runs)), good
    joined = memoryview(work.data[0] if len(work.data) == 1 else b"".join(work.data))
    leaves: list[bytes] = []
    for run in work.runs:
        at = (run.start - work.first) * BLOCK
        found = leaf_hashes(joined[at : (run.stop - work.first) * BLOCK])
        if sidecar is not None:
            sidecar.note(where.position + at, found)
        leaves += found
    return leaves, good


def judge_job(medium: Medium, content: Content, piece: int, blamed: bool) -> tuple[bool, list[bytes]]:
    """Judge a piece by its bytes, just written and so still in memory; with leaf hashes where blame needs them."""
    good = content.verification.judge(piece, parts_of(medium.read, content.layout, piece))
    if good and not blamed:
        return good, []
    return good, [leaf for part in parts_of(medium.read, content.layout, piece) for leaf in leaf_hashes(part)]


def leaves_job(medium: Medium, content: Content, piece: int, sidecar: LeafFile | None) -> tuple[bytes, ...]:
    """The leaf hashes of a verified piece: as they were kept, else out of its bytes. Raises StorageError."""
    kept = sidecar.read(piece) if sidecar is not None else None
    if kept is not None and content.verification.check(piece, kept):
        return tuple(kept)
    leaves = [leaf for part in parts_of(medium.read, content.layout, piece) for leaf in leaf_hashes(part)]
    if not content.verification.check(piece, leaves):
        raise StorageError(f"{content.name}: piece {piece} is not what it was when it was verified")
    if sidecar is not None:
        sidecar.note(content.layout.piece_start(piece), leaves)
    return tuple(leaves)
