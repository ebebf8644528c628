"""In which tables does the statistics server keep accounts and rollups, and how is a row read?"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias, TypeVar

import attrs
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    and_,
    bindparam,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row

from p2sp.sketches import rates
from p2sp.statistics.rollup import Amounts, RollupKey, rollup_of
from p2sp.statistics.schema import Rollup

T = TypeVar("T")

VERSION: Final = 2
"""Of the schema."""

# Databases bound the parameters of a statement: SQLite at 32766, PostgreSQL at 65535.
_CHUNK: Final = 500

metadata = MetaData()

# One row: writers queue on it, so that revisions become visible in the order in which they were given out.
revisions = Table("revisions", metadata, Column("id", Integer, primary_key=True), Column("value", BigInteger))

sessions = Table(
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
    Column("failed", Boolean, nullable=False),
)

BY_LENGTH: Final = Index("rollups_by_length", "seconds", "start")
"""Added after version 2 of the schema was: see `add_index`."""

rollups = Table(
    "rollups",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
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
    Column("failed", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("paced", Double, nullable=False),
    Column("pace", Double, nullable=False),
    Column("speeds", LargeBinary, nullable=False),
    Column("nodes", LargeBinary, nullable=False),
    UniqueConstraint("isp", "resource", "start", "seconds"),
    Index("rollups_by_resource", "resource", "start"),
    Index("rollups_by_start", "start"),
    BY_LENGTH,
)


_ROLLUP_KEY: Final = (rollups.c.resource, rollups.c.start, rollups.c.isp, rollups.c.seconds)


def add_index(connection: Connection) -> None:
    """Give a database of an earlier release the index that it lacks."""
    BY_LENGTH.create(connection, checkfirst=True)


@attrs.frozen
class Stored:
    """A rollup as it lies in the database; `nodes` is the sketch of its clients."""

    number: int
    revision: int
    amounts: Amounts
    nodes: bytes


Written: TypeAlias = tuple[RollupKey, int | None, int, Amounts, bytes]
"""A rollup to write: key, number of the row to replace (None: a new one), revision, amounts, sketch of the clients."""


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists short enough for one statement."""
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def among(columns: Sequence[Column[Any]], wanted: Sequence[tuple[Any, ...]], *, by: int) -> ColumnElement[bool]:
    """Rows whose columns say one of these; the first `by` of them are the beginning of an index.

    SQLite looks through the whole table for pairs, triples and so on, and takes an index for lone values.
    """
    alone = [column.in_({values[at] for values in wanted}) for at, column in enumerate(columns[:by])]
    return and_(*alone, tuple_(*columns).in_(wanted))


def advance(connection: Connection, amount: int, now: float) -> int:
    """Queue behind other writers, give out `amount` revisions; the last one given out before.

    A new database begins at the microseconds since 1970, so that its revisions are beyond all that any reader has seen
    of one that was there before.
    """
    raised = connection.execute(update(revisions).values(value=revisions.c.value + amount))
    if raised.rowcount == 0:
        # What the dialects spell alike, standard SQL cannot say.
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        first = dialect.insert(revisions).values(id=1, value=int(now * 1e6))
        connection.execute(first.on_conflict_do_nothing())
        connection.execute(update(revisions).values(value=revisions.c.value + amount))
    return newest(connection) - amount


def newest(connection: Connection) -> int:
    """The last revision given out; 0 when there was none."""
    return int(connection.execute(select(revisions.c.value)).scalar_one_or_none() or 0)


def stored(connection: Connection, keys: Iterable[RollupKey]) -> dict[RollupKey, Stored]:
    """Those of some rollups that are there."""
    found: dict[RollupKey, Stored] = {}
    for chunk in chunks(keys):
        wanted = [(key.resource, key.start, key.isp or "", key.seconds) for key in chunk]
        for row in connection.execute(select(rollups).where(among(_ROLLUP_KEY, wanted, by=2))):
            found[key_of(row)] = stored_of(row)
    return found


def write(connection: Connection, rows: Sequence[Written]) -> None:
    """Write rollups, new ones and such that take the place of a row."""
    fresh, changed = [], []
    for key, number, revision, amounts, nodes in rows:
        values = _value_columns(amounts) | {"revision": revision, "nodes": nodes}
        if number is None:
            fresh.append(_key_columns(key) | values)
        else:
            changed.append(values | {"of_rollup": number})
    if fresh:
        connection.execute(rollups.insert(), fresh)
    if changed:
        connection.execute(update(rollups).where(rollups.c.id == bindparam("of_rollup")), changed)


def key_of(row: Row[Any]) -> RollupKey:
    """Which rollup a row is."""
    return RollupKey(row.isp or None, row.resource, row.start, row.seconds)


def stored_of(row: Row[Any]) -> Stored:
    """What a row of rollups says."""
    scalars = {name: getattr(row, name) for name in _SCALARS}
    return Stored(row.id, row.revision, Amounts(**scalars, speeds=rates.unpack(row.speeds)), row.nodes)


def rollup_of_row(row: Row[Any]) -> Rollup:
    """A row as readers see it."""
    found = stored_of(row)
    return rollup_of(key_of(row), found.amounts, found.nodes, found.revision)


_SCALARS: Final = tuple(field.name for field in attrs.fields(Amounts) if field.name != "speeds")


def _key_columns(key: RollupKey) -> dict[str, Any]:
    return {"isp": key.isp or "", "resource": key.resource, "start": key.start, "seconds": key.seconds}


def _value_columns(amounts: Amounts) -> dict[str, Any]:
    return {name: getattr(amounts, name) for name in _SCALARS} | {"speeds": rates.pack(amounts.speeds)}
