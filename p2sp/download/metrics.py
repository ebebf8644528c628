"""What does a node that moves pieces tell its operator's monitoring?"""

from prometheus_client.metrics_core import Metric

from p2sp.download.node import Node
from p2sp.ops.metrics import counter, gauge


def node_metrics(node: Node) -> list[Metric]:
    """Bytes, links and queues of a peer or super node."""
    ended: dict[str, float] = {why.value: count for why, count in node.wire.endings.items()}
    return [
        counter("node_received_bytes", "Bytes fetched, by kind of source.", node.tally.received(), "kind"),
        counter("node_uploaded_bytes", "Bytes given to others over the wire.", node.tally.uploaded),
        gauge("node_transfers", "Resources that are downloaded or seeded.", node.tally.transfers),
        gauge("node_links", "Links with other nodes.", node.wire.links),
        counter("node_links_ended", "Links that ended or were refused, by what they ended of.", ended, "why"),
        gauge("node_disk_queue_bytes", "Bytes that wait for the disk.", node.pool.queued_bytes),
    ]
