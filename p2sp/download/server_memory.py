"""What is known of servers from earlier runs? Rate, errors and ranges, for a day."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

DAY: Final = 24 * 3600.0
"""Seconds after which a server is forgotten."""

MAX_SERVERS: Final = 512
MAX_FILE: Final = 256 * 1024
OLD_SHARE: Final = 0.8
"""What the rate known so far counts beside a new one."""

_ENOUGH: Final = 256 * 1024
"""Bytes of which a rate can be told."""


class Server(msgspec.Struct, frozen=True):
    """One server: bytes a second (0.0: never measured), failures of the last run, whether it serves parts, and when it
    was asked last, in seconds since 1970.
    """

    rate: float = 0.0
    errors: int = 0
    ranges: bool | None = None
    seen: float = 0.0


class _File(msgspec.Struct, frozen=True):
    format: int
    servers: dict[str, Server]


def key_of(url: str) -> str:
    """The server of a URL: scheme, name and port, nothing of the path and of what is secret."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    return f"{parts.scheme.lower()}://{f'[{host}]' if ':' in host else host}:{port}"


class ServerMemory:
    """Servers by scheme, name and port. `now` is seconds since 1970."""

    def __init__(self, servers: dict[str, Server] | None = None) -> None:
        self._servers = dict(servers or {})

    def rate(self, url: str, now: float) -> float:
        """Bytes a second that the server of a URL is likely to bring; 0.0 when nothing is known."""
        server = self._fresh(url, now)
        return server.rate if server is not None and not server.errors else 0.0

    def ignores_ranges(self, url: str, now: float) -> bool:
        """Whether the server of a URL gave whole files to whoever asked for parts, when it was asked last."""
        server = self._fresh(url, now)
        return server is not None and server.ranges is False

    def note(self, url: str, *, count: int, seconds: float, errors: int, ranges: bool | None, now: float) -> None:
        """What came of asking it for a download: bytes, the seconds they took, and failures."""
        before = self._fresh(url, now) or Server()
        rate = before.rate
        if count >= _ENOUGH and seconds > 0:
            measured = count / seconds
            rate = measured if not rate else OLD_SHARE * rate + (1 - OLD_SHARE) * measured
        key = key_of(url)
        self._servers.pop(key, None)
        self._servers[key] = Server(rate, errors, before.ranges if ranges is None else ranges, now)
        while len(self._servers) > MAX_SERVERS:
            del self._servers[min(self._servers, key=lambda each: self._servers[each].seen)]

    def order(self, urls: Sequence[str], now: float) -> list[str]:
        """The URLs, with the fastest servers first, then the unknown ones as they came, then those that failed."""

        def rank(url: str) -> tuple[int, float]:
            server = self._fresh(url, now)
            if server is None:
                return 1, 0.0
            return (2, 0.0) if server.errors else (0, -server.rate)

        return sorted(urls, key=rank)

    def _fresh(self, url: str, now: float) -> Server | None:
        try:
            server = self._servers.get(key_of(url))
        except ValueError:
            return None
        return server if server is not None and 0 <= now - server.seen < DAY else None

    def dump(self, now: float) -> bytes:
        """What is still of use, as it is written to the file."""
        kept = {key: server for key, server in self._servers.items() if 0 <= now - server.seen < DAY}
        return msgspec.json.encode(_File(1, kept))

    @classmethod
    def parse(cls, data: bytes) -> "ServerMemory":
        """What was written; nothing when it is damaged or of another format: it is only a memory."""
        try:
            file = msgspec.json.decode(data, type=_File)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return cls()
        if file.format != 1 or len(file.servers) > MAX_SERVERS:
            return cls()
        return cls(file.servers)


def default_path() -> Path:
    """The user's own: `$XDG_STATE_HOME/p2sp/servers.json`."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path(os.environ.get("HOME") or "/", ".local", "state"))
    return Path(state, "p2sp", "servers.json")


def load(path: Path) -> ServerMemory:
    """The memory in a file; an empty one when it cannot be read. Blocking."""
    try:
        with path.open("rb") as file:
            return ServerMemory.parse(file.read(MAX_FILE))
    except OSError:
        return ServerMemory()


def save(path: Path, memory: ServerMemory, now: float) -> None:
    """Replace the file, whole or not at all; where that cannot be done nothing is lost but the memory. Blocking."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            new.write_bytes(memory.dump(now))
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
