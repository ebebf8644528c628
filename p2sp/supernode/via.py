"""Which super nodes does a request come through, so that no two of them fetch from each other in a circle?"""

import re
from collections.abc import Callable, Iterable
from typing import Final

MAX_HOPS: Final = 16
"""Names of super nodes that are looked at, and told; a chain that long is a circle."""

PATIENCE: Final = 5.0
"""Seconds that another super node is let wait for a piece: it may be what our own fetch waits for."""

_NAMED: Final = re.compile(r"(?:^|,)[ \t]*(?:HTTP/)?1\.[01][ \t]+(p2sp-[0-9a-f]{16})\b", re.I)


def name_of(node_id: str) -> str:
    """What a super node calls itself in a `Via` field (RFC 9110 section 7.6.3): a pseudonym by its node id."""
    return f"p2sp-{node_id[:16]}"


def hops(header: str | None) -> frozenset[str]:
    """The super nodes that a `Via` field names, other proxies left out."""
    return frozenset(_NAMED.findall(header or "")[:MAX_HOPS])


def through(name: str, asked: Callable[[], Iterable[str]]) -> Callable[[], str]:
    """What `Via` says of a fetch by the super node of this name, on behalf of those that ask at that time."""

    def field() -> str:
        before = sorted(set(asked()) - {name})[: MAX_HOPS - 1]
        return ", ".join(f"1.1 {each}" for each in [*before, name])

    return field
