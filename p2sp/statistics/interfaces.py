"""What must a store of the statistics server keep?"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2sp.statistics.schema import Rollup, RollupPage, Sample, SampleAnswer


class IStatisticsStore(Interface):
    """Accounts of sessions and rollups of what they moved, durable.

    A batch is taken whole or not at all, and once its Deferred has fired it outlives the process. Taking the same
    batch again changes nothing. Revisions only grow, in the order in which readers can see them: who has read up to
    a cursor misses nothing by asking for what is behind it.
    """

    def take(samples: Sequence[Sample], now: float) -> Deferred[SampleAnswer]:
        """Add a batch, oldest sample first. `now` is seconds since 1970."""

    def page(cursor: int, limit: int) -> Deferred[RollupPage]:
        """At most `limit` rollups with a revision above `cursor`, in order of revision."""

    def of_resource(resource: str, limit: int) -> Deferred[list[Rollup]]:
        """At most `limit` rollups of one resource, newest interval first."""

    def prune(now: float, limit: int) -> Deferred[int]:
        """Forget silent sessions and rollups beyond retention, at most `limit` of each; how many were forgotten."""
