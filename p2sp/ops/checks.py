"""How does a role look at settings deeper than types can, and name the one that is wrong?"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from p2sp.ops.config import ConfigError, resolve

T = TypeVar("T")


class Checker:
    """Checks one configuration file; everything raises ConfigError with the file and the key's path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def need(self, good: bool, key: str, message: str) -> None:
        """Insist on a condition."""
        if not good:
            raise ConfigError(self._path, f"$.{key}: {message}")

    def read(self, key: str, reader: Callable[[], T]) -> T:
        """What `reader` makes of a setting; its ValueError becomes the explanation."""
        try:
            return reader()
        except ValueError as error:
            raise ConfigError(self._path, f"$.{key}: {error}") from error


def load_document(config_path: Path, name: str | None, largest: int, decode: Callable[[bytes], T]) -> T | None:
    """What a file named in the configuration holds, None when none is named; raises ConfigError naming the file.

    `decode` gets at most `largest` + 1 bytes and raises ValueError for what it cannot use.
    """
    if name is None:
        return None
    file = resolve(config_path, name)
    try:
        with file.open("rb") as opened:
            return decode(opened.read(largest + 1))
    except OSError as error:
        raise ConfigError(file, error.strerror or str(error)) from error
    except ValueError as error:
        raise ConfigError(file, str(error)) from error
