"""How is an MMDB file of autonomous systems opened?"""

from pathlib import Path

from p2sp.locality.asn import number_in
from p2sp.ops.config import ConfigError


class AsnFile:
    """A file as MaxMind and others give out, read through the page cache; raises ConfigError when it cannot be."""

    def __init__(self, path: Path) -> None:
        try:
            import maxminddb
        except ImportError:
            raise ConfigError(path, "needs more to be installed: pip install p2sp[mmdb]") from None
        try:
            self._reader = maxminddb.open_database(str(path))
        except OSError as error:
            raise ConfigError(path, error.strerror or str(error)) from error
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise ConfigError(path, f"is not an MMDB file: {error}") from error

    def find(self, address: str) -> int | None:
        """The number of an address' autonomous system; None for an unknown one, and for what is no address."""
        try:
            return number_in(self._reader.get(address))
        except ValueError:
            return None

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()
