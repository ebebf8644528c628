"""Which resource does this text name? Resource ids and magnet links (BEP 9, BEP 52)."""

import re
from base64 import b32decode
from binascii import Error as Base32Error
from urllib.parse import parse_qsl, quote, urlsplit

import attrs

from p2sp.resource.errors import MagnetError

_ID = re.compile(r"[0-9a-fA-F]{64}")
_V1_ID = re.compile(r"[0-9a-fA-F]{40}")
_V1_PREFIX = "urn:btih:"
V1_ID_SIZE = 20
_MULTIHASH_SHA256 = "1220"
_MAX_LINK = 16 * 1024
_MAX_LIST = 100


def parse_resource_id(text: str) -> bytes:
    """The 32 bytes of a resource id written as 64 hex digits. Raises MagnetError."""
    if not _ID.fullmatch(text):
        raise MagnetError(f"not a resource id (64 hex digits): {text[:80]!r}")
    return bytes.fromhex(text)


@attrs.frozen
class Magnet:
    """What a magnet link says: the id, and hints that nobody has to believe.

    The id is the v1 info-hash, of 20 bytes, where a link has no other; `v1_hash` is that of a hybrid, beside its id.
    `peers` are addresses of nodes that have it (`x.pe`), in clear text.
    """

    resource_id: bytes
    name: str | None = None
    trackers: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    v1_hash: bytes | None = None
    peers: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        parts = []
        if len(self.resource_id) == V1_ID_SIZE:
            parts.append(f"xt={_V1_PREFIX}{self.resource_id.hex()}")
        else:
            parts.append(f"xt=urn:btmh:{_MULTIHASH_SHA256}{self.resource_id.hex()}")
        if self.v1_hash is not None:
            parts.append(f"xt={_V1_PREFIX}{self.v1_hash.hex()}")
        if self.name:
            parts.append(f"dn={quote(self.name, safe='')}")
        parts += [f"tr={quote(url, safe='')}" for url in self.trackers]
        parts += [f"ws={quote(url, safe='')}" for url in self.mirrors]
        parts += [f"x.pe={f'[{host}]' if ':' in host else host}:{port}" for host, port in self.peers]
        return "magnet:?" + "&".join(parts)


def parse_magnet(text: str) -> Magnet:
    """Read a magnet link with an info-hash of v2 (`xt=urn:btmh:1220...`), of v1 (`urn:btih`) or both.

    Raises MagnetError.
    """
    if len(text) > _MAX_LINK:
        raise MagnetError(f"magnet link longer than {_MAX_LINK} characters")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise MagnetError(f"not a magnet link: {text[:80]!r}") from error
    if parts.scheme.lower() != "magnet":
        raise MagnetError(f"not a magnet link: {text[:80]!r}")
    try:
        fields = parse_qsl(parts.query, max_num_fields=_MAX_LIST * 3)
    except ValueError as error:
        raise MagnetError(f"magnet link with too many fields: {text[:80]!r}") from error
    topics = [value.lower() for key, value in fields if key == "xt" or key.startswith("xt.")]
    prefix = f"urn:btmh:{_MULTIHASH_SHA256}"
    found = [topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix)]
    old = [_v1_id(topic.removeprefix(_V1_PREFIX)) for topic in topics if topic.startswith(_V1_PREFIX)]
    if not found and not old:
        raise MagnetError("magnet link without xt=urn:btmh:1220... or xt=urn:btih:...")
    return Magnet(
        resource_id=parse_resource_id(found[0]) if found else old[0],
        name=next((value for key, value in fields if key == "dn"), None),
        trackers=tuple(value for key, value in fields if key == "tr" or key.startswith("tr."))[:_MAX_LIST],
        mirrors=tuple(value for key, value in fields if key == "ws")[:_MAX_LIST],
        v1_hash=old[0] if found and old else None,
        peers=tuple(peer for key, value in fields if key == "x.pe" and (peer := _peer(value)))[:_MAX_LIST],
    )


def _v1_id(text: str) -> bytes:
    """A v1 info-hash in hex or, as links once had it, in base32. Raises MagnetError."""
    if _V1_ID.fullmatch(text):
        return bytes.fromhex(text)
    try:
        found = b32decode(text, casefold=True)
    except (Base32Error, ValueError):
        found = b""
    if len(found) != V1_ID_SIZE:
        raise MagnetError(f"not a BitTorrent v1 info-hash (40 hex digits): {text[:80]!r}")
    return found


def _peer(text: str) -> tuple[str, int] | None:
    """Host and port; None for what is neither, which is passed over."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        return None
    return bare, int(port)
