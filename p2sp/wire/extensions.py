"""What do the extension messages of BEP 10 mean: their handshake, metadata (BEP 9) and lt_donthave (BEP 54)?

Those about other nodes (BEP 11) are in `p2sp.wire.pex`.
"""

from struct import Struct
from typing import Any, Final

import msgspec
from bencode2 import bdecode, bencode

from p2sp.resource.descriptor import MAX_INFO
from p2sp.resource.merkle import BLOCK
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.pex import Neighbours, decode_neighbours

METADATA: Final = b"ut_metadata"
DONT_HAVE: Final = b"lt_donthave"
PEX: Final = b"ut_pex"
OURS: Final = {METADATA: 1, DONT_HAVE: 2, PEX: 3}
"""The ids under which the other side sends us these extensions."""

DEFAULT_REQQ: Final = 250
"""Requests one may have outstanding at a side that does not say (BEP 10)."""

MAX_METADATA_HEAD: Final = 1024
_MAX_EXTENSIONS: Final = 100
_MAX_VERSION: Final = 100
_WORD = Struct(">I")


class Abilities(msgspec.Struct, frozen=True):
    """What extension handshakes say: message ids by extension, bytes of the info dict, queue length, version, and the
    port that is listened on (0: not said)."""

    ids: dict[bytes, int] = {}
    metadata_size: int | None = None
    reqq: int = DEFAULT_REQQ
    version: str = ""
    port: int = 0


class MetadataRequest(msgspec.Struct, frozen=True, gc=False):
    """Give me that part of the info dict (BEP 9)."""

    part: int


class MetadataPart(msgspec.Struct, frozen=True, gc=False):
    """One part of the info dict, 16 KiB but for the last."""

    part: int
    total: int
    data: bytes


class MetadataReject(msgspec.Struct, frozen=True, gc=False):
    """That part cannot be had from me."""

    part: int


class DontHave(msgspec.Struct, frozen=True, gc=False):
    """A piece can no longer be had from me (BEP 54)."""

    piece: int


def metadata_parts(size: int) -> int:
    """Parts that an info dict of `size` bytes is sent in."""
    return -(-size // BLOCK)


def metadata_part_size(size: int, part: int) -> int:
    """Bytes of one part of an info dict of `size` bytes."""
    return min(BLOCK, size - part * BLOCK)


def encode_abilities(abilities: Abilities) -> bytes:
    """The payload of an extension handshake."""
    fields: dict[bytes, Any] = {
        b"m": dict(sorted(abilities.ids.items())),
        b"reqq": abilities.reqq,
        b"v": abilities.version,
    }
    if abilities.metadata_size is not None:
        fields[b"metadata_size"] = abilities.metadata_size
    if abilities.port:
        fields[b"p"] = abilities.port
    return bencode(fields)


_NOTHING_SAID: Final = Abilities()


def decode_abilities(payload: bytes, before: Abilities = _NOTHING_SAID) -> Abilities:
    """Read an extension handshake; fields of the wrong type are passed over, as BEP 10 asks.

    `before` is what earlier ones said: it holds as far as this one says nothing else. An extension comes in by an id of
    1 to 255 and goes by 0. Raises RemoteProtocolError for what is no dictionary or names a metadata size beyond the
    limit.
    """
    fields = _dictionary(payload, "extension handshake")
    raw_ids = fields.get(b"m")
    ids = dict(before.ids)
    if isinstance(raw_ids, dict):
        ids |= {name: value for name, value in raw_ids.items() if isinstance(value, int) and 0 <= value < 256}
        if len(raw_ids) > _MAX_EXTENSIONS or len(ids) > _MAX_EXTENSIONS:
            raise RemoteProtocolError(
                f"extension handshake with {max(len(raw_ids), len(ids))} extensions; {_MAX_EXTENSIONS} are read"
            )
    size = _count(fields, b"metadata_size")
    if size is not None and size > MAX_INFO:
        raise RemoteProtocolError(f"extension handshake with metadata of {size} bytes; {MAX_INFO} are allowed")
    version = fields.get(b"v")
    text = version[:_MAX_VERSION].decode("utf-8", "replace") if isinstance(version, bytes) else before.version
    port = _count(fields, b"p") or 0
    return Abilities(
        {name: value for name, value in ids.items() if value},
        size or before.metadata_size,
        _count(fields, b"reqq") or before.reqq,
        text,
        port if 0 < port < 1 << 16 else before.port,
    )


def encode_metadata(message: MetadataRequest | MetadataPart | MetadataReject) -> bytes:
    """The payload of a metadata message: a bencoded dictionary, and behind it the bytes of a part (BEP 9)."""
    match message:
        case MetadataRequest(part):
            return bencode({b"msg_type": 0, b"piece": part})
        case MetadataPart(part, total, data):
            return bencode({b"msg_type": 1, b"piece": part, b"total_size": total}) + data
        case MetadataReject(part):
            return bencode({b"msg_type": 2, b"piece": part})


def decode_metadata(payload: bytes, size: int | None) -> MetadataRequest | MetadataPart | MetadataReject | None:
    """Read a metadata message; None for a type that BEP 9 does not know.

    `size` is what the sender's handshake said of the info dict: where the dictionary ends and the part's bytes begin
    follows from it. Raises RemoteProtocolError.
    """
    if len(payload) <= MAX_METADATA_HEAD:
        # A short message may be any of the three: only one without bytes behind it is a dictionary as a whole.
        whole = _try_dictionary(payload)
        if whole is not None:
            return _metadata(whole, b"", size)
    if size is None:
        raise RemoteProtocolError("metadata message that is no dictionary, from a side that announced no metadata")
    last = metadata_part_size(size, metadata_parts(size) - 1)
    for length in dict.fromkeys((BLOCK, last)):
        if not 0 < len(payload) - length <= MAX_METADATA_HEAD:
            continue
        head = _try_dictionary(payload[: len(payload) - length])
        if head is not None:
            return _metadata(head, payload[len(payload) - length :], size)
    raise RemoteProtocolError(f"metadata message of {len(payload)} bytes that holds no part of an info dict of {size}")


def _metadata(
    fields: dict[bytes, Any], data: bytes, size: int | None
) -> MetadataRequest | MetadataPart | MetadataReject | None:
    part = _count(fields, b"piece")
    if part is None:
        raise RemoteProtocolError("metadata message without a piece")
    match fields.get(b"msg_type"):
        case 0:
            return MetadataRequest(part)
        case 1:
            if size is None or part >= metadata_parts(size):
                raise RemoteProtocolError(f"part {part} of metadata of {size} bytes")
            if fields.get(b"total_size") not in (None, size):
                raise RemoteProtocolError(f"metadata of {fields[b'total_size']!r} bytes; {size} were announced")
            if len(data) != metadata_part_size(size, part):
                raise RemoteProtocolError(f"part {part} of metadata has {len(data)} bytes")
            return MetadataPart(part, size, data)
        case 2:
            return MetadataReject(part)
    return None


def encode_dont_have(piece: int) -> bytes:
    """The payload of lt_donthave."""
    return _WORD.pack(piece)


def decode_dont_have(payload: bytes) -> DontHave:
    """Read lt_donthave. Raises RemoteProtocolError."""
    if len(payload) != _WORD.size:
        raise RemoteProtocolError(f"lt_donthave of {len(payload)} bytes; it has {_WORD.size}")
    return DontHave(_WORD.unpack(payload)[0])


def decode_pex(payload: bytes) -> Neighbours:
    """Read ut_pex. Raises RemoteProtocolError."""
    return decode_neighbours(_dictionary(payload, "ut_pex"))


def _count(fields: dict[bytes, Any], key: bytes) -> int | None:
    value = fields.get(key)
    return value if isinstance(value, int) and 0 <= value < 1 << 32 else None


def _try_dictionary(payload: bytes) -> dict[bytes, Any] | None:
    try:
        value = bdecode(payload)
    except ValueError:
        # Also what the decoder does not call its own: an integer of thousands of digits.
        return None
    return value if isinstance(value, dict) else None


def _dictionary(payload: bytes, what: str) -> dict[bytes, Any]:
    value = _try_dictionary(payload)
    if value is None:
        raise RemoteProtocolError(f"{what} is no bencoded dictionary")
    return value
