"""How do accounts and rollups get into a database, and out again in order?"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs
from sqlalchemy import Connection, bindparam, delete, select, update
from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2sp.ops.database import Database
from p2sp.sketches import distinct
from p2sp.statistics.interfaces import IStatisticsStore
from p2sp.statistics.rollup import Account, AccountKey, Gathered, gather
from p2sp.statistics.schema import Rollup, RollupPage, Sample, SampleAnswer
from p2sp.statistics.tables import (
    Written,
    advance,
    among,
    chunks,
    newest,
    rollup_of_row,
    rollups,
    sessions,
    stored,
    write,
)
from p2sp.statistics.thinning import thin
from p2sp.tracker.schema import Counters

SILENT: Final = 3 * 86_400.0
"""Seconds after which a session that says nothing is forgotten: a tracker may be cut off for a weekend."""

MAX_PAGE: Final = 1000

_KINDS: Final = ("server", "supernode", "peer_local", "peer_remote", "fill")

_SESSION_KEY: Final = (sessions.c.session, sessions.c.node_id, sessions.c.resource)


@attrs.define
class Taken:
    """What was taken in since the start: samples, bytes by kind, downloads that ended, milliseconds of standstill."""

    accepted: int = 0
    refused: int = 0
    bytes: Counter[str] = attrs.field(factory=Counter)
    downloads: Counter[str] = attrs.field(factory=Counter)
    stalled_ms: int = 0

    def add(self, gathered: Gathered) -> SampleAnswer:
        """Count a batch that is in the database now; what the tracker is told of it."""
        self.accepted += gathered.accepted
        self.refused += gathered.refused
        for amounts in gathered.amounts.values():
            self.bytes.update({kind: getattr(amounts, kind) for kind in _KINDS})
            self.downloads.update(completed=amounts.completed, failed=amounts.failed)
            self.stalled_ms += amounts.stalled_ms
        return SampleAnswer(gathered.accepted, gathered.refused)


@attrs.frozen
@implementer(IStatisticsStore)
class SqlStatisticsStore:
    """The statistics in a SQL database; all settings are seconds.

    `interval` is what a rollup sums up, `retention` how long it is kept, `max_age` how old a sample may be. Rollups
    older than `thin_after` are summed up in those of `thin_interval`.
    """

    database: Database
    interval: float = 60.0
    retention: float = 30 * 86_400.0
    max_age: float = 3600.0
    thin_after: float = 2 * 86_400.0
    thin_interval: float = 3600.0
    taken: Taken = attrs.field(factory=Taken)

    def take(self, samples: Sequence[Sample], now: float) -> Deferred[SampleAnswer]:
        """Add a batch in one transaction."""
        taking = self.database.run(lambda connection: self._take(connection, samples, now))
        return taking.addCallback(self.taken.add)

    def page(self, cursor: int, limit: int) -> Deferred[RollupPage]:
        """Rollups behind a cursor; `limit` is cut to MAX_PAGE."""
        return self.database.run(lambda connection: _page(connection, cursor, max(1, min(limit, MAX_PAGE))))

    def of_resource(self, resource: str, limit: int) -> Deferred[list[Rollup]]:
        """Rollups of one resource; `limit` is cut to MAX_PAGE."""
        wanted = select(rollups).where(rollups.c.resource == resource)
        ordered = wanted.order_by(rollups.c.start.desc(), rollups.c.isp).limit(max(1, min(limit, MAX_PAGE)))
        return self.database.run(lambda connection: [rollup_of_row(row) for row in connection.execute(ordered)])

    def prune(self, now: float, limit: int) -> Deferred[int]:
        """Forget what is too old, at most `limit` sessions and rollups, so that writers do not wait long."""
        return self.database.run(lambda connection: self._prune(connection, now, limit))

    def thin(self, now: float, limit: int) -> Deferred[int]:
        """Sum up what is old in longer intervals; see `thinning`."""
        before = now - self.thin_after
        return self.database.run(lambda connection: thin(connection, before, self.thin_interval, limit, now))

    def _take(self, connection: Connection, samples: Sequence[Sample], now: float) -> Gathered:
        # The writers' queue comes first: what is read below cannot change before this transaction ends.
        revision = advance(connection, 0, now)
        known = _accounts(connection, {AccountKey.of(sample) for sample in samples})
        gathered = gather(samples, known, now=now, seconds=self.interval, max_age=self.max_age)
        _write_accounts(connection, gathered, known, now)
        if gathered.amounts:
            advance(connection, len(gathered.amounts), now)
            _write_rollups(connection, gathered, revision)
        return gathered

    def _prune(self, connection: Connection, now: float, limit: int) -> int:
        advance(connection, 0, now)
        silent = select(sessions.c.session, sessions.c.node_id, sessions.c.resource)
        silent = silent.where(sessions.c.seen < now - SILENT).limit(limit)
        forgotten = [tuple(row) for row in connection.execute(silent)]
        for chunk in chunks(forgotten):
            connection.execute(delete(sessions).where(among(_SESSION_KEY, chunk, by=1)))
        end = now - self.retention
        # The first condition follows from the second, and is the one that an index can answer.
        beyond = select(rollups.c.id).where(rollups.c.start < end, rollups.c.start + rollups.c.seconds < end)
        old = list(connection.execute(beyond.order_by(rollups.c.start).limit(limit)).scalars())
        for ids in chunks(old):
            connection.execute(delete(rollups).where(rollups.c.id.in_(ids)))
        return len(forgotten) + len(old)


def _accounts(connection: Connection, keys: set[AccountKey]) -> dict[AccountKey, Account]:
    found: dict[AccountKey, Account] = {}
    for chunk in chunks(keys):
        wanted = [(key.session, key.node_id, key.resource) for key in chunk]
        for row in connection.execute(select(sessions).where(among(_SESSION_KEY, wanted, by=1))):
            counters = Counters(row.server, row.supernode, row.peer_local, row.peer_remote, row.up)
            key = AccountKey(row.session, row.node_id, row.resource)
            found[key] = Account(row.at, counters, row.stalled_ms, row.completed, row.failed)
    return found


def _write_accounts(connection: Connection, gathered: Gathered, known: dict[AccountKey, Account], now: float) -> None:
    added: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    for key, account in gathered.accounts.items():
        counters = account.counters
        values: dict[str, Any] = {
            "at": account.at,
            "seen": now,
            "server": counters.server,
            "supernode": counters.supernode,
            "peer_local": counters.peer_local,
            "peer_remote": counters.peer_remote,
            "up": counters.up,
            "stalled_ms": account.stalled_ms,
            "completed": account.completed,
            "failed": account.failed,
        }
        if key in known:
            changed.append(values | {"of_session": key.session, "of_node": key.node_id, "of_resource": key.resource})
        else:
            added.append(values | {"session": key.session, "node_id": key.node_id, "resource": key.resource})
    if added:
        connection.execute(sessions.insert(), added)
    if changed:
        columns = sessions.c
        statement = update(sessions).where(
            columns.session == bindparam("of_session"),
            columns.node_id == bindparam("of_node"),
            columns.resource == bindparam("of_resource"),
        )
        connection.execute(statement, changed)


def _write_rollups(connection: Connection, gathered: Gathered, revision: int) -> None:
    """Add the amounts to what is there; every rollup touched gets a revision of its own, from `revision` + 1 on."""
    before = stored(connection, gathered.amounts)
    rows: list[Written] = []
    for at, (key, added) in enumerate(gathered.amounts.items(), revision + 1):
        nodes = distinct.sketch_of(gathered.clients.get(key, ()))
        known = before.get(key)
        if known is None:
            rows.append((key, None, at, added, nodes))
        else:
            nodes = distinct.merge((known.nodes, nodes))
            rows.append((key, known.number, at, known.amounts.plus(added), nodes))
    write(connection, rows)


def _page(connection: Connection, cursor: int, limit: int) -> RollupPage:
    behind = select(rollups).where(rollups.c.revision > cursor).order_by(rollups.c.revision).limit(limit + 1)
    rows = list(connection.execute(behind))
    shown = [rollup_of_row(row) for row in rows[:limit]]
    return RollupPage(shown, shown[-1].revision if shown else cursor, len(rows) > limit, newest(connection))
