"""Does the statistics server's writing stay as quick as it is, however much lies in its tables?"""

from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import StaticPool

from p2sp.statistics.store import SqlStatisticsStore
from p2sp.statistics.tables import metadata
from p2sp.statistics.thinning import thin
from tests.statistics.samples import NOW, a_sample


def test_nobody_looks_through_a_whole_table() -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    asked: list[tuple[str, Any]] = []

    def remember(_connection: Connection, _cursor: Any, statement: str, given: Any, _context: Any, many: bool) -> None:
        if "rollups" in statement or "sessions" in statement:
            asked.append((statement, given[0] if many else given))

    store = SqlStatisticsStore(None, interval=60.0)  # type: ignore[arg-type]
    with engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", remember)
        for turn in range(3):
            batch = [a_sample(session=f"{number:032x}", at=NOW + 60.0 * turn, server=turn) for number in range(20)]
            store._take(connection, batch, NOW + 60.0 * turn)
        while thin(connection, NOW + 7200.0, 3600.0, 1000, NOW):
            pass
        while store._prune(connection, NOW + 1e9, 1000):
            pass
        event.remove(engine, "before_cursor_execute", remember)
        assert {statement.split()[0] for statement, _ in asked} == {"SELECT", "INSERT", "UPDATE", "DELETE"}
        for statement, given in asked:
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", given)]
            assert not any(step.startswith(("SCAN rollups", "SCAN sessions")) for step in plan), (statement, plan)
    engine.dispose()
