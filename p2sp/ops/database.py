"""How does a role reach its SQL database without blocking the reactor?"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, MetaData, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import StaticPool
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from p2sp.net.errors import NetError, Overloaded

T = TypeVar("T")

MOST_WAITING: Final = 1000
BUSY_TIMEOUT_MS: Final = 5000
_VERSION_TABLE: Final = "p2sp_schema"


class DatabaseError(NetError):
    """A database cannot be opened or is not one this program can use; `str()` names it without its password."""


class Database:
    """SQL in threads of its own, one transaction a job.

    SQLite gets one thread, so its single writer is never contended; other engines get `pool_size`. `version` is
    the schema's: a database written by a newer program is refused.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        url: str,
        metadata: MetaData,
        *,
        pool_size: int = 4,
        version: int = 1,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        try:
            self._url = sqlalchemy.make_url(url)
        except SQLAlchemyError as error:
            raise DatabaseError(f"{url!r} is not a database URL: {error}") from error
        self.name = self._url.render_as_string(hide_password=True)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._threads = 1 if self._is_sqlite else pool_size
        self._reactor = reactor
        self._metadata = metadata
        self._version = version
        self._most_waiting = most_waiting
        self._waiting = 0
        self._engine: Engine | None = None
        self._pool: ThreadPool | None = None
        self._idle: list[Deferred[None]] = []
        self._closing = False

    @property
    def waiting(self) -> int:
        """How many jobs are under way or queued."""
        return self._waiting

    def open(self, look: Callable[[Connection], object] | None = None) -> None:
        """Connect, create what is missing, check the schema's version, start the threads; blocks.

        Call it after twistd has forked (`RoleService.on_start`). `look` reads what is needed from the start on: a job
        would begin a thread, which a role that then cannot listen leaves behind. Raises DatabaseError.
        """
        try:
            self._engine = self._make_engine()
            with self._engine.begin() as connection:
                self._check_version(connection)
                self._metadata.create_all(connection)
                if look is not None:
                    look(connection)
        except (SQLAlchemyError, ImportError) as error:
            self._dispose()
            cause = getattr(error, "orig", None) or error
            raise DatabaseError(f"the database {self.name} cannot be opened: {cause}") from error
        except DatabaseError:
            self._dispose()
            raise
        self._closing = False
        self._pool = ThreadPool(0, self._threads, name=f"database {self.name}")
        self._pool.start()

    def run(self, fn: Callable[[Connection], T]) -> Deferred[T]:
        """Do `fn` in a thread within one transaction: committed when it returns, rolled back when it raises.

        Fails with Overloaded when too many jobs wait, with DatabaseError when the database is not open.
        """
        engine, pool = self._engine, self._pool
        if engine is None or pool is None or self._closing:
            return fail(DatabaseError(f"the database {self.name} is not open"))
        if self._waiting >= self._most_waiting:
            return fail(Overloaded(f"{self._waiting} jobs wait for the database"))
        self._waiting += 1

        def job() -> T:
            with engine.begin() as connection:
                return fn(connection)

        working: Deferred[T] = deferToThreadPool(self._reactor, pool, job)
        return working.addBoth(self._ended)

    def close(self) -> Deferred[None]:
        """Refuse new jobs, let those accepted end, then close; fires when all is closed."""
        self._closing = True
        done: Deferred[None] = Deferred()
        self._idle.append(done)
        done.addCallback(lambda _: self._dispose())
        if self._waiting == 0:
            self._now_idle()
        return done

    def _ended(self, result: Any) -> Any:
        self._waiting -= 1
        if self._waiting == 0 and self._closing:
            # Not yet: whoever waits for this job's result gets it before the database is gone.
            self._reactor.callFromThread(self._now_idle)
        return result

    def _now_idle(self) -> None:
        idle, self._idle = self._idle, []
        for each in idle:
            each.callback(None)

    def _dispose(self) -> None:
        pool, self._pool = self._pool, None
        engine, self._engine = self._engine, None
        if pool is not None:
            pool.stop()
        if engine is not None:
            engine.dispose()

    def _make_engine(self) -> Engine:
        if not self._is_sqlite:
            return sqlalchemy.create_engine(self._url, pool_size=self._threads, pool_pre_ping=True)
        options: dict[str, Any] = {"connect_args": {"check_same_thread": False}}
        if self._url.database in (None, "", ":memory:"):
            options["poolclass"] = StaticPool
        engine = sqlalchemy.create_engine(self._url, **options)
        event.listen(engine, "connect", _set_up_sqlite)
        return engine

    def _check_version(self, connection: Connection) -> None:
        table = sqlalchemy.Table(
            _VERSION_TABLE,
            MetaData(),
            sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
            sqlalchemy.Column("version", sqlalchemy.Integer, nullable=False),
        )
        table.create(connection, checkfirst=True)
        found = connection.execute(sqlalchemy.select(table.c.version)).scalar_one_or_none()
        if found is None:
            connection.execute(table.insert().values(id=1, version=self._version))
        elif found > self._version:
            raise DatabaseError(
                f"the database {self.name} has schema version {found}, written by a newer p2sp;"
                f" this one knows versions up to {self._version}"
            )
        elif found < self._version:
            raise DatabaseError(
                f"the database {self.name} has schema version {found}, and this p2sp needs {self._version}:"
                " move it away, or name another one as `database`, to begin anew"
            )


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
