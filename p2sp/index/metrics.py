"""What does the index tell its operator's monitoring?"""

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from p2sp.ops.database import Database
from p2sp.ops.metrics import database_metrics


@attrs.frozen
class IndexMetrics:
    """What it is asked and refuses is counted with its calls; here is what waits behind them."""

    database: Database

    async def __call__(self) -> Iterable[Metric]:
        return database_metrics(self.database)
