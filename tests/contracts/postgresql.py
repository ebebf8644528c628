"""How does a test get a PostgreSQL server of its own?"""

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any, Self

import psycopg

READY_WITHIN = 30.0
"""Seconds a new server has to answer."""

_DEBIAN = Path("/usr/lib/postgresql")


def _program(name: str) -> str:
    """Debian keeps the server's programs out of the PATH, a folder for each major version."""
    folders = [str(folder / "bin") for folder in sorted(_DEBIAN.glob("*"), key=lambda each: -int(each.name))]
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    assert found is not None, f"{name} is not installed; `make tools` installs it"
    return found


class PostgreSQL:
    """A server in a temporary folder, reached by a socket there only, and run by nobody where the tests run as root."""

    def __init__(self) -> None:
        self._folder = Path(mkdtemp(prefix="p2sp-pg-"))
        self._databases = 0
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        data = str(self._folder / "data")
        plain: dict[str, Any] = {"cwd": self._folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}, **self._as}
        made = subprocess.run(
            [_program("initdb"), "-D", data, "-U", "p2sp", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
            **plain,
        )
        assert made.returncode == 0, made.stderr
        # Nothing here is to outlive the tests: it need not reach the disk.
        settings = ("listen_addresses=", f"unix_socket_directories={self._folder}", "fsync=off", "max_connections=50")
        command = [_program("postgres"), "-D", data, *(word for each in settings for word in ("-c", each))]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **plain)
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                psycopg.connect(self._where("postgres")).close()
            except psycopg.OperationalError as error:
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    log_text = (self._folder / "log").read_text(encoding="utf-8", errors="replace")
                    raise AssertionError(f"PostgreSQL does not answer: {error}\n{log_text}") from error
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            # SIGINT ends sessions and the server in order.
            self._process.send_signal(2)
            try:
                self._process.wait(READY_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder)

    def database(self) -> str:
        """A new, empty database; answers its SQLAlchemy URL."""
        self._databases += 1
        name = f"test_{self._databases}"
        with psycopg.connect(self._where("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://p2sp@/{name}?host={self._folder}"

    def _where(self, database: str) -> str:
        return f"host={self._folder} user=p2sp dbname={database} connect_timeout=5"
