"""What does the manager tell its operator's monitoring?"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs
from prometheus_client.metrics_core import Metric

from p2sp.manager.control import Manager
from p2sp.ops.database import Database
from p2sp.ops.metrics import database_metrics, gauge, gauges

MOST: Final = 10_000
"""Super nodes and placements that are looked at."""


@attrs.frozen
class ManagerMetrics:
    """Reads the registry when it is asked."""

    manager: Manager
    database: Database

    async def __call__(self) -> Iterable[Metric]:
        nodes = await self.manager.nodes(0, MOST)
        placements = await self.manager.placements(None, 0, MOST)
        there: Counter[tuple[str, ...]] = Counter()
        capacity: Counter[tuple[str, ...]] = Counter()
        used: Counter[tuple[str, ...]] = Counter()
        rate: dict[tuple[str, ...], float] = {}
        for node in nodes:
            isp = node.isp or ""
            there[isp, "silent" if not node.alive else "draining" if node.draining else "alive"] += 1
            if node.alive:
                capacity[isp,] += node.capacity
                used[isp,] += node.used
                rate[isp,] = rate.get((isp,), 0.0) + node.upload_rate
        states: Counter[tuple[str, ...]] = Counter((each.isp or "", each.state) for each in placements)
        return [
            *database_metrics(self.database),
            gauges("manager_supernodes", "Super nodes, by ISP and state.", ("isp", "state"), there),
            gauges("manager_capacity_bytes", "Bytes of cache on super nodes that are alive.", ("isp",), capacity),
            gauges("manager_used_bytes", "Bytes taken of that.", ("isp",), used),
            gauges("manager_served_rate", "Bytes a second that super nodes served lately.", ("isp",), rate),
            gauges("manager_placements", "Placements in force, by ISP and state.", ("isp", "state"), states),
            gauge(
                "manager_informed", "Whether the statistics were read since the start.", float(self.manager.informed)
            ),
        ]
