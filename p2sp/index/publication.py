"""Is what a publisher sends a resource that others can download and verify?"""

from typing import Final

import attrs
from bencode2 import bencode

from p2sp.index.schema import FileView, PublishRequest
from p2sp.index.urls import UrlError, normal_url, target_of
from p2sp.resource.descriptor import MAX_TORRENT, Descriptor, parse_torrent

MAX_MIRRORS: Final = 100
# A list of URLs is added to what is stored when a torrent is given out; together they must still be readable.
_ROOM_FOR_URLS: Final = 256 * 1024


class PublicationError(ValueError):
    """A publication that cannot be taken; the text says what is wrong with it."""


@attrs.frozen
class Mirror:
    """A resource server: its URL as published, in the spelling that is compared, and where the bytes are."""

    url: str
    target: str


@attrs.frozen
class Publication:
    """A resource as it is stored: what can be looked up, and its torrent without mirrors."""

    id: str
    name: str
    length: int
    piece_length: int
    files: tuple[FileView, ...]
    single: bool
    torrent: bytes = attrs.field(repr=False)
    mirrors: tuple[Mirror, ...] = ()
    sha256: str | None = None


def examine(request: PublishRequest) -> Publication:
    """What a request publishes, every hash of it checked.

    The torrent's own web seeds (BEP 19) count as mirrors where they are fit to be. Raises DescriptorError for a
    torrent that breaks BEP 52, PublicationError for one that cannot be verified piece by piece or contradicts the
    rest of the request, UrlError for a mirror that cannot be one.
    """
    torrent = parse_torrent(request.torrent)
    descriptor = torrent.descriptor
    for missing in descriptor.missing_layers[:1]:
        raise PublicationError(f"the torrent has no piece layer for {'/'.join(missing.path)!r}")
    if request.sha256 is not None and not descriptor.single:
        raise PublicationError("a sha256 belongs to a lone file, and this is a tree of files")
    stored = descriptor.to_torrent()
    if len(stored) > MAX_TORRENT - _ROOM_FOR_URLS:
        raise PublicationError(
            f"the torrent takes {len(stored)} bytes and {MAX_TORRENT - _ROOM_FOR_URLS} are allowed; use larger pieces"
        )
    return Publication(
        id=descriptor.resource_id.hex(),
        name=descriptor.name,
        length=descriptor.length,
        piece_length=descriptor.piece_length,
        files=tuple(_files(descriptor)),
        single=descriptor.single,
        torrent=stored,
        mirrors=_mirrors(request.mirrors, torrent.mirrors, descriptor.name),
        sha256=request.sha256,
    )


def with_mirrors(torrent: bytes, mirrors: list[str]) -> bytes:
    """A stored torrent with its mirrors as web seeds (BEP 19), without reading megabytes of piece layers again."""
    if not mirrors:
        return torrent
    # "url-list" sorts behind "info" and "piece layers", the only keys a stored torrent has.
    return torrent[:-1] + bencode("url-list") + bencode(mirrors) + b"e"


def _files(descriptor: Descriptor) -> list[FileView]:
    return [
        FileView("/".join(entry.path), entry.length, entry.pieces_root.hex() if entry.pieces_root else None)
        for entry in descriptor.files
    ]


def _mirrors(stated: list[str], seeds: tuple[str, ...], name: str) -> tuple[Mirror, ...]:
    found: dict[str, Mirror] = {}
    for url in stated:
        mirror = Mirror(normal_url(url), target_of(url, name))
        found.setdefault(mirror.target, mirror)
    for url in seeds:
        try:
            mirror = Mirror(normal_url(url), target_of(url, name))
        except UrlError:
            # Others wrote the torrent: what they list and we would refuse is not the publisher's fault.
            continue
        if len(found) < MAX_MIRRORS:
            found.setdefault(mirror.target, mirror)
    return tuple(found.values())
