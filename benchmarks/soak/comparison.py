"""Do the statistics say what went over the wire? Sums by kind beside counters that others keep."""

from typing import Final

import attrs

from benchmarks.soak.customers import Books
from benchmarks.soak.site import NODES, Site

ALLOWED: Final = 0.01
"""How far the statistics may be off."""

_CACHES: Final = tuple(name for name in NODES if name.startswith("cache"))
_RECEIVED: Final = "node_received_bytes_total"


@attrs.frozen
class Line:
    """What is compared: what is said, what it is held against, in bytes; `binding`: it must be within 1 %."""

    what: str
    said: int
    truth: int
    binding: bool = True

    @property
    def off(self) -> float:
        """How far it is off, as a share of the truth."""
        return (self.said - self.truth) / self.truth if self.truth else float(bool(self.said))

    @property
    def good(self) -> bool:
        """Whether it is as near as it must be."""
        return not self.binding or abs(self.off) <= ALLOWED


def compare(site: Site, books: Books, statistics: dict[str, int]) -> list[Line]:
    """All comparisons, once everybody has said his last and the samples are in."""

    def fetched(names: tuple[str, ...], *kinds: str) -> int:
        return sum(site.counted(name, f"{_RECEIVED} {kind}") for name in names for kind in kinds)

    peer = ("peer",)
    near, far = "peer_local", "peer_remote"
    fills = fetched(_CACHES, "server", "supernode", near, far)
    given = sum(site.counted(name, "node_uploaded_bytes_total") for name in NODES) + books.uploaded
    taken = statistics["supernode"] + statistics[near] + statistics[far]
    filled = fetched(_CACHES, "supernode", near, far)
    to_caches = sum(site.counts.of(NODES[name]) for name in _CACHES)
    return [
        Line(
            "from servers, statistics against the origin's count", statistics["server"], site.counts.total - to_caches
        ),
        Line("fills, statistics against the super nodes' counters", statistics["fill"], fills),
        Line(
            "fills and downloads from servers against the origin", statistics["server"] + to_caches, site.counts.total
        ),
        Line(
            "from super nodes, statistics against the clients' accounts",
            statistics["supernode"],
            books.received["supernode"] + fetched(peer, "supernode"),
        ),
        Line(
            "from peers, statistics against the clients' accounts",
            statistics[near] + statistics[far],
            books.received["peer"] + fetched(peer, near, far),
        ),
        Line(
            "from servers, statistics against the clients' accounts",
            statistics["server"],
            books.received["server"] + fetched(peer, "server"),
        ),
        # What was under way when a client was interrupted or killed is given and not received.
        Line("from peers and super nodes, against what they gave", taken + filled, given, binding=False),
        Line(
            "all bytes, statistics against accounts and counters",
            taken + statistics["server"] + statistics["fill"],
            books.received.total() + fetched(peer, "server", "supernode", near, far) + fills,
        ),
    ]
