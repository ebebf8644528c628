"""Does a job in the database either happen whole or not, in bounded number, and never block?"""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import Column, Connection, ForeignKey, Integer, MetaData, String, Table, select
from sqlalchemy.exc import IntegrityError
from twisted.internet.defer import gatherResults
from twisted.trial.unittest import TestCase

from p2sp.net.errors import Overloaded
from p2sp.ops.database import Database, DatabaseError
from tests.net.kit import reactor

METADATA = MetaData()
SHELVES = Table("shelves", METADATA, Column("id", Integer, primary_key=True))
BOOKS = Table(
    "books",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("title", String(100), nullable=False),
    Column("shelf", Integer, ForeignKey("shelves.id")),
)


def add(title: str, shelf: int | None = None) -> Callable[[Connection], None]:
    def job(connection: Connection) -> None:
        connection.execute(BOOKS.insert().values(title=title, shelf=shelf))

    return job


def titles(connection: Connection) -> list[str]:
    return list(connection.execute(select(BOOKS.c.title).order_by(BOOKS.c.id)).scalars())


class DatabaseTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.url = f"sqlite:///{self.folder / 'x.db'}"

    def open(self, url: str | None = None, **options: int) -> Database:
        database = Database(reactor, url or self.url, METADATA, **options)
        database.open()
        self.addCleanup(database.close)
        return database

    async def test_what_is_written_stays(self) -> None:
        database = self.open()
        await database.run(add("one"))
        await database.close()
        self.assertEqual(await self.open().run(titles), ["one"])

    async def test_memory_is_one_database(self) -> None:
        database = self.open("sqlite://")
        await database.run(add("one"))
        self.assertEqual(await database.run(titles), ["one"])

    async def test_a_job_that_fails_leaves_nothing(self) -> None:
        def half(connection: Connection) -> None:
            add("half")(connection)
            raise RuntimeError("in the middle")

        for url in (self.url, "sqlite://"):
            database = self.open(url)
            with pytest.raises(RuntimeError, match="in the middle"):
                await database.run(half)
            self.assertEqual(await database.run(titles), [])

    async def test_jobs_run_elsewhere_and_in_order(self) -> None:
        database = self.open()
        here = threading.get_ident()
        self.assertNotEqual(await database.run(lambda _: threading.get_ident()), here)
        await gatherResults([database.run(add(str(n))) for n in range(20)])
        self.assertEqual(await database.run(titles), [str(n) for n in range(20)])

    async def test_sqlite_is_set_up(self) -> None:
        database = self.open()

        def pragmas(connection: Connection) -> list[object]:
            names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            return [connection.execute(sqlalchemy.text(f"PRAGMA {name}")).scalar() for name in names]

        self.assertEqual(await database.run(pragmas), ["wal", 1, 1, 5000])
        with pytest.raises(IntegrityError, match="FOREIGN KEY"):
            await database.run(add("lost", shelf=7))

    async def test_too_many_jobs_are_refused(self) -> None:
        database = self.open(most_waiting=3)
        hold = threading.Event()
        jobs = [database.run(lambda _: hold.wait(10)) for _ in range(3)]
        self.assertEqual(database.waiting, 3)
        with pytest.raises(Overloaded, match="3 jobs wait"):
            await database.run(titles)
        hold.set()
        await gatherResults(jobs)
        self.assertEqual(await database.run(titles), [])

    async def test_closing_lets_accepted_jobs_end_and_refuses_new_ones(self) -> None:
        database = self.open()
        hold = threading.Event()
        first = database.run(lambda _: hold.wait(10))
        second = database.run(add("last"))
        closed = database.close()
        with pytest.raises(DatabaseError, match="not open"):
            await database.run(titles)
        self.assertNoResult(closed)
        hold.set()
        await closed
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(await self.open().run(titles), ["last"])
        await database.close()

    async def test_a_newer_schema_is_refused(self) -> None:
        await self.open(version=2).close()
        with pytest.raises(DatabaseError, match=r"x\.db has schema version 2, written by a newer p2sp"):
            self.open(version=1)
        with pytest.raises(DatabaseError, match="has schema version 2, and this p2sp needs 3"):
            self.open(version=3)
        await self.open(version=2).run(titles)

    def test_what_cannot_be_opened_is_named(self) -> None:
        with pytest.raises(DatabaseError, match=r"/nowhere/x\.db.*unable to open"):
            self.open("sqlite:////nowhere/x.db")
        (self.folder / "text").write_text("not a database" * 100)
        with pytest.raises(DatabaseError, match=r"text.*not a database"):
            self.open(f"sqlite:///{self.folder / 'text'}")
        with pytest.raises(DatabaseError, match="not a database URL"):
            self.open("nonsense")

    def test_a_password_is_never_shown(self) -> None:
        with pytest.raises(DatabaseError) as caught:
            self.open("unheard://somebody:secret@host/x")
        self.assertNotIn("secret", str(caught.value))

    async def test_before_opening_there_is_nothing_to_run_on(self) -> None:
        database = Database(reactor, self.url, METADATA)
        with pytest.raises(DatabaseError, match="not open"):
            await database.run(titles)
        await database.close()
