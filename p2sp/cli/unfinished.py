"""Which downloads were begun and are not done?"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import attrs
import msgspec

from p2sp.cli.job import GetOptions
from p2sp.cli.outcome import UserError

MAX_ENTRIES: Final = 256
MAX_FILE: Final = 4 * 1024 * 1024


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One of them: what was asked for, the absolute path it goes to, and what is needed to go on. No passwords."""

    target: str
    path: str
    mirrors: list[str] = []
    checksum: str | None = None
    in_order: bool = False
    select: str | None = None

    @classmethod
    def of(cls, text: str, path: Path, options: GetOptions) -> Self:
        """A TARGET as the user wrote it, on its way to a path."""
        local = Path(text)
        return cls(
            target=str(local.absolute()) if "://" not in text and local.is_file() else text,
            path=str(path.absolute()),
            mirrors=list(options.mirrors),
            checksum="=".join(options.checksum) if options.checksum is not None else None,
            in_order=options.in_order,
            select=str(options.select) if options.select is not None else None,
        )


class _Book(msgspec.Struct, frozen=True):
    format: int
    downloads: list[Entry]


@attrs.frozen
class Unfinished:
    """The file in which downloads are noted when they begin, and crossed out when they are done.

    Read and replaced under a lock, whole or not at all; the oldest notes go when there are more than 256. Blocking.
    """

    path: Path

    @classmethod
    def default(cls) -> Self:
        """The user's own: `$XDG_STATE_HOME/p2sp/unfinished.json`."""
        state = os.environ.get("XDG_STATE_HOME") or str(Path(os.environ.get("HOME") or "/", ".local", "state"))
        return cls(Path(state, "p2sp", "unfinished.json"))

    def read(self) -> list[Entry]:
        """All of them, oldest first. Raises UserError when the file cannot be read."""
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_FILE + 1)
            if len(data) > MAX_FILE:
                raise UserError(f"{self.path}: larger than {MAX_FILE} bytes")
            # A power cut may leave it empty.
            book = msgspec.json.decode(data, type=_Book) if data else _Book(1, [])
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(self._useless(error)) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UserError(f"{self.path}: not a list of downloads ({error}); remove it to begin a new one") from error
        return book.downloads[-MAX_ENTRIES:]

    def note(self, entry: Entry) -> None:
        """A download begins. Raises UserError."""
        self._change(lambda entries: [*(each for each in entries if each.path != entry.path), entry])

    def done(self, path: str) -> None:
        """The download to this path is done. Raises UserError."""
        self._change(lambda entries: [each for each in entries if each.path != path])

    def clear(self) -> list[Entry]:
        """Forget all; answers with what is left, which is nothing. Raises UserError."""
        with self._locked():
            self.path.unlink(missing_ok=True)
        return []

    def _change(self, change: Callable[[list[Entry]], list[Entry]]) -> None:
        with self._locked():
            before = self.read()
            after = change(before)[-MAX_ENTRIES:]
            if after != before:
                self._replace(msgspec.json.format(msgspec.json.encode(_Book(1, after)), indent=1) + b"\n")

    def _replace(self, data: bytes) -> None:
        # Not made durable: that would cost every small download more than its bytes do.
        spare = self.path.with_suffix(".new")
        with os.fdopen(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
        spare.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
            finally:
                os.close(lock)
        except OSError as error:
            raise UserError(self._useless(error)) from error

    def _useless(self, error: OSError) -> str:
        return f"what is unfinished cannot be noted in {self.path}: {error.strerror}"
