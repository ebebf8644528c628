"""How is a piece known to be good?"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import attrs

from p2sp.resource.descriptor import Descriptor
from p2sp.resource.errors import MetalinkError
from p2sp.resource.layout import LARGEST_PIECE, Layout, piece_length_for
from p2sp.resource.merkle import BLOCK, leaf_hashes, piece_root
from p2sp.resource.metalink import MetalinkFile


class Verified(StrEnum):
    """What the finished bytes were checked against; written into the summary."""

    BEP52 = "bep52"
    PIECES = "pieces"
    DIGEST = "digest"
    NONE = "none"


class Evidence(StrEnum):
    """What a strategy wants to see of a piece."""

    LEAVES = "leaves"
    """The hashes of its blocks, taken as they come: nothing is read again."""

    BYTES = "bytes"
    """The bytes, once all are there."""

    NOTHING = "nothing"


class Verification(Protocol):
    """A strategy that judges one piece, by the hashes of its blocks or by its bytes."""

    @property
    def strength(self) -> Verified:
        """What a complete resource may call itself."""

    @property
    def evidence(self) -> Evidence:
        """What is to be brought; `check` is asked unless it is BYTES."""

    def check(self, piece: int, leaves: Sequence[bytes]) -> bool:
        """Whether the piece with these leaf hashes is what the resource holds there."""

    def judge(self, piece: int, parts: Iterable[bytes | memoryview]) -> bool:
        """The same for a piece's bytes, in parts (of whole blocks for leaves). Errors of `parts` go through."""


@attrs.frozen
class MerkleVerification:
    """Pieces chain to the resource id (BEP 52): the only strategy that lets a piece be given to others."""

    descriptor: Descriptor

    @property
    def strength(self) -> Verified:
        return Verified.BEP52

    @property
    def evidence(self) -> Evidence:
        return Evidence.LEAVES

    def check(self, piece: int, leaves: Sequence[bytes]) -> bool:
        layout = self.descriptor.layout
        length = layout.lengths[layout.file_of(piece)]
        if len(leaves) != layout.blocks_of(piece):
            return False
        return piece_root(leaves, length, layout.piece_length) == self.descriptor.piece_hash(piece)

    def judge(self, piece: int, parts: Iterable[bytes | memoryview]) -> bool:
        return self.check(piece, [leaf for part in parts for leaf in leaf_hashes(part)])


@attrs.frozen
class FlatVerification:
    """Each piece has a digest of its own, as in a Metalink or in BitTorrent v1; `algorithm` is hashlib's name."""

    algorithm: str
    hashes: tuple[bytes, ...]

    @property
    def strength(self) -> Verified:
        return Verified.PIECES

    @property
    def evidence(self) -> Evidence:
        return Evidence.BYTES

    def check(self, piece: int, leaves: Sequence[bytes]) -> bool:
        """Leaf hashes prove nothing here."""
        return False

    def judge(self, piece: int, parts: Iterable[bytes | memoryview]) -> bool:
        found = hashlib.new(self.algorithm, usedforsecurity=False)
        for part in parts:
            found.update(part)
        return found.digest() == self.hashes[piece]


@attrs.frozen
class Unverified:
    """Nothing is known piece by piece; a digest of the whole file may be checked at the end."""

    strength: Verified = Verified.NONE
    evidence: Evidence = Evidence.NOTHING

    def check(self, piece: int, leaves: Sequence[bytes]) -> bool:
        return True

    def judge(self, piece: int, parts: Iterable[bytes | memoryview]) -> bool:
        for _ in parts:
            # What cannot be read is not there.
            pass
        return True


@attrs.frozen
class Content:
    """What a store keeps: names, places and the way to judge them.

    `key` is the resource id in hex where there is a descriptor, else any text that names the download (its first URL);
    it ties a journal to its resource. `paths` are relative to `name` in a tree, and empty tuples for a lone file.
    `digests` are of the whole of a lone file, by hashlib's name: whoever completes it checks them. `selected` are the
    files wanted of a tree, by their place in `paths`, or None for all; `pads` hold zeros and are nobody's (BEP 47).
    """

    key: str
    name: str
    paths: tuple[tuple[str, ...], ...]
    layout: Layout
    verification: Verification
    descriptor: Descriptor | None = None
    digests: Mapping[str, bytes] = attrs.field(factory=dict)
    selected: frozenset[int] | None = None
    pads: frozenset[int] = frozenset()

    def keeps(self, file: int) -> bool:
        """Whether a file is to be there in the end."""
        return file not in self.pads and (self.selected is None or file in self.selected)

    @cached_property
    def unwanted(self) -> frozenset[int]:
        """Pieces that hold no byte of a file that is kept; nobody needs to fetch them."""
        if self.selected is None and not self.pads:
            return frozenset()
        layout = self.layout
        wanted: set[int] = set()
        for file in filter(self.keeps, range(len(self.paths))):
            wanted.update(layout.pieces_of(file))
        return frozenset(range(layout.piece_count)) - wanted

    @cached_property
    def length(self) -> int:
        """Bytes of the pieces that are wanted."""
        return self.layout.length - sum(map(self.layout.piece_size, self.unwanted))

    @property
    def by_piece(self) -> bool:
        """Whether every piece is judged for itself, so that sources may be mixed."""
        return self.verification.evidence is not Evidence.NOTHING

    @property
    def single(self) -> bool:
        """Whether the content is one file rather than a folder."""
        return self.paths == ((),)


def described(descriptor: Descriptor) -> Content:
    """The content of a resource whose descriptor is known, every piece of it verifiable, by SHA-1 where it is v1's.

    Raises ValueError when a piece layer is missing.
    """
    if descriptor.missing_layers:
        raise ValueError(f"piece layers of {descriptor.name!r} are missing")
    paths = ((),) if descriptor.single else tuple(entry.path for entry in descriptor.files)
    return Content(
        key=descriptor.resource_id.hex(),
        name=descriptor.name,
        paths=paths,
        layout=descriptor.layout,
        verification=FlatVerification("sha1", descriptor.flat) if descriptor.flat else MerkleVerification(descriptor),
        descriptor=descriptor,
        pads=frozenset(at for at, entry in enumerate(descriptor.files) if entry.pad),
    )


def undescribed(key: str, name: str, length: int, digests: Mapping[str, bytes] | None = None) -> Content:
    """One file of which nothing is known but its length, and perhaps digests of the whole."""
    return Content(
        key=key,
        name=name,
        paths=((),),
        layout=Layout([length], piece_length_for(length)),
        verification=Unverified(),
        digests=digests or {},
    )


def of_metalink(file: MetalinkFile, length: int, key: str) -> Content:
    """The content of a Metalink's file, by its pieces where they fit our layout, else by digests of the whole.

    Raises MetalinkError for pieces that do not make the length.
    """
    pieces = file.pieces
    if pieces is None or not piece_length_fits(pieces.length):
        return undescribed(key, file.name, length, file.digests)
    if len(pieces.hashes) != -(-length // pieces.length):
        raise MetalinkError(f"{file.name}: {len(pieces.hashes)} pieces of {pieces.length} bytes are not {length} bytes")
    return Content(
        key=key,
        name=file.name,
        paths=((),),
        layout=Layout([length], pieces.length),
        verification=FlatVerification(pieces.algorithm, pieces.hashes),
        digests=file.digests,
    )


def piece_length_fits(length: int) -> bool:
    """Whether pieces of this length can be kept: a power of two of at least a block."""
    return BLOCK <= length <= LARGEST_PIECE and not length & (length - 1)
