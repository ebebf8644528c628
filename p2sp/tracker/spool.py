"""Where do samples wait while the statistics server is away, so that a restart of the tracker loses none?"""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Column, Connection, Double, LargeBinary, MetaData, String, Table, delete, func, select
from sqlalchemy.dialects import sqlite
from twisted.internet.defer import Deferred

from p2sp.ops.database import Database
from p2sp.statistics.schema import Sample

MOST: Final = 200_000
"""Accounts kept; the ones heard of longest ago go first."""

_CHUNK: Final = 500

metadata = MetaData()
_samples = Table(
    "samples",
    metadata,
    Column("session", String(64), primary_key=True),
    Column("node_id", String(64), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("sample", LargeBinary, nullable=False),
)
_KEY: Final = ("session", "node_id", "resource")


class Spool:
    """The last sample of each account, on disk: counters are cumulative, so the earlier ones say nothing more.

    A sample counts as delivered when it is forgotten, and what comes twice changes nothing at the statistics server.
    """

    def __init__(self, database: Database, most: int = MOST) -> None:
        self._database = database
        self._most = most
        self.size = 0

    def open(self) -> None:
        """Open the file; blocks. Raises DatabaseError."""
        self._database.open(lambda connection: self._sized(_count(connection)))

    def _sized(self, size: int) -> None:
        self.size = size

    def keep(self, samples: Sequence[Sample]) -> Deferred[int]:
        """Put samples away, all or none, durably; how many accounts had to go to make room."""
        newest = {(each.session, each.node_id, each.resource): each for each in samples}

        def job(connection: Connection) -> tuple[int, int]:
            rows = [
                {**dict(zip(_KEY, key, strict=True)), "at": each.at, "sample": msgspec.json.encode(each)}
                for key, each in newest.items()
            ]
            insert = sqlite.insert(_samples)
            newer = insert.on_conflict_do_update(
                index_elements=list(_KEY),
                set_={"at": insert.excluded.at, "sample": insert.excluded.sample},
                where=insert.excluded.at >= _samples.c.at,
            )
            for start in range(0, len(rows), _CHUNK):
                connection.execute(newer, rows[start : start + _CHUNK])
            size = _count(connection)
            excess = max(0, size - self._most)
            if excess:
                oldest = select(_samples.c.at).order_by(_samples.c.at).offset(excess - 1).limit(1).scalar_subquery()
                connection.execute(delete(_samples).where(_samples.c.at <= oldest))
            left = _count(connection) if excess else size
            return left, size - left

        def done(result: tuple[int, int]) -> int:
            self.size, gone = result
            return gone

        return self._database.run(job).addCallback(done)

    def oldest(self, count: int) -> Deferred[list[Sample]]:
        """At most `count` samples, those that wait longest first."""

        def job(connection: Connection) -> list[Sample]:
            rows = connection.execute(select(_samples.c.sample).order_by(_samples.c.at).limit(count)).scalars()
            return [msgspec.json.decode(row, type=Sample) for row in rows]

        return self._database.run(job)

    def forget(self, samples: Sequence[Sample]) -> Deferred[None]:
        """These were delivered; a newer one of the same account stays."""

        def job(connection: Connection) -> int:
            for each in samples:
                connection.execute(
                    delete(_samples).where(
                        _samples.c.session == each.session,
                        _samples.c.node_id == each.node_id,
                        _samples.c.resource == each.resource,
                        _samples.c.at <= each.at,
                    )
                )
            return _count(connection)

        return self._database.run(job).addCallback(self._sized)

    def close(self) -> Deferred[None]:
        """Let what is under way end, and close the file."""
        return self._database.close()


def _count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(_samples)).scalar_one())
