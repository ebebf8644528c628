"""What was hot, how fast did it come, and from where: what do people ask the statistics?"""

import math
from typing import Any, Final

import attrs
from sqlalchemy import ColumnElement, Connection, Double, Select, cast, func, select
from sqlalchemy.engine import Row
from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2sp.ops.database import Database
from p2sp.sketches import distinct, rates
from p2sp.statistics.interfaces import IFigures
from p2sp.statistics.rollup import MOST, SLOWEST
from p2sp.statistics.schema import HotResource, IspFigures, Moment
from p2sp.statistics.tables import rollups

MAX_HOT: Final = 100
MAX_MOMENTS: Final = 1000
MAX_ISPS: Final = 1000

_MAX_MERGED: Final = 20_000
"""Rollups of the hottest resources whose sketches are merged, newest first."""

_ADDED: Final = ("server", "supernode", "peer_local", "peer_remote", "fill", "stalled_ms", "completed", "failed")


@attrs.frozen
@implementer(IFigures)
class SqlFigures:
    """Figures out of the database of a SqlStatisticsStore."""

    database: Database

    def hot(self, since: float, limit: int, isp: str | None = None) -> Deferred[list[HotResource]]:
        """The resources wanted most; `limit` is cut to MAX_HOT."""
        return self.database.run(lambda connection: _hot(connection, since, max(1, min(limit, MAX_HOT)), isp))

    def course(
        self, since: float, until: float, step: float, isp: str | None = None, resource: str | None = None
    ) -> Deferred[list[Moment]]:
        """What happened in each `step`; steps are made longer so that there are at most MAX_MOMENTS."""
        return self.database.run(lambda connection: _course(connection, since, until, step, isp, resource))

    def isps(self, since: float) -> Deferred[list[IspFigures]]:
        """What each ISP received, at most MAX_ISPS of them."""
        return self.database.run(lambda connection: _isps(connection, since))


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # Integers of a database overflow where these sums need not: nobody counts a petabyte to the byte.
    return func.sum(cast(column, Double))


def _sums() -> list[ColumnElement[Any]]:
    return [_sum(rollups.c[name]).label(name) for name in (*_ADDED, "paced", "pace")]


_VOLUME: Final = rollups.c.server + rollups.c.supernode + rollups.c.peer_local + rollups.c.peer_remote


def _in_window(wanted: Select[Any], since: float, isp: str | None, resource: str | None = None) -> Select[Any]:
    wanted = wanted.where(rollups.c.start >= since)
    if isp is not None:
        wanted = wanted.where(rollups.c.isp == isp)
    return wanted if resource is None else wanted.where(rollups.c.resource == resource)


def _counts(row: Row[Any]) -> dict[str, int]:
    return {name: min(int(getattr(row, name)), MOST) for name in _ADDED}


def _volume(counts: dict[str, int]) -> int:
    return min(counts["server"] + counts["supernode"] + counts["peer_local"] + counts["peer_remote"], MOST)


def _speed(row: Row[Any]) -> float:
    return float(row.pace / row.paced) if row.paced else 0.0


def _hot(connection: Connection, since: float, limit: int, isp: str | None) -> list[HotResource]:
    resource = rollups.c.resource
    isps = func.count(rollups.c.isp.distinct()).label("isps")
    length = func.max(rollups.c.length).label("length")
    wanted = _in_window(select(resource, isps, length, *_sums()), since, isp).group_by(resource)
    rows = list(connection.execute(wanted.order_by(_sum(_VOLUME).desc(), resource).limit(limit)))
    nodes: dict[str, list[bytes]] = {}
    speeds: dict[str, list[dict[int, int]]] = {}
    parts = _in_window(select(resource, rollups.c.nodes, rollups.c.speeds), since, isp)
    parts = parts.where(resource.in_([row.resource for row in rows])).order_by(rollups.c.start.desc())
    for part in connection.execute(parts.limit(_MAX_MERGED)):
        nodes.setdefault(part.resource, []).append(part.nodes)
        speeds.setdefault(part.resource, []).append(rates.unpack(part.speeds))
    return [
        HotResource(
            resource=row.resource,
            length=row.length,
            volume=_volume(counts),
            isps=row.isps,
            clients=distinct.count(distinct.merge(nodes.get(row.resource, ()))),
            speed=_speed(row),
            slow=rates.percentile(rates.merge(speeds.get(row.resource, ())), SLOWEST),
            **counts,
        )
        for row in rows
        for counts in (_counts(row),)
    ]


def _course(
    connection: Connection, since: float, until: float, step: float, isp: str | None, resource: str | None
) -> list[Moment]:
    step = max(step, (until - since) / (MAX_MOMENTS - 1))
    first = math.floor(since / step)
    count = min(max(math.ceil(until / step) - first, 0), MAX_MOMENTS)
    sums = [dict.fromkeys((*_ADDED, "paced", "pace"), 0.0) for _ in range(count)]
    start = rollups.c.start
    wanted = _in_window(select(start, *_sums()), first * step, isp, resource).where(start < until).group_by(start)
    for row in connection.execute(wanted):
        at = math.floor(row.start / step) - first
        if 0 <= at < count:
            for name in sums[at]:
                sums[at][name] += getattr(row, name)
    return [
        Moment(
            start=(first + at) * step,
            seconds=step,
            speed=each["pace"] / each["paced"] if each["paced"] else 0.0,
            **{name: min(int(each[name]), MOST) for name in _ADDED},
        )
        for at, each in enumerate(sums)
    ]


def _isps(connection: Connection, since: float) -> list[IspFigures]:
    each = _in_window(
        select(rollups.c.isp, func.max(rollups.c.length).label("length"), *_sums()), since, None
    ).group_by(rollups.c.isp, rollups.c.resource)
    by_resource = each.subquery()
    names = (*_ADDED, "paced", "pace", "length")
    columns = [_sum(by_resource.c[name]).label(name) for name in names]
    volume = by_resource.c.server + by_resource.c.supernode + by_resource.c.peer_local + by_resource.c.peer_remote
    wanted = select(by_resource.c.isp, func.count().label("resources"), *columns).group_by(by_resource.c.isp)
    rows = connection.execute(wanted.order_by(_sum(volume).desc(), by_resource.c.isp).limit(MAX_ISPS))
    return [_isp(row) for row in rows]


def _isp(row: Row[Any]) -> IspFigures:
    counts = _counts(row)
    volume, length = _volume(counts), min(int(row.length), MOST)
    imported = min(counts["server"] + counts["peer_remote"] + counts["fill"], MOST)
    return IspFigures(
        isp=row.isp or None,
        resources=row.resources,
        length=length,
        volume=volume,
        imported=imported,
        offload=1 - counts["server"] / volume if volume else 0.0,
        copies=imported / length if length else 0.0,
        speed=_speed(row),
        **counts,
    )
