"""What is a resource made of? The BEP 52 metainfo, read and written."""

from collections.abc import Mapping, Sequence
from hashlib import sha1, sha256
from typing import Any

import attrs
from bencode2 import bdecode, bencode

from p2sp.resource.errors import DescriptorError
from p2sp.resource.fields import attributes, decode, hints, text, valid_length
from p2sp.resource.layout import Layout, piece_length_for
from p2sp.resource.magnet import Magnet
from p2sp.resource.merkle import HASH_SIZE, file_root
from p2sp.resource.names import check_name

MAX_TORRENT = 32 * 1024 * 1024
"""Bytes of the largest metainfo we read."""

MAX_INFO = 8 * 1024 * 1024
MAX_FILES = 100_000
MAX_DEPTH = 32


@attrs.frozen
class FileEntry:
    """One file of a resource: its path below the resource's name, its bytes, its Merkle root.

    There is no root of an empty file, nor where only BitTorrent v1 describes it. `pad` is one that holds zeros to fill
    a piece and is nobody's file (BEP 47).
    """

    path: tuple[str, ...]
    length: int
    pieces_root: bytes | None
    pad: bool = False


@attrs.frozen
class Descriptor:
    """A resource, described: its info dict to the byte, and what can be read off it.

    `layers` holds the piece layer of every file longer than a piece, by root; it may be incomplete when the info dict
    came alone from a peer (BEP 9). `flat` holds the SHA-1 of each piece of a resource that BitTorrent v1 alone
    describes: its files lie in a joined row, and its id is the 20 bytes of the v1 info-hash.
    """

    info: bytes
    name: str
    piece_length: int
    files: tuple[FileEntry, ...]
    layers: Mapping[bytes, tuple[bytes, ...]] = attrs.field(factory=dict)
    flat: tuple[bytes, ...] = ()
    hybrid: bool = False
    """Whether the info dict is one of BitTorrent v1 too: then there is a second swarm under another name."""

    private: bool = False
    """Whether its nodes are to come from its trackers alone (BEP 27); it is never told in clear text."""

    resource_id: bytes = attrs.field(init=False)
    layout: Layout = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "resource_id", v1_hash(self.info) if self.flat else sha256(self.info).digest())
        try:
            layout = Layout(
                [entry.length for entry in self.files],
                self.piece_length,
                joined=bool(self.flat),
                padded=self.hybrid and not self.single,
            )
        except ValueError as error:
            raise DescriptorError(f"descriptor of {self.name!r}: {error}") from error
        object.__setattr__(self, "layout", layout)

    @property
    def single(self) -> bool:
        """Whether the resource is one file that bears the resource's own name."""
        return len(self.files) == 1 and self.files[0].path == (self.name,)

    @property
    def length(self) -> int:
        """Bytes of all files."""
        return self.layout.length

    @property
    def handshake_hash(self) -> bytes:
        """The 20 bytes that name the resource on the wire and at trackers (BEP 52)."""
        return self.resource_id[:20]

    @property
    def handshake_hashes(self) -> tuple[bytes, ...]:
        """Every name of the resource on the wire and at trackers: of a hybrid that of its v1 swarm, too."""
        return (self.handshake_hash, v1_hash(self.info)) if self.hybrid else (self.handshake_hash,)

    @property
    def missing_layers(self) -> list[FileEntry]:
        """Files whose pieces cannot be checked yet because their piece layer is unknown."""
        if self.flat:
            return []
        return [
            entry for entry in self.files if entry.length > self.piece_length and entry.pieces_root not in self.layers
        ]

    def magnet(self, trackers: Sequence[str] = (), mirrors: Sequence[str] = ()) -> Magnet:
        """The link that names this resource."""
        old = v1_hash(self.info) if self.hybrid else None
        return Magnet(self.resource_id, self.name, tuple(trackers), tuple(mirrors), old)

    def piece_hash(self, piece: int) -> bytes:
        """The hash that piece must have (BEP 52). Raises KeyError while the file's piece layer is unknown."""
        file = self.layout.file_of(piece)
        entry = self.files[file]
        assert entry.pieces_root is not None
        if entry.length <= self.piece_length:
            return entry.pieces_root
        return self.layers[entry.pieces_root][piece - self.layout.pieces_of(file).start]

    def with_layer(self, root: bytes, layer: Sequence[bytes]) -> "Descriptor":
        """This descriptor with one more piece layer. Raises DescriptorError when the layer is not that root's."""
        return self._with_layers({root: layer})

    def _with_layers(self, layers: Mapping[bytes, Sequence[bytes]]) -> "Descriptor":
        known = dict(self.layers)
        wanted = {entry.pieces_root for entry in self.files if entry.length > self.piece_length}
        for root, layer in layers.items():
            if root not in wanted:
                raise DescriptorError(f"piece layer for a root that no file of several pieces has: {root.hex()}")
            known[root] = tuple(layer)
        for entry in self.files:
            # Files may share a root; two lengths that claim the same one must not pass with the layer of either.
            given = layers.get(entry.pieces_root or b"") if entry.length > self.piece_length else None
            if given is not None:
                _check_layer(entry, given, self.piece_length)
        return attrs.evolve(self, layers=known)

    def to_torrent(self, trackers: Sequence[str] = (), mirrors: Sequence[str] = ()) -> bytes:
        """The `.torrent` file: this info dict, the piece layers, trackers (BEP 3, 12) and web seeds (BEP 19).

        Of a folder a web seed is the URL of what it lies in, and ends in a slash.
        """
        top: dict[bytes, Any] = {b"info": bdecode(self.info)}
        if not self.flat:
            top[b"piece layers"] = {root: b"".join(layer) for root, layer in self.layers.items()}
        if trackers:
            top[b"announce"] = trackers[0]
            top[b"announce-list"] = [[url] for url in trackers]
        if mirrors:
            top[b"url-list"] = [url if self.single or url.endswith("/") else f"{url}/" for url in mirrors]
        return bencode(top)


@attrs.frozen
class Torrent:
    """A `.torrent` file: the descriptor, and the trackers and web seeds somebody wrote beside it.

    `tiers` are groups of trackers: one of the next group is asked when none of this one answers (BEP 12).
    """

    descriptor: Descriptor
    tiers: tuple[tuple[str, ...], ...] = ()
    mirrors: tuple[str, ...] = ()

    @property
    def trackers(self) -> tuple[str, ...]:
        """All trackers, in their order."""
        return tuple(dict.fromkeys(url for tier in self.tiers for url in tier))


def v1_hash(info: bytes) -> bytes:
    """The BitTorrent v1 info-hash (BEP 3): a name, whatever SHA-1 is worth otherwise."""
    return sha1(info, usedforsecurity=False).digest()


def make_descriptor(
    name: str,
    files: Sequence[tuple[FileEntry, Sequence[bytes]]],
    piece_length: int | None = None,
) -> Descriptor:
    """The canonical descriptor: nothing in the info dict but what the content determines, and the name.

    `files` are entries with their piece layers (empty for a file no longer than a piece). A single file has the path
    `(name,)`. Raises DescriptorError for unsafe or clashing names.
    """
    if piece_length is None:
        piece_length = piece_length_for(sum(entry.length for entry, _ in files))
    tree: dict[bytes, Any] = {}
    for entry, _ in files:
        node = tree
        for part in entry.path:
            node = node.setdefault(check_name(part).encode(), {})
            if b"" in node:
                raise DescriptorError(f"two files share the path {'/'.join(entry.path)!r}")
        if node:
            raise DescriptorError(f"two files share the path {'/'.join(entry.path)!r}")
        node[b""] = {b"length": entry.length}
        if entry.pieces_root is not None:
            node[b""][b"pieces root"] = entry.pieces_root
    info = bencode(
        {
            b"file tree": tree,
            b"meta version": 2,
            b"name": check_name(name).encode(),
            b"piece length": piece_length,
        }
    )
    layers: dict[bytes, Sequence[bytes]] = {}
    for entry, layer in files:
        if layer and entry.pieces_root is not None:
            layers[entry.pieces_root] = layer
    return parse_info(info)._with_layers(layers)


def parse_info(info: bytes) -> Descriptor:
    """A descriptor from the info dict alone, as peers send it (BEP 9). Raises DescriptorError."""
    if len(info) > MAX_INFO:
        raise DescriptorError(f"info dict of {len(info)} bytes is larger than {MAX_INFO}")
    return _from_info(info, decode(info, "info dict"))


def parse_torrent(data: bytes) -> Torrent:
    """Read a `.torrent` file, v2 or hybrid (its v2 side). Raises DescriptorError."""
    if len(data) > MAX_TORRENT:
        raise DescriptorError(f"metainfo of {len(data)} bytes is larger than {MAX_TORRENT}")
    top = decode(data, "metainfo")
    info = top.get(b"info")
    if not isinstance(info, dict):
        raise DescriptorError("metainfo without an info dict")
    descriptor = _from_info(bencode(info), info)
    layers = top.get(b"piece layers", {})
    if not isinstance(layers, dict):
        raise DescriptorError("piece layers are not a dictionary")
    known: dict[bytes, tuple[bytes, ...]] = {}
    for entry in descriptor.files:
        raw = layers.get(entry.pieces_root) if entry.length > descriptor.piece_length else None
        if raw is None:
            continue
        if not isinstance(raw, bytes) or len(raw) % HASH_SIZE:
            raise DescriptorError(f"piece layer of {'/'.join(entry.path)!r} is not a row of 32-byte hashes")
        layer = tuple(raw[at : at + HASH_SIZE] for at in range(0, len(raw), HASH_SIZE))
        _check_layer(entry, layer, descriptor.piece_length)
        assert entry.pieces_root is not None
        known[entry.pieces_root] = layer
    return Torrent(attrs.evolve(descriptor, layers=known), *hints(top))


def _from_info(info: bytes, fields: Mapping[bytes, Any]) -> Descriptor:
    version = fields.get(b"meta version")
    if version != 2:
        raise DescriptorError(
            "a BitTorrent v1 metainfo; one of v2 or a hybrid is needed here"
            if version is None
            else f"meta version {version!r} is unknown; 2 is read"
        )
    piece_length = fields.get(b"piece length")
    if not isinstance(piece_length, int):
        raise DescriptorError("info dict without a piece length")
    tree = fields.get(b"file tree")
    if not isinstance(tree, dict) or not tree:
        raise DescriptorError("info dict without a file tree")
    files: list[FileEntry] = []
    _walk(tree, (), files)
    return Descriptor(
        info,
        text(fields.get(b"name"), "name"),
        piece_length,
        tuple(files),
        hybrid=b"pieces" in fields,
        private=fields.get(b"private") == 1,
    )


def _walk(tree: Mapping[bytes, Any], path: tuple[str, ...], files: list[FileEntry]) -> None:
    if len(path) > MAX_DEPTH:
        raise DescriptorError(f"file tree deeper than {MAX_DEPTH} folders")
    for raw, node in tree.items():
        where = (*path, text(raw, "file tree"))
        shown = "/".join(where)
        if not isinstance(node, dict) or not node:
            raise DescriptorError(f"{shown!r} in the file tree is neither a file nor a folder")
        leaf = node.get(b"")
        if leaf is None:
            _walk(node, where, files)
            continue
        if len(node) != 1 or not isinstance(leaf, dict):
            raise DescriptorError(f"{shown!r} in the file tree is both a file and a folder")
        length, root = valid_length(leaf, shown), leaf.get(b"pieces root")
        if b"l" in attributes(leaf):
            raise DescriptorError(f"{shown!r} is a symbolic link, which is not followed")
        if length and (not isinstance(root, bytes) or len(root) != HASH_SIZE):
            raise DescriptorError(f"{shown!r} has no pieces root of {HASH_SIZE} bytes")
        files.append(FileEntry(where, length, root if length else None))
        if len(files) > MAX_FILES:
            raise DescriptorError(f"more than {MAX_FILES} files")


def _check_layer(entry: FileEntry, layer: Sequence[bytes], piece_length: int) -> None:
    shown = "/".join(entry.path)
    expected = -(-entry.length // piece_length)
    if len(layer) != expected:
        raise DescriptorError(f"piece layer of {shown!r} has {len(layer)} hashes, {expected} are needed")
    if file_root(layer, piece_length) != entry.pieces_root:
        raise DescriptorError(f"piece layer of {shown!r} does not lead to its pieces root")
