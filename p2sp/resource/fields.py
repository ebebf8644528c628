"""How are the fields of a metainfo read that somebody else wrote?"""

from collections.abc import Mapping
from typing import Any

from bencode2 import bdecode

from p2sp.resource.errors import DescriptorError
from p2sp.resource.names import check_name

_MAX_URLS = 100
_WEB = ("http://", "https://")
_TRACKERS = (*_WEB, "udp://")


def decode(data: bytes, what: str) -> dict[bytes, Any]:
    """The dictionary that `data` is. Raises DescriptorError."""
    try:
        value = bdecode(data)
    except ValueError as error:
        raise DescriptorError(f"{what} is not valid bencoding: {error}") from error
    if not isinstance(value, dict):
        raise DescriptorError(f"{what} is not a dictionary")
    return value


def valid_length(fields: Mapping[bytes, Any], shown: str) -> int:
    """The length of a file. Raises DescriptorError."""
    length = fields.get(b"length")
    if not isinstance(length, int) or isinstance(length, bool) or not 0 <= length < 1 << 62:
        raise DescriptorError(f"{shown!r} has no valid length")
    return length


def text(raw: object, what: str) -> str:
    """A name that is safe in a path. Raises DescriptorError."""
    if not isinstance(raw, bytes):
        raise DescriptorError(f"{what} is not a string")
    try:
        return check_name(raw.decode())
    except UnicodeDecodeError as error:
        raise DescriptorError(f"{what} is not UTF-8: {raw[:40]!r}") from error


def attributes(fields: Mapping[bytes, Any]) -> bytes:
    """What a file is besides its bytes, a letter each (BEP 47)."""
    value = fields.get(b"attr")
    return value if isinstance(value, bytes) else b""


def hints(top: Mapping[bytes, Any]) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """The tiers of trackers (BEP 3, 12) and the web seeds (BEP 19) of a metainfo."""
    # The list counts alone where there is one.
    tiers = _tiers(top.get(b"announce-list")) or _tiers([[top.get(b"announce")]])
    return tiers, _urls(top.get(b"url-list"), _WEB)


def _tiers(groups: object) -> tuple[tuple[str, ...], ...]:
    seen: dict[str, None] = {}
    tiers: list[tuple[str, ...]] = []
    for group in groups if isinstance(groups, list) else ():
        urls = _urls(group, _TRACKERS) if isinstance(group, list) else ()
        fresh = tuple(url for url in dict.fromkeys(urls) if url not in seen)[: _MAX_URLS - len(seen)]
        if fresh:
            seen.update(dict.fromkeys(fresh))
            tiers.append(fresh)
    return tuple(tiers)


def _urls(value: object, schemes: tuple[str, ...]) -> tuple[str, ...]:
    """URLs out of a list or a lone string; what is none of these schemes is passed over, as others do."""
    items = value if isinstance(value, list) else [value]
    texts = (item.decode("utf-8", "replace") for item in items if isinstance(item, bytes))
    return tuple(url for url in texts if url.startswith(schemes))[:_MAX_URLS]
