"""Whose fault is it when the peer protocol does not go on?"""


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


class LinkLost(WireError):
    """The link ended, or never came about, for the reason given."""
