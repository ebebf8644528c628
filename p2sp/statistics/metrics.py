"""What does the statistics server tell its operator's monitoring?"""

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from p2sp.ops.database import Database
from p2sp.ops.metrics import counter, database_metrics
from p2sp.statistics.store import Taken


@attrs.frozen
class StatisticsMetrics:
    """Reads what the store counted since the start."""

    taken: Taken
    database: Database

    async def __call__(self) -> Iterable[Metric]:
        samples: dict[str, float] = {"accepted": self.taken.accepted, "refused": self.taken.refused}
        return [
            *database_metrics(self.database),
            counter("statistics_samples", "Samples of trackers, by what became of them.", samples, "fate"),
            counter("statistics_received_bytes", "Bytes received, by kind of source.", dict(self.taken.bytes), "kind"),
            counter("statistics_downloads", "Downloads that ended, by how.", dict(self.taken.downloads), "how"),
            counter(
                "statistics_stalled_seconds", "Time for which downloads stood still.", self.taken.stalled_ms / 1000
            ),
        ]
