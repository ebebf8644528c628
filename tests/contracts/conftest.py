"""Which servers do the contracts need?"""

from collections.abc import Iterator

import pytest

from tests.contracts.postgresql import PostgreSQL


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """One server for all that ask for it."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture
def _database_of_its_own(request: pytest.FixtureRequest, postgresql: PostgreSQL) -> None:
    """Give a test case's `url` a new database."""
    request.instance.url = postgresql.database()
