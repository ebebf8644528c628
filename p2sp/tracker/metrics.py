"""What does a tracker tell its operator's monitoring?"""

from collections.abc import Iterable

import attrs
from prometheus_client.metrics_core import Metric

from p2sp.ops.metrics import counter, gauge
from p2sp.tracker.core import Tracker
from p2sp.tracker.foreign import ForeignDesk
from p2sp.tracker.load import LoadGauge


@attrs.frozen
class TrackerMetrics:
    """Reads the books of a tracker when it is asked, so that announces pay nothing for it."""

    tracker: Tracker
    load: LoadGauge
    desk: ForeignDesk | None = None

    async def __call__(self) -> Iterable[Metric]:
        tracker, tally = self.tracker, self.tracker.tally
        held = await tracker.store.occupancy(tracker.now())
        found = [
            gauge("tracker_swarms", "Resources with somebody in their swarm.", held.swarms),
            gauge("tracker_entries", "Nodes in swarms, each once for every swarm it is in.", held.entries),
            gauge("tracker_nodes", "Nodes in any swarm.", held.nodes),
            counter("tracker_announces", "Announces of our nodes.", dict(tally.announces), "event"),
            counter("tracker_unlisted", "Announces that a limit kept out of a swarm.", dict(tally.unlisted), "limit"),
            counter("tracker_named", "Nodes named to others.", tally.named),
            gauge("tracker_price", "What an announce counts for in an allowance; 1 at leisure.", self.load.price),
            gauge("tracker_shed_share", "Share of requests that are turned away unread.", self.load.share),
            counter("tracker_shed", "Requests that were turned away unread.", self.load.turned_away),
        ]
        if (accounting := tracker.accounting) is not None:
            found += [
                gauge(
                    "tracker_samples_waiting", "Samples the statistics server has not taken yet.", accounting.waiting
                ),
                counter("tracker_samples_dropped", "Samples that were given up.", accounting.dropped),
            ]
        if tracker.registry is not None:
            found.append(gauge("tracker_local_trackers", "Local trackers that are registered.", len(tracker.registry)))
        if self.desk is not None:
            requests = attrs.asdict(self.desk.tally)
            found.append(counter("tracker_foreign_requests", "Requests of foreign clients.", requests, "kind"))
        return found
