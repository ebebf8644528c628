"""What must a store of the statistics server keep?"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2sp.statistics.schema import HotResource, IspFigures, Moment, Rollup, RollupPage, Sample, SampleAnswer


class IStatisticsStore(Interface):
    """Accounts of sessions and rollups of what they moved, durable.

    A batch is taken whole or not at all, and once its Deferred has fired it outlives the process. Taking the same
    batch again changes nothing. Revisions only grow, in the order in which readers can see them: who has read up to
    a cursor misses nothing by asking for what is behind it, however much later. Those of a new store are beyond all
    that one before it gave out.
    """

    def take(samples: Sequence[Sample], now: float) -> Deferred[SampleAnswer]:
        """Add a batch, oldest sample first. `now` is seconds since 1970."""

    def page(cursor: int, limit: int) -> Deferred[RollupPage]:
        """At most `limit` rollups with a revision above `cursor`, in order of revision."""

    def of_resource(resource: str, limit: int) -> Deferred[list[Rollup]]:
        """At most `limit` rollups of one resource, newest interval first."""

    def prune(now: float, limit: int) -> Deferred[int]:
        """Forget silent sessions and rollups beyond retention, at most `limit` of each; how many were forgotten."""

    def thin(now: float, limit: int) -> Deferred[int]:
        """Sum up old rollups in longer intervals, about `limit` of them; how many, 0 when none are left.

        A longer one stands for all that it covers, which go with the same transaction, and keeps the largest of their
        revisions: readers who saw them all do not see it, others may let it take their place.
        """


class IFigures(Interface):
    """Sums for people, over what a statistics store keeps. `since` and `until` are seconds since 1970.

    `isp` names one ISP ("" is the unknown one); None is all of them.
    """

    def hot(since: float, limit: int, isp: str | None = None) -> Deferred[list[HotResource]]:
        """The resources of which most bytes were received since a moment, at most `limit` and 100."""

    def course(
        since: float, until: float, step: float, isp: str | None = None, resource: str | None = None
    ) -> Deferred[list[Moment]]:
        """What happened in each step of `step` seconds, oldest first, without gaps; at most 1000, longer if need be."""

    def isps(since: float) -> Deferred[list[IspFigures]]:
        """What each ISP received since a moment, most bytes first, at most 1000 of them."""
