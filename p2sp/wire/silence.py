"""How long has nothing passed on a connection, each way, and what is to be done about that?"""

from collections.abc import Sequence
from typing import Final

from p2sp.wire.errors import Why

KEEP_ALIVE_SECONDS: Final = 60.0
SILENCE_SECONDS: Final = 150.0

MAX_UNSENT: Final = 4 * 1024 * 1024
"""Bytes that may pile up for a side that does not read, beyond what the transport holds."""


class Silence:
    """When the two sides of a connection last spoke, and since when the other has not read. Pure: `now` is given."""

    def __init__(self, now: float) -> None:
        self._spoke = self._heard = now
        self._full_since: float | None = None
        self._unsent = 0

    def heard(self, now: float) -> None:
        """The other side said something, or is listened to again."""
        self._heard = now

    def said(self, buffers: Sequence[bytes | memoryview], now: float) -> bool:
        """This is about to be sent; whether it is too much for a side that does not read."""
        self._spoke = now
        if self._full_since is None:
            return False
        self._unsent += sum(map(len, buffers))
        return self._unsent > MAX_UNSENT

    def filled(self, now: float) -> None:
        """The transport can take no more: the other side does not read."""
        self._full_since = now
        self._unsent = 0

    def drained(self) -> None:
        """The other side reads again."""
        self._full_since = None

    def too_long(self, now: float, *, listening: bool) -> tuple[str, Why] | None:
        """Why the connection is to be ended, if it is; while we do not listen, the other side cannot be silent."""
        if self._full_since is not None and now - self._full_since >= SILENCE_SECONDS:
            return f"the other side has not read for {SILENCE_SECONDS:.0f} seconds", Why.NOT_READING
        if listening and now - self._heard >= SILENCE_SECONDS:
            return f"silent for {SILENCE_SECONDS:.0f} seconds", Why.SILENT
        return None

    def wants_keep_alive(self, now: float) -> bool:
        """Whether the other side should hear that we are still there."""
        return now - self._spoke >= KEEP_ALIVE_SECONDS
