"""What does BitTorrent v1 say of a resource (BEP 3, 47), alone or beside v2 in a hybrid (BEP 52)?"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha1, sha256
from typing import Any, Final

import attrs
from bencode2 import bdecode, bencode

from p2sp.resource.descriptor import (
    MAX_DEPTH,
    MAX_FILES,
    MAX_INFO,
    MAX_TORRENT,
    Descriptor,
    FileEntry,
    Torrent,
    parse_info,
    parse_torrent,
    v1_hash,
)
from p2sp.resource.errors import DescriptorError
from p2sp.resource.fields import attributes, decode, hints, text, valid_length
from p2sp.resource.magnet import V1_ID_SIZE

SHA1_SIZE: Final = 20
_ZEROS: Final = bytes(64 * 1024)


def parse_foreign_torrent(data: bytes) -> Torrent:
    """Read a `.torrent` of any version: the v2 side of a hybrid, v1 where there is nothing else.

    Raises DescriptorError.
    """
    if len(data) > MAX_TORRENT:
        raise DescriptorError(f"metainfo of {len(data)} bytes is larger than {MAX_TORRENT}")
    top = decode(data, "metainfo")
    info = top.get(b"info")
    if not isinstance(info, dict) or b"meta version" in info or b"pieces" not in info:
        return parse_torrent(data)
    return Torrent(_from_info(bencode(info), info), *hints(top))


def parse_info_of(resource_id: bytes, info: bytes) -> Descriptor | None:
    """The descriptor in an info dict that strangers gave for a resource (BEP 9); None when it is another's.

    Who knows a hybrid by its v1 name alone sees its v1 side alone. Raises DescriptorError.
    """
    if len(info) > MAX_INFO:
        raise DescriptorError(f"info dict of {len(info)} bytes is larger than {MAX_INFO}")
    if len(resource_id) != V1_ID_SIZE:
        return parse_info(info) if sha256(info).digest() == resource_id else None
    return _from_info(info, decode(info, "info dict")) if v1_hash(info) == resource_id else None


def _from_info(info: bytes, fields: Mapping[bytes, Any]) -> Descriptor:
    piece_length = fields.get(b"piece length")
    if not isinstance(piece_length, int) or isinstance(piece_length, bool):
        raise DescriptorError("info dict without a piece length")
    name = text(fields.get(b"name.utf-8", fields.get(b"name")), "name")
    files = tuple(_files(name, fields))
    raw = fields.get(b"pieces")
    if not isinstance(raw, bytes) or len(raw) % SHA1_SIZE:
        raise DescriptorError(f"pieces of {name!r} are not a row of {SHA1_SIZE}-byte hashes")
    pieces = tuple(raw[at : at + SHA1_SIZE] for at in range(0, len(raw), SHA1_SIZE))
    if not pieces:
        raise DescriptorError(f"{name!r} has no pieces")
    made = Descriptor(info, name, piece_length, files, flat=pieces, private=fields.get(b"private") == 1)
    if len(pieces) != made.layout.piece_count:
        raise DescriptorError(f"{name!r} has {len(pieces)} piece hashes, {made.layout.piece_count} are needed")
    return made


def _files(name: str, fields: Mapping[bytes, Any]) -> Iterator[FileEntry]:
    """The files of an info dict in their order, those that only pad included. Raises DescriptorError."""
    listed = fields.get(b"files")
    if listed is None:
        yield FileEntry((name,), valid_length(fields, name), None)
        return
    if not isinstance(listed, list) or not listed or len(listed) > MAX_FILES:
        raise DescriptorError(f"files of {name!r} are no list of 1 to {MAX_FILES}")
    taken: set[tuple[str, ...]] = set()
    folders: set[tuple[str, ...]] = set()
    for item in listed:
        if not isinstance(item, dict):
            raise DescriptorError(f"a file of {name!r} is not a dictionary")
        kind = attributes(item)
        if b"p" in kind:
            yield FileEntry((".pad", str(len(taken))), valid_length(item, "padding"), None, pad=True)
            continue
        parts = item.get(b"path.utf-8", item.get(b"path"))
        if not isinstance(parts, list) or not 0 < len(parts) <= MAX_DEPTH:
            raise DescriptorError(f"a file of {name!r} has no path of 1 to {MAX_DEPTH} names")
        path = tuple(text(part, "path") for part in parts)
        shown = "/".join(path)
        if b"l" in kind:
            raise DescriptorError(f"{shown!r} is a symbolic link, which is not followed")
        above = {path[:depth] for depth in range(1, len(path))}
        if path in taken or path in folders or above & taken:
            raise DescriptorError(f"two files share the path {shown!r}")
        taken.add(path)
        folders |= above
        yield FileEntry(path, valid_length(item, shown), None)


class FlatHasher:
    """SHA-1 of each piece of one file, for the v1 side of a hybrid."""

    def __init__(self, piece_length: int) -> None:
        self._piece_length = piece_length
        self._digests: list[bytes] = []
        self._piece = sha1(usedforsecurity=False)
        self._filled = 0

    def update(self, data: bytes | bytearray) -> None:
        """The next bytes of the file."""
        view = memoryview(data)
        while view:
            part = view[: self._piece_length - self._filled]
            self._piece.update(part)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == self._piece_length:
                self._end_piece()

    def finish(self, *, padded: bool) -> list[bytes]:
        """The digests; `padded` when zeros fill the last piece, because bytes of another file follow."""
        if self._filled:
            while padded and self._filled < self._piece_length:
                part = _ZEROS[: self._piece_length - self._filled]
                self._piece.update(part)
                self._filled += len(part)
            self._end_piece()
        return self._digests

    def _end_piece(self) -> None:
        self._digests.append(self._piece.digest())
        self._piece = sha1(usedforsecurity=False)
        self._filled = 0


def make_hybrid(descriptor: Descriptor, digests: Sequence[bytes]) -> Descriptor:
    """The same resource with an info dict that v1 clients read, too; so it bears another id.

    `digests` are the SHA-1 of its pieces, where zeros fill the last one of a file while bytes follow it (BEP 52, 47).
    Raises DescriptorError for a resource without any byte.
    """
    if not descriptor.length:
        raise DescriptorError(f"{descriptor.name!r} is empty, which BitTorrent v1 cannot describe")
    fields: dict[bytes, Any] = bdecode(descriptor.info)
    if descriptor.single:
        fields[b"length"] = descriptor.length
    else:
        fields[b"files"] = list(_v1_files(descriptor))
    fields[b"pieces"] = b"".join(digests)
    made = parse_info(bencode(fields))
    return attrs.evolve(made, layers=descriptor.layers)


def _v1_files(descriptor: Descriptor) -> Iterator[dict[bytes, Any]]:
    piece_length = descriptor.piece_length
    bytes_after = descriptor.length
    for entry in descriptor.files:
        yield {b"length": entry.length, b"path": [part.encode() for part in entry.path]}
        bytes_after -= entry.length
        missing = -entry.length % piece_length
        if missing and bytes_after:
            yield {b"attr": b"p", b"length": missing, b"path": [b".pad", str(missing).encode()]}
