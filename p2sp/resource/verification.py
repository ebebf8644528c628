"""How is a piece known to be good?"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import attrs

from p2sp.resource.descriptor import Descriptor
from p2sp.resource.layout import Layout, piece_length_for
from p2sp.resource.merkle import piece_root


class Verified(StrEnum):
    """What the finished bytes were checked against; written into the summary."""

    BEP52 = "bep52"
    PIECES = "pieces"
    DIGEST = "digest"
    NONE = "none"


class Verification(Protocol):
    """A strategy that judges one piece by the hashes of its blocks."""

    @property
    def strength(self) -> Verified:
        """What a complete resource may call itself."""

    def check(self, piece: int, leaves: Sequence[bytes]) -> bool:
        """Whether the piece with these leaf hashes is what the resource holds there."""


@attrs.frozen
class MerkleVerification:
    """Pieces chain to the resource id (BEP 52): the only strategy that lets a piece be given to others."""

    descriptor: Descriptor

    @property
    def strength(self) -> Verified:
        return Verified.BEP52

    def check(self, piece: int, leaves: Sequence[bytes]) -> bool:
        layout = self.descriptor.layout
        length = layout.lengths[layout.file_of(piece)]
        if len(leaves) != layout.blocks_of(piece):
            return False
        return piece_root(leaves, length, layout.piece_length) == self.descriptor.piece_hash(piece)


@attrs.frozen
class Unverified:
    """Nothing is known piece by piece; a digest of the whole file may be checked at the end."""

    strength: Verified = Verified.NONE

    def check(self, piece: int, leaves: Sequence[bytes]) -> bool:
        return True


@attrs.frozen
class Content:
    """What a store keeps: names, places and the way to judge them.

    `key` is the resource id in hex where there is a descriptor, else any text that names the download (its first URL);
    it ties a journal to its resource. `paths` are relative to `name` in a tree, and empty tuples for a lone file.
    """

    key: str
    name: str
    paths: tuple[tuple[str, ...], ...]
    layout: Layout
    verification: Verification
    descriptor: Descriptor | None = None

    @property
    def single(self) -> bool:
        """Whether the content is one file rather than a folder."""
        return self.paths == ((),)


def described(descriptor: Descriptor) -> Content:
    """The content of a resource whose descriptor is known, every piece of it verifiable.

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
        verification=MerkleVerification(descriptor),
        descriptor=descriptor,
    )


def undescribed(key: str, name: str, length: int) -> Content:
    """One file of which nothing is known but its length."""
    return Content(
        key=key,
        name=name,
        paths=((),),
        layout=Layout([length], piece_length_for(length)),
        verification=Unverified(),
    )
