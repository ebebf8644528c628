"""Is the oldest that can be summed up found without looking at all the rest, also in a database of long ago?"""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, inspect
from sqlalchemy.pool import StaticPool

from p2sp.statistics.rollup import Amounts, RollupKey
from p2sp.statistics.tables import BY_LENGTH, add_index, advance, metadata, rollups, write
from p2sp.statistics.thinning import _oldest, thin

NOW = 1_800_000_000.0
HOUR = 3600.0


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def put(connection: Connection, *spans: tuple[float, float]) -> None:
    """Rollups of these starts and lengths."""
    for number, (start, seconds) in enumerate(spans):
        key = RollupKey("campus", f"{number:064x}", start, seconds)
        write(connection, [(key, None, advance(connection, 1, NOW) + 1, Amounts(), b"")])


@pytest.mark.parametrize(
    ("spans", "found"),
    [
        ([], None),
        ([(0.0, HOUR), (HOUR, HOUR)], None),
        ([(9 * HOUR, 60.0)], None),
        ([(0.0, HOUR), (3 * HOUR, 60.0), (2 * HOUR, 5.0), (HOUR, 10.0), (4 * HOUR, 60.0)], HOUR),
        ([(7 * HOUR, 5.0), (9 * HOUR, 10.0), (6 * HOUR, 60.0)], 6 * HOUR),
    ],
)
def test_the_oldest_of_any_length(
    connection: Connection, spans: list[tuple[float, float]], found: float | None
) -> None:
    put(connection, *spans)
    assert _oldest(connection, 8 * HOUR, HOUR) == found
    while thin(connection, 8 * HOUR, HOUR, 1, NOW):
        pass
    assert _oldest(connection, 8 * HOUR, HOUR) is None


def test_the_look_ups_are_answered_by_an_index(connection: Connection) -> None:
    put(connection, (0.0, 60.0))
    for question in (
        "select min(seconds) from rollups where seconds > 5 and seconds < 3600",
        "select min(start) from rollups where seconds = 60 and start < 9",
    ):
        (plan,) = [row[3] for row in connection.exec_driver_sql(f"explain query plan {question}")]
        assert plan.startswith("SEARCH"), plan
        assert "rollups_by_length" in plan


def test_an_earlier_database_gets_the_index(connection: Connection) -> None:
    BY_LENGTH.drop(connection)
    for _ in range(2):
        add_index(connection)
    assert "rollups_by_length" in {index["name"] for index in inspect(connection).get_indexes(rollups.name)}
