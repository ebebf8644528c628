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
    or_,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2sp.manager.interfaces import INodeRegistry, SuperNode
from p2sp.manager.placement import Decision, Plan
from p2sp.manager.rules import Rule, RuleKind
from p2sp.ops.database import Database

MAX_DROPPED: Final = 1000
"""Decisions to drop something that are remembered."""

MAX_RULES: Final = 10_000
"""Rules of operators that count at once."""

MAX_STANDING: Final = 1_000_000
"""Placements read at once."""

VERSION: Final = 2
"""Of the schema."""

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
    Column("node_id", String(64), primary_key=True),
    *_decision_columns(),
    Index("placements_by_resource", "resource"),
    Index("placements_by_node", "node_id", "value"),
)

_dropped = Table(
    "dropped",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("isp", String(512), nullable=False),
    Column("resource", String(64), nullable=False),
    Column("node_id", String(64), nullable=False),
    *_decision_columns(),
)

_rules = Table(
    "rules",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("kind", String(16), nullable=False),
    Column("resource", String(64), nullable=False, index=True),
    Column("isp", String(512)),
    Column("length", BigInteger, nullable=False),
    Column("since", Double, nullable=False),
    Column("until", Double),
    Column("by", String(64), nullable=False),
    Column("note", Text, nullable=False),
    # A number is never given again: "rule 7" in a reason must not become another rule.
    sqlite_autoincrement=True,
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
        wanted = select(_placements).order_by(columns.isp, columns.value.desc(), columns.resource, columns.node_id)
        wanted = wanted if isp is None else wanted.where(columns.isp == isp)
        return self._decisions(wanted.offset(offset).limit(limit))

    def placed(self, resource: str) -> Deferred[list[Decision]]:
        wanted = select(_placements).where(_placements.c.resource == resource)
        return self._decisions(wanted.order_by(_placements.c.isp, _placements.c.node_id))

    def dropped(self, isp: str | None, limit: int) -> Deferred[list[Decision]]:
        wanted = select(_dropped).order_by(_dropped.c.id.desc()).limit(limit)
        return self._decisions(wanted if isp is None else wanted.where(_dropped.c.isp == isp))

    def add_rule(self, rule: Rule) -> Deferred[Rule]:
        values = attrs.asdict(rule, filter=lambda field, _: field.name != "number")

        def add(connection: Connection) -> Rule:
            key = connection.execute(_rules.insert().values(values)).inserted_primary_key
            assert key is not None
            return attrs.evolve(rule, number=int(key[0]))

        return self.database.run(add)

    def remove_rule(self, number: int) -> Deferred[bool]:
        gone = delete(_rules).where(_rules.c.number == number)
        return self.database.run(lambda connection: connection.execute(gone).rowcount > 0)

    def rules(self, offset: int, limit: int) -> Deferred[list[Rule]]:
        wanted = select(_rules).order_by(_rules.c.number).offset(offset).limit(limit)
        return self.database.run(lambda connection: [_rule(row) for row in connection.execute(wanted)])

    def rule(self, number: int) -> Deferred[Rule | None]:
        wanted = select(_rules).where(_rules.c.number == number)

        def find(connection: Connection) -> Rule | None:
            row = connection.execute(wanted).one_or_none()
            return None if row is None else _rule(row)

        return self.database.run(find)

    def rules_at(self, now: float) -> Deferred[list[Rule]]:
        in_force = or_(_rules.c.until.is_(None), _rules.c.until > now)
        wanted = select(_rules).where(in_force).order_by(_rules.c.number).limit(MAX_RULES)
        return self.database.run(lambda connection: [_rule(row) for row in connection.execute(wanted)])

    def forget_rules(self, before: float) -> Deferred[int]:
        over = delete(_rules).where(_rules.c.until < before)
        return self.database.run(lambda connection: int(connection.execute(over).rowcount))

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


def _rule(row: Row[Any]) -> Rule:
    return Rule(**{**row._mapping, "kind": RuleKind(row.kind)})


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
    before = {(decision.resource, decision.node_id): decision for decision in map(_decision, found)}
    placed = {(decision.resource, decision.node_id): decision for decision in plan.placed}
    columns = _placements.c
    for resource, node_id in before.keys() - placed.keys():
        gone = delete(_placements).where(columns.isp == isp, columns.resource == resource, columns.node_id == node_id)
        connection.execute(gone)
    changed = [attrs.asdict(decision) for key, decision in placed.items() if before.get(key) != decision]
    if changed:
        _upsert(connection, _placements, changed)
    if plan.dropped:
        connection.execute(_dropped.insert(), [attrs.asdict(decision) for decision in plan.dropped])
        kept = select(_dropped.c.id).order_by(_dropped.c.id.desc()).offset(MAX_DROPPED).limit(1).scalar_subquery()
        connection.execute(delete(_dropped).where(_dropped.c.id <= kept))
