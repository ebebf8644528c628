"""How much of what is written to a connection waits in buffers, beyond recall, before it is sent?

What is in a buffer is sent, whether it was taken back meanwhile or not, and whatever is said after it waits behind it:
the news of a piece, a request, a cancellation. A buffer is to hold no more than the connection sends in a moment.
"""

import socket
from contextlib import suppress
from typing import Any, Final

LEAST: Final = 16 * 1024
"""Bytes: one block of the peer protocol."""

MOST: Final = 256 * 1024
SOON: Final = 0.1
"""Seconds below which a full buffer gets empty so soon that it may be larger."""

LATE: Final = 0.4
"""Seconds above which it is to be smaller."""

_LOW_WATER: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None)
"""Linux and others: bytes not yet sent that the kernel takes; by default as many as it likes."""


class SendBuffer:
    """The buffers of one connection: `size` bytes or so in the kernel that were not sent, and as many above.

    Small at first, doubled or halved by the time it takes to get empty. To be told when the transport pauses its
    producer, and when it resumes it; `now` is seconds on any steady clock.
    """

    def __init__(self) -> None:
        self.size = LEAST
        self._transport: Any = None
        self._full_since: float | None = None

    def limit(self, transport: Any) -> None:
        """Keep the buffers of a transport, TLS or not, short from now on.

        It is read in portions of that size, too, as Twisted has one size for both: so only where much is to be sent.
        """
        if self._transport is None:
            while (below := getattr(transport, "transport", None)) is not None:
                transport = below
            self._transport = transport
            self._apply()

    def filled(self, now: float) -> None:
        """The buffer is full."""
        if self._full_since is None:
            self._full_since = now

    def drained(self, now: float) -> None:
        """The buffer is empty again."""
        if self._full_since is None:
            return
        took = now - self._full_since
        self._full_since = None
        before = self.size
        if took < SOON:
            self.size = min(before * 2, MOST)
        elif took > LATE:
            self.size = max(before // 2, LEAST)
        if self.size != before:
            self._apply()

    def _apply(self) -> None:
        # Of Twisted's TCP transports; others have their own ways.
        if not hasattr(self._transport, "bufferSize"):
            return
        self._transport.bufferSize = self.size
        if _LOW_WATER is not None:
            with suppress(OSError):  # closed meanwhile
                self._transport.getHandle().setsockopt(socket.IPPROTO_TCP, _LOW_WATER, self.size)
