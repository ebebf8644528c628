"""What does a Metalink say of a file: its size, its hashes, and who carries it?

The values alone: `metalink_xml` reads and writes them, and nobody else needs XML.
"""

from collections.abc import Mapping, Sequence

import attrs

from p2sp.resource.errors import MetalinkError

MAX_METALINK = 4 * 1024 * 1024
"""Bytes of the largest Metalink that is read."""

MEDIA_TYPE = "application/metalink4+xml"
STRENGTH = ("sha512", "sha384", "sha256", "sha3_512", "sha3_384", "sha3_256", "sha224", "sha1", "md5")
"""Digests that are read, by hashlib's name, the best first."""


@attrs.frozen
class FlatPieces:
    """Digests of a file's pieces of `length` bytes, in order; `algorithm` is hashlib's name."""

    algorithm: str
    length: int
    hashes: tuple[bytes, ...]


@attrs.frozen
class MetalinkFile:
    """One file of a Metalink. `size` is None where it is not told; `urls` are http(s), best first.

    `digests` are of the whole file, by hashlib's name; `torrents` are URLs of a `.torrent` of it.
    """

    name: str
    size: int | None = None
    digests: Mapping[str, bytes] = attrs.field(factory=dict)
    pieces: FlatPieces | None = None
    urls: tuple[str, ...] = ()
    torrents: tuple[str, ...] = ()


def the_one(files: Sequence[MetalinkFile], size: int | None = None) -> MetalinkFile:
    """The only file of a Metalink, or the only one of this size. Raises MetalinkError naming the files."""
    fitting = [file for file in files if size is None or file.size in (None, size)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(file.name for file in files[:10]) + (", ..." if len(files) > 10 else "")
    if not fitting:
        raise MetalinkError(f"a Metalink of another file: {names} is not of {size} bytes")
    raise MetalinkError(f"a Metalink of {len(files)} files ({names}); only a Metalink of one file is fetched")


def strongest(digests: Mapping[str, bytes]) -> tuple[str, bytes] | None:
    """The digest that is hardest to forge, as hashlib's name and digest; None of nothing."""
    return next(((name, digests[name]) for name in STRENGTH if name in digests), None)
