"""Which resource does this text name? Resource ids and magnet links (BEP 9, BEP 52)."""

import re
from urllib.parse import parse_qsl, quote, urlsplit

import attrs

from p2sp.resource.errors import MagnetError

_ID = re.compile(r"[0-9a-fA-F]{64}")
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
    """What a magnet link says: the id, and hints that nobody has to believe."""

    resource_id: bytes
    name: str | None = None
    trackers: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"xt=urn:btmh:{_MULTIHASH_SHA256}{self.resource_id.hex()}"]
        if self.name:
            parts.append(f"dn={quote(self.name, safe='')}")
        parts += [f"tr={quote(url, safe='')}" for url in self.trackers]
        parts += [f"ws={quote(url, safe='')}" for url in self.mirrors]
        return "magnet:?" + "&".join(parts)


def parse_magnet(text: str) -> Magnet:
    """Read a magnet link with a v2 info-hash (`xt=urn:btmh:1220...`). Raises MagnetError."""
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
    if not found:
        if any(topic.startswith("urn:btih:") for topic in topics):
            raise MagnetError(
                "magnet link names a BitTorrent v1 resource only (urn:btih); a v2 one (urn:btmh) is needed"
            )
        raise MagnetError("magnet link without xt=urn:btmh:1220...")
    return Magnet(
        resource_id=parse_resource_id(found[0]),
        name=next((value for key, value in fields if key == "dn"), None),
        trackers=tuple(value for key, value in fields if key == "tr")[:_MAX_LIST],
        mirrors=tuple(value for key, value in fields if key == "ws")[:_MAX_LIST],
    )
