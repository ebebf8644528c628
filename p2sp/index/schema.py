"""What do publishers, clients and the index say to each other?"""

from typing import Annotated, Final

from msgspec import Meta, Struct

from p2sp.net.fields import Count, ResourceId

MOST_NAMES: Final = 500
"""Names asked for at once."""

Hex64 = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
Url = Annotated[str, Meta(max_length=2048, pattern="^https?://")]


class PublishRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A descriptor with the servers that carry it; publishing again adds mirrors.

    `torrent` is the metainfo file (base64 in JSON), complete with piece layers. `sha256` is the digest of a lone file
    as the publisher states it.
    """

    torrent: Annotated[bytes, Meta(max_length=32 * 1024 * 1024)]
    mirrors: Annotated[list[Url], Meta(max_length=100)] = []
    sha256: Hex64 | None = None


class PublishAnswer(Struct, frozen=True):
    """How the resource is called from now on."""

    id: ResourceId
    magnet: str


class FileView(Struct, frozen=True):
    """One file of a resource."""

    path: str
    length: Count
    root: Hex64 | None = None


class ResourceView(Struct, frozen=True):
    """What the index knows of a resource.

    `files` may show only the first ones: `file_count` says how many there are, and the torrent has them all.
    """

    id: ResourceId
    name: str
    length: Count
    piece_length: Count
    files: list[FileView]
    mirrors: list[str]
    magnet: str
    sha256: Hex64 | None = None
    published: float = 0.0
    file_count: int = 0


class NamesRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What are these called?"""

    ids: Annotated[list[ResourceId], Meta(max_length=MOST_NAMES)]


class NamesAnswer(Struct, frozen=True):
    """The names of those that are known, by id."""

    names: Annotated[dict[ResourceId, Annotated[str, Meta(max_length=255)]], Meta(max_length=MOST_NAMES)]


class LookupAnswer(Struct, frozen=True):
    """Resources that match; empty when none does."""

    resources: list[ResourceView]
