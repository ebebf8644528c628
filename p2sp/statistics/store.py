"""How do accounts and rollups get into a database, and out again in order?"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

import attrs
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2sp.ops.database import Database
from p2sp.statistics.interfaces import IStatisticsStore
from p2sp.statistics.rollup import Account, AccountKey, Amounts, Gathered, RollupKey, gather, rollup_of
from p2sp.statistics.schema import Rollup, RollupPage, Sample, SampleAnswer
from p2sp.tracker.schema import Counters

T = TypeVar("T")

SILENT: Final = 86_400.0
"""Seconds after which a session that says nothing is forgotten."""

MAX_PAGE: Final = 1000
# Databases bound the parameters of a statement: SQLite at 32766, PostgreSQL at 65535.
_CHUNK: Final = 500

metadata = MetaData()

# One row: writers queue on it, so that revisions become visible in the order in which they were given out.
_revisions = Table("revisions", metadata, Column("id", Integer, primary_key=True), Column("value", BigInteger))

_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

_sessions = Table(
    "sessions",
    metadata,
    Column("session", String(64), primary_key=True),
    Column("node_id", String(64), primary_key=True),
    Column("resource", String(64), primary_key=True),
    Column("at", Double, nullable=False),
    Column("seen", Double, nullable=False, index=True),
    Column("server", BigInteger, nullable=False),
    Column("supernode", BigInteger, nullable=False),
    Column("peer_local", BigInteger, nullable=False),
    Column("peer_remote", BigInteger, nullable=False),
    Column("up", BigInteger, nullable=False),
    Column("stalled_ms", BigInteger, nullable=False),
    Column("completed", Boolean, nullable=False),
)

_rollups = Table(
    "rollups",
    metadata,
    Column("id", _ROW_ID, primary_key=True, autoincrement=True),
    # "" stands for an unknown ISP: NULL would never equal itself in the constraint.
    Column("isp", String(512), nullable=False),
    Column("resource", String(64), nullable=False),
    Column("start", Double, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("revision", BigInteger, nullable=False, unique=True),
    Column("server", BigInteger, nullable=False),
    Column("supernode", BigInteger, nullable=False),
    Column("peer_local", BigInteger, nullable=False),
    Column("peer_remote", BigInteger, nullable=False),
    Column("fill", BigInteger, nullable=False),
    Column("stalled_ms", BigInteger, nullable=False),
    Column("completed", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("paced", Double, nullable=False),
    Column("pace", Double, nullable=False),
    Column("clients", BigInteger, nullable=False),
    UniqueConstraint("isp", "resource", "start", "seconds"),
    Index("rollups_by_resource", "resource", "start"),
    Index("rollups_by_start", "start"),
)

_clients = Table(
    "clients",
    metadata,
    Column("rollup", _ROW_ID, ForeignKey("rollups.id", ondelete="CASCADE"), primary_key=True),
    Column("node_id", String(64), primary_key=True),
)


@attrs.frozen
@implementer(IStatisticsStore)
class SqlStatisticsStore:
    """The statistics in a SQL database. `interval`, `retention` and `max_age` (of a sample) are seconds."""

    database: Database
    interval: float = 60.0
    retention: float = 30 * 86_400.0
    max_age: float = 3600.0

    def take(self, samples: Sequence[Sample], now: float) -> Deferred[SampleAnswer]:
        """Add a batch in one transaction."""
        return self.database.run(lambda connection: self._take(connection, samples, now))

    def page(self, cursor: int, limit: int) -> Deferred[RollupPage]:
        """Rollups behind a cursor; `limit` is cut to MAX_PAGE."""
        return self.database.run(lambda connection: _page(connection, cursor, max(1, min(limit, MAX_PAGE))))

    def of_resource(self, resource: str, limit: int) -> Deferred[list[Rollup]]:
        """Rollups of one resource; `limit` is cut to MAX_PAGE."""
        wanted = select(_rollups).where(_rollups.c.resource == resource)
        ordered = wanted.order_by(_rollups.c.start.desc(), _rollups.c.isp).limit(max(1, min(limit, MAX_PAGE)))
        return self.database.run(lambda connection: [_rollup(row) for row in connection.execute(ordered)])

    def prune(self, now: float, limit: int) -> Deferred[int]:
        """Forget what is too old, at most `limit` sessions and rollups, so that writers do not wait long."""
        return self.database.run(lambda connection: self._prune(connection, now, limit))

    def _take(self, connection: Connection, samples: Sequence[Sample], now: float) -> SampleAnswer:
        # The writers' queue comes first: what is read below cannot change before this transaction ends.
        revision = _advance(connection, 0)
        known = _accounts(connection, {AccountKey.of(sample) for sample in samples})
        gathered = gather(samples, known, now=now, seconds=self.interval, max_age=self.max_age)
        _write_accounts(connection, gathered, known, now)
        if gathered.amounts:
            _advance(connection, len(gathered.amounts))
            _write_rollups(connection, gathered, revision)
        return SampleAnswer(gathered.accepted, gathered.refused)

    def _prune(self, connection: Connection, now: float, limit: int) -> int:
        _advance(connection, 0)
        silent = select(_sessions.c.session, _sessions.c.node_id, _sessions.c.resource)
        silent = silent.where(_sessions.c.seen < now - SILENT).limit(limit)
        sessions = [tuple(row) for row in connection.execute(silent)]
        for chunk in _chunks(sessions):
            connection.execute(delete(_sessions).where(_session_key().in_(chunk)))
        beyond = select(_rollups.c.id).where(_rollups.c.start + _rollups.c.seconds < now - self.retention)
        old = list(connection.execute(beyond.order_by(_rollups.c.start).limit(limit)).scalars())
        for ids in _chunks(old):
            connection.execute(delete(_clients).where(_clients.c.rollup.in_(ids)))
            connection.execute(delete(_rollups).where(_rollups.c.id.in_(ids)))
        return len(sessions) + len(old)


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _insert_missing(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows whose primary key is new."""
    # What the dialects spell alike, standard SQL cannot say.
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).on_conflict_do_nothing(), rows)


def _advance(connection: Connection, count: int) -> int:
    """Queue behind other writers, give out `count` revisions; the last one given out before."""
    raised = connection.execute(update(_revisions).values(value=_revisions.c.value + count))
    if raised.rowcount == 0:
        _insert_missing(connection, _revisions, [{"id": 1, "value": 0}])
        connection.execute(update(_revisions).values(value=_revisions.c.value + count))
    return int(connection.execute(select(_revisions.c.value)).scalar_one()) - count


def _session_key() -> Any:
    return tuple_(_sessions.c.session, _sessions.c.node_id, _sessions.c.resource)


def _accounts(connection: Connection, keys: set[AccountKey]) -> dict[AccountKey, Account]:
    found: dict[AccountKey, Account] = {}
    for chunk in _chunks(keys):
        wanted = [(key.session, key.node_id, key.resource) for key in chunk]
        for row in connection.execute(select(_sessions).where(_session_key().in_(wanted))):
            counters = Counters(row.server, row.supernode, row.peer_local, row.peer_remote, row.up)
            key = AccountKey(row.session, row.node_id, row.resource)
            found[key] = Account(row.at, counters, row.stalled_ms, row.completed)
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
        }
        if key in known:
            changed.append(values | {"of_session": key.session, "of_node": key.node_id, "of_resource": key.resource})
        else:
            added.append(values | {"session": key.session, "node_id": key.node_id, "resource": key.resource})
    if added:
        connection.execute(_sessions.insert(), added)
    if changed:
        columns = _sessions.c
        statement = update(_sessions).where(
            columns.session == bindparam("of_session"),
            columns.node_id == bindparam("of_node"),
            columns.resource == bindparam("of_resource"),
        )
        connection.execute(statement, changed)


def _write_rollups(connection: Connection, gathered: Gathered, revision: int) -> None:
    """Add the amounts to what is there; every rollup touched gets a revision of its own, from `revision` + 1 on."""
    revisions = {key: revision + 1 + at for at, key in enumerate(gathered.amounts)}
    before = _known_rollups(connection, revisions)
    fresh = [
        _columns(key) | _values(gathered.amounts[key]) | {"revision": revisions[key], "clients": 0}
        for key in revisions
        if key not in before
    ]
    if fresh:
        connection.execute(_rollups.insert(), fresh)
    ids = {key: row.id for key, row in _known_rollups(connection, revisions).items()}
    members = [{"rollup": ids[key], "node_id": node_id} for key, nodes in gathered.clients.items() for node_id in nodes]
    if members:
        _insert_missing(connection, _clients, members)
    counts: dict[int, int] = {}
    for chunk in _chunks(ids.values()):
        counted = select(_clients.c.rollup, func.count()).where(_clients.c.rollup.in_(chunk))
        counts |= {row[0]: row[1] for row in connection.execute(counted.group_by(_clients.c.rollup))}
    changed = []
    for key, number in ids.items():
        row = before.get(key)
        amounts = gathered.amounts[key] if row is None else _amounts(row).plus(gathered.amounts[key])
        changed.append(
            _values(amounts) | {"revision": revisions[key], "clients": counts.get(number, 0), "of_rollup": number}
        )
    connection.execute(update(_rollups).where(_rollups.c.id == bindparam("of_rollup")), changed)


def _known_rollups(connection: Connection, keys: Iterable[RollupKey]) -> dict[RollupKey, Row[Any]]:
    where = tuple_(_rollups.c.isp, _rollups.c.resource, _rollups.c.start, _rollups.c.seconds)
    found: dict[RollupKey, Row[Any]] = {}
    for chunk in _chunks(keys):
        wanted = [tuple(_columns(key).values()) for key in chunk]
        found |= {_key(row): row for row in connection.execute(select(_rollups).where(where.in_(wanted)))}
    return found


def _columns(key: RollupKey) -> dict[str, Any]:
    return {"isp": key.isp or "", "resource": key.resource, "start": key.start, "seconds": key.seconds}


def _values(amounts: Amounts) -> dict[str, Any]:
    return attrs.asdict(amounts)


def _key(row: Row[Any]) -> RollupKey:
    return RollupKey(row.isp or None, row.resource, row.start, row.seconds)


def _amounts(row: Row[Any]) -> Amounts:
    return Amounts(**{field.name: getattr(row, field.name) for field in attrs.fields(Amounts)})


def _rollup(row: Row[Any]) -> Rollup:
    return rollup_of(_key(row), _amounts(row), row.clients, row.revision)


def _page(connection: Connection, cursor: int, limit: int) -> RollupPage:
    newer = select(_rollups).where(_rollups.c.revision > cursor).order_by(_rollups.c.revision).limit(limit + 1)
    rows = list(connection.execute(newer))
    shown = [_rollup(row) for row in rows[:limit]]
    return RollupPage(shown, shown[-1].revision if shown else cursor, len(rows) > limit)
