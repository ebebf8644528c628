"""What does a node call out on its own network, byte for byte?"""

from struct import Struct
from typing import Final

import attrs

HASH: Final = 20
MAX_HASHES: Final = 32
"""Resources of one call: it fits any network's packet."""

_MAGIC: Final = b"p2sp-lan\x01"
_HEAD: Final = Struct(">9s8s32sHBB")
MAX_CALL: Final = _HEAD.size + HASH * MAX_HASHES
_ASKING: Final = 1


@attrs.frozen
class Call:
    """What says that a node is here: its id, the port of its wire, what it takes part in (truncated info-hashes).

    `cookie` (8 bytes) is the sender's own, so that it knows its own calls; who is `asking` wants to hear who else is
    there.
    """

    cookie: bytes
    node_id: str
    port: int
    hashes: tuple[bytes, ...]
    asking: bool = False


def encode_call(call: Call) -> bytes:
    """The datagram of a call: head, then the hashes one after another."""
    flags = _ASKING if call.asking else 0
    head = _HEAD.pack(_MAGIC, call.cookie, bytes.fromhex(call.node_id), call.port, flags, len(call.hashes))
    return head + b"".join(call.hashes)


def decode_call(data: bytes) -> Call | None:
    """The call in a datagram; None for anything that is none. Flags not known are passed over."""
    if not _HEAD.size <= len(data) <= MAX_CALL:
        return None
    magic, cookie, node_id, port, flags, count = _HEAD.unpack_from(data)
    if magic != _MAGIC or not port or not 0 < count <= MAX_HASHES or len(data) != _HEAD.size + HASH * count:
        return None
    hashes = tuple(data[at : at + HASH] for at in range(_HEAD.size, len(data), HASH))
    return Call(cookie, node_id.hex(), port, hashes, bool(flags & _ASKING))
