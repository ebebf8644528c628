"""How does the manager's memory get into a database?"""

from collections.abc import Iterable
from typing import Any, Final

import attrs
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    Select,
    String,
    Table,
    Text,
    delete,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2sp.manager.interfaces import INodeRegistry, SuperNode
from p2sp.manager.placement import Decision, Plan
from p2sp.ops.database import Database

MAX_DROPPED: Final = 1000
"""Decisions to drop something that are remembered."""

MAX_STANDING: Final = 1_000_000
"""Placements read at once."""

metadata = MetaData()

_nodes = Table(
    "nodes",
    metadata,
    Column("node_id", String(64), primary_key=True),
    Column("url", String(512), nullable=False),
    Column("address", String(64), nullable=False),
    Column("port", Integer, nullable=False),
    Column("isp", String(512)),
    Column("capacity", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("uploaded", BigInteger, nullable=False),
    Column("seen", Double, nullable=False, index=True),
)


def _decision_columns() -> list[Column[Any]]:
    return [
        Column("node_id", String(64), nullable=False),
        Column("length", BigInteger, nullable=False),
        Column("need", Double, nullable=False),
        Column("value", Double, nullable=False),
        Column("since", Double, nullable=False),
        Column("reason", Text, nullable=False),
    ]


_placements = Table(
    "placements",
    metadata,
    Column("isp", String(512), primary_key=True),
    Column("resource", String(64), primary_key=True),
    *_decision_columns(),
    Index("placements_by_node", "node_id", "value"),
)

_dropped = Table(
    "dropped",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("isp", String(512), nullable=False),
    Column("resource", String(64), nullable=False),
    *_decision_columns(),
)

_checkpoints = Table(
    "checkpoints",
    metadata,
    Column("at", Double, primary_key=True),
    Column("cursor", BigInteger, nullable=False),
)


@attrs.frozen
@implementer(INodeRegistry)
class SqlNodeRegistry:
    """Super nodes and placements in a SQL database."""

    database: Database

    def saw(self, node: SuperNode) -> Deferred[None]:
        return self.database.run(lambda connection: _upsert(connection, _nodes, [attrs.asdict(node)]))

    def nodes(self, offset: int, limit: int) -> Deferred[list[SuperNode]]:
        wanted = select(_nodes).order_by(_nodes.c.node_id).offset(offset).limit(limit)
        return self.database.run(lambda connection: [SuperNode(**row._mapping) for row in connection.execute(wanted)])

    def forget(self, before: float) -> Deferred[int]:
        busy = select(_placements.c.node_id)
        gone = delete(_nodes).where(_nodes.c.seen < before, _nodes.c.node_id.not_in(busy))
        return self.database.run(lambda connection: int(connection.execute(gone).rowcount))

    def enact(self, isp: str, plan: Plan) -> Deferred[None]:
        return self.database.run(lambda connection: _enact(connection, isp, plan))

    def standing(self) -> Deferred[list[Decision]]:
        return self._decisions(select(_placements).limit(MAX_STANDING))

    def orders(self, node_id: str, limit: int) -> Deferred[list[Decision]]:
        wanted = select(_placements).where(_placements.c.node_id == node_id)
        return self._decisions(wanted.order_by(_placements.c.value.desc(), _placements.c.resource).limit(limit))

    def page(self, isp: str | None, offset: int, limit: int) -> Deferred[list[Decision]]:
        columns = _placements.c
        wanted = select(_placements).order_by(columns.isp, columns.value.desc(), columns.resource)
        wanted = wanted if isp is None else wanted.where(columns.isp == isp)
        return self._decisions(wanted.offset(offset).limit(limit))

    def dropped(self, isp: str | None, limit: int) -> Deferred[list[Decision]]:
        wanted = select(_dropped).order_by(_dropped.c.id.desc()).limit(limit)
        return self._decisions(wanted if isp is None else wanted.where(_dropped.c.isp == isp))

    def checkpoint(self, now: float, cursor: int) -> Deferred[None]:
        def write(connection: Connection) -> None:
            connection.execute(delete(_checkpoints).where(_checkpoints.c.cursor > cursor))
            _upsert(connection, _checkpoints, [{"at": now, "cursor": cursor}])

        return self.database.run(write)

    def cursor(self, before: float) -> Deferred[int]:
        def find(connection: Connection) -> int:
            newest = connection.execute(select(func.max(_checkpoints.c.at)).where(_checkpoints.c.at <= before)).scalar()
            if newest is None:
                return 0
            connection.execute(delete(_checkpoints).where(_checkpoints.c.at < newest))
            found = connection.execute(select(_checkpoints.c.cursor).where(_checkpoints.c.at == newest))
            return int(found.scalar_one())

        return self.database.run(find)

    def _decisions(self, wanted: Select[Any]) -> Deferred[list[Decision]]:
        return self.database.run(lambda connection: [_decision(row) for row in connection.execute(wanted)])


_FIELDS: Final = tuple(field.name for field in attrs.fields(Decision))


def _decision(row: Row[Any]) -> Decision:
    return Decision(**{name: row._mapping[name] for name in _FIELDS})


def _upsert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows, or replace those with the same primary key: in the dialects' own spelling, which is alike."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), list(rows))


def _enact(connection: Connection, isp: str, plan: Plan) -> None:
    """Touch only what differs: most rounds change a few values and nothing else."""
    found = connection.execute(select(_placements).where(_placements.c.isp == isp))
    before = {decision.resource: decision for decision in map(_decision, found)}
    placed = {decision.resource: decision for decision in plan.placed}
    for resource in before.keys() - placed.keys():
        connection.execute(delete(_placements).where(_placements.c.isp == isp, _placements.c.resource == resource))
    changed = [attrs.asdict(decision) for resource, decision in placed.items() if before.get(resource) != decision]
    if changed:
        _upsert(connection, _placements, changed)
    if plan.dropped:
        connection.execute(_dropped.insert(), [attrs.asdict(decision) for decision in plan.dropped])
        kept = select(_dropped.c.id).order_by(_dropped.c.id.desc()).offset(MAX_DROPPED).limit(1).scalar_subquery()
        connection.execute(delete(_dropped).where(_dropped.c.id <= kept))
