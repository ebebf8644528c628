"""Which listening sockets did systemd open for this process? Those are taken over instead of made."""

import socket
from contextlib import closing, suppress
from functools import cache
from typing import Any

from twisted.internet.endpoints import serverFromString


def inherited_socket(host: str, port: int, kind: socket.SocketKind) -> tuple[int, socket.AddressFamily] | None:
    """File descriptor and family of the socket that was opened for us at an address; None when there is none.

    `host` is an IP address; `kind` SOCK_STREAM or SOCK_DGRAM. As sd_listen_fds(3) has it, for the process LISTEN_PID
    alone, so not for workers it starts. The descriptor stays open: who comes while nobody listens waits in it.
    """
    if port == 0:
        return None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = (socket.inet_ntop(family, socket.inet_pton(family, host)), port)
    for descriptor in _descriptors():
        # A descriptor that is no such socket says so by an error, or by another type or name.
        with suppress(OSError), closing(socket.fromfd(descriptor, family, kind)) as there:
            same = there.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == family
            same = same and there.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == kind
            if same and there.getsockname()[:2] == wanted:
                # systemd hands over sockets that block, on which the reactor would wait for the next to come.
                there.setblocking(False)
                return descriptor, family
    return None


@cache
def _descriptors() -> tuple[int, ...]:
    """What we were handed. Twisted's own parser of endpoints has asked already, and who asks again hears nothing."""
    found: list[int] = []
    with suppress(IndexError):
        while True:
            # Nothing is listened on by this, so no reactor is needed.
            endpoint: Any = serverFromString(None, f"systemd:domain=INET:index={len(found)}")
            found.append(endpoint.fileno)
    return tuple(found)
