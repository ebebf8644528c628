"""What does a peer daemon tell its operator's monitoring?"""

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from p2sp.download.metrics import node_metrics
from p2sp.download.node import Node
from p2sp.ops.metrics import gauge
from p2sp.peer.keeper import Keeper


@attrs.frozen
class PeerMetrics:
    """Reads the node and what it keeps when it is asked."""

    node: Node
    keeper: Keeper

    async def __call__(self) -> Iterable[Metric]:
        return [
            *node_metrics(self.node),
            gauge("peer_resources", "Resources of the folder that are seeded or fetched.", self.keeper.resources),
        ]
