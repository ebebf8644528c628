"""What can go wrong when this node talks to another, in words a user can act on?"""

import os
from typing import Final


def in_words(error: BaseException) -> str:
    """What went wrong, in the few words of the system or OpenSSL, without what Python and Twisted put around them."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
        return f"{where}{error.strerror}"
    number = getattr(error, "osError", None)
    if isinstance(number, int) and number > 0:
        text = os.strerror(number)
        # ConnectBindError, told by its name: it is the one of these that is about our own end.
        return f"cannot call from that local address: {text}" if "Bind" in type(error).__name__ else text
    reasons = error.args[0] if error.args else None
    if isinstance(reasons, list) and reasons and isinstance(reasons[-1], tuple):
        # OpenSSL.SSL.Error, not imported here: a list of (library, function, reason), the last one innermost.
        return _OF_TLS.get(reasons[-1][-1], f"TLS failed: {reasons[-1][-1]}")
    return str(error).strip().rstrip(".") or type(error).__name__


_OF_TLS: Final = {
    "wrong version number": "the other side does not speak TLS",
    "certificate verify failed": "TLS failed: its certificate is not from an authority trusted here",
}


class NetError(Exception):
    """Something between this node and another went wrong; `str()` is a sentence for a user."""


class Unreachable(NetError):
    """Nobody answered there in time: no connection, a broken one, or silence."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} cannot be reached: {reason}")
        self.url = url
        self.reason = reason


class Refused(NetError):
    """The other side answered, and the answer is no.

    `status` is the HTTP status, `code` the machine-readable word of the error body ("" when there was none).
    """

    def __init__(self, url: str, status: int, code: str, message: str) -> None:
        super().__init__(f"{url} refused ({status}{' ' + code if code else ''}): {message}")
        self.url = url
        self.status = status
        self.code = code
        self.message = message


class BadAnswer(NetError):
    """The other side answered with something that is too large or not what was agreed."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} gave an answer that cannot be used: {reason}")
        self.url = url
        self.reason = reason


class IdentityMismatch(NetError):
    """The node at the other end does not hold the key it was expected to hold."""

    def __init__(self, expected: str, found: str | None) -> None:
        shown = f"it is {found}" if found else "it shows no certificate"
        super().__init__(f"the node is not {expected}: {shown}")
        self.expected = expected
        self.found = found


class UntrustedServer(NetError):
    """A server's certificate comes from no authority trusted here, or is for another name."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"the server at {host} cannot be trusted: {reason}")
        self.host = host
        self.reason = reason


class BadIdentity(NetError):
    """A key or certificate file is missing, unreadable or does not fit together."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} is not a usable identity: {reason}")
        self.path = path
        self.reason = reason


class CannotListen(NetError):
    """An address cannot be listened on, for example because its port is taken."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}")
        self.address = address
        self.reason = reason


class ForbiddenTarget(NetError):
    """A URL named by somebody else points into a network this daemon must not reach into."""

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"{host} must not be fetched from: {reason}")
        self.host = host
        self.reason = reason


class ProxyRefused(NetError):
    """A proxy answered, and does not lead to the server. `status` is of its answer, 0 where it gave none."""

    def __init__(self, proxy: str, target: str, reason: str, status: int = 0) -> None:
        super().__init__(f"{proxy} does not lead to {target}: {reason}")
        self.proxy = proxy
        self.target = target
        self.reason = reason
        self.status = status


class Overloaded(NetError):
    """More work is waiting here than is good; the same call may well succeed a moment later."""
