"""What does a super node tell its operator's monitoring?"""

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from p2sp.download.metrics import node_metrics
from p2sp.download.node import Node
from p2sp.ops.metrics import counter, gauge
from p2sp.supernode.keeper import Keeper
from p2sp.supernode.tally import Tally


@attrs.frozen
class SuperNodeMetrics:
    """Reads the node and its cache when it is asked. `capacity` is in bytes."""

    node: Node
    keeper: Keeper
    tally: Tally
    capacity: int

    async def __call__(self) -> Iterable[Metric]:
        held = self.keeper.held()
        whole = sum(each.have >= 1.0 for each in held)
        return [
            *node_metrics(self.node),
            gauge("supernode_capacity_bytes", "Bytes the cache may take.", self.capacity),
            gauge("supernode_used_bytes", "Bytes the cache takes or will take.", self.keeper.used),
            gauge(
                "supernode_resources",
                "Resources in the cache.",
                {"whole": whole, "partial": len(held) - whole, "leaving": self.keeper.leaving},
                "state",
            ),
            counter("supernode_answers", "Answers to HTTPS clients, by status.", self.tally.answers, "status"),
            gauge("supernode_connections", "HTTPS connections, by process.", self.tally.connections, "process"),
            counter("supernode_served_bytes", "Bytes served, over the wire and over HTTPS.", self.keeper.uploaded),
        ]
