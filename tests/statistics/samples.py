"""Which samples do the tests of the statistics server send?"""

from p2sp.statistics.schema import Sample
from p2sp.tracker.schema import Counters, Event

RESOURCE = "ab" * 32
NODE = "11" * 32
NOW = 1_800_000_000.0
FIRST = int(NOW * 1e6) + 1
"""The first revision of a store that was made at NOW."""


def a_sample(
    *,
    session: str = "0123456789abcdef",
    node: str = NODE,
    resource: str = RESOURCE,
    at: float = NOW,
    event: Event = Event.PROGRESS,
    counters: Counters | None = None,
    server: int = 0,
    length: int = 1_000_000,
    left: int = 500_000,
    isp: str | None = "campus",
    rate: int = 0,
    stalled_ms: int = 0,
    supernode: bool = False,
) -> Sample:
    """A sample of somebody in the middle of a download; `server` stands for counters of nothing else."""
    return Sample(
        session=session,
        resource=resource,
        node_id=node,
        at=at,
        event=event,
        counters=counters or Counters(server=server),
        length=length,
        left=left,
        isp=isp,
        rate=rate,
        stalled_ms=stalled_ms,
        supernode=supernode,
    )
