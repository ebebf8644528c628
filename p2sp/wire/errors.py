"""Whose fault is it when the peer protocol does not go on?"""

from enum import StrEnum


class Why(StrEnum):
    """What links end of, as it is counted."""

    WRONG_KEY = "wrong key"
    WRONG_PROTOCOL = "wrong application protocol"
    NO_CERTIFICATE = "no certificate"
    CLEAR_TEXT = "clear text"
    NO_HANDSHAKE = "no TLS handshake"
    PRIVATE = "private resource in clear text"
    LATE = "no handshake in time"
    NOT_SHARED = "resource not shared"
    OURSELVES = "a link to ourselves"
    SECOND = "a second link"
    TOO_MANY = "too many links"
    BROKEN_RULE = "broken rule"
    SILENT = "silence"
    NOT_READING = "does not read"
    USELESS = "both sides have everything"
    UNREACHABLE = "cannot be reached"
    CLOSED = "closed by us"
    LOST = "lost"


class WireError(Exception):
    """A link to another node cannot be had or kept; the text is a sentence fit for a log."""


class ProtocolError(WireError):
    """A rule of the peer protocol was broken; the text names the message and the fault."""


class LocalProtocolError(ProtocolError):
    """We were about to break a rule: a fault of the caller, nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The other side broke a rule: the link is to be closed."""


class LinkRefused(WireError):
    """A link that is not wanted: to ourselves, to somebody we have a link with already, or one too many."""

    def __init__(self, message: str, why: Why = Why.CLOSED) -> None:
        super().__init__(message)
        self.why = why


class LinkLost(WireError):
    """The link ended, or never came about, for the reason given."""
