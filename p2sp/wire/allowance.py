"""Which pieces may somebody have of us while we choke them (BEP 6, allowed fast)? Pure."""

from hashlib import sha1
from ipaddress import IPv4Address, ip_address
from typing import Final

from p2sp.resource.layout import Layout

MOST: Final = 10
"""Pieces in a set; who has as many of its own is not a newcomer."""

BYTES: Final = 4 * 1024 * 1024
"""Bytes of the pieces in a set, unless a single piece is longer."""


def allowed_fast(host: str, info_hash: bytes, layout: Layout) -> list[int]:
    """The set for a node at an address: the same from everybody, so that asking many brings no more (BEP 6).

    The function is made for IPv4: there is no set for others, nor for what is no address.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return []
    if not isinstance(address, IPv4Address):
        return []
    count = min(MOST, max(BYTES // layout.piece_length, 1), layout.piece_count)
    found: dict[int, None] = {}
    row = address.packed[:3] + b"\0" + info_hash
    while len(found) < count:
        row = sha1(row, usedforsecurity=False).digest()
        for at in range(0, 20, 4):
            if len(found) < count:
                found.setdefault(int.from_bytes(row[at : at + 4], "big") % layout.piece_count)
    return list(found)
