"""What must whoever owns a super node's cache offer to those who serve it?"""

from collections.abc import Callable, Iterable, Sequence

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2sp.resource.verification import Content
from p2sp.storage.interfaces import IPieceStore


@attrs.frozen
class Served:
    """A resource that may be given out, whole or still being filled; `sha256` of a lone file where it is known."""

    content: Content
    store: IPieceStore
    sha256: bytes | None = None


@attrs.frozen
class Elsewhere:
    """What this cache does not give, and the resource servers that do."""

    content: Content
    mirrors: Sequence[str]


class Unavailable(Exception):
    """What is asked for cannot be had now, perhaps in `retry_after` seconds; the text is fit for a client.

    `elsewhere` is where readers can be sent meanwhile.
    """

    def __init__(self, text: str, retry_after: int, elsewhere: Elsewhere | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.elsewhere = elsewhere


class ICacheView(Interface):
    """The cache as the HTTPS side sees it. Resource ids are 64 lower-case hex digits; nothing here blocks."""

    def lookup(resource_id: str) -> Served | None:
        """The resource if the cache has it or is filling it."""

    def missed(resource_id: str) -> "Deferred[Served | None]":
        """A reader asks for what `lookup` does not have: take it in, if that is done here and it is known anywhere.

        Any number of readers who miss the same cost no more than one. Fails with Unavailable.
        """

    def reading(resource_id: str, via: Iterable[str] = ()) -> Callable[[], None]:
        """A reader begins: the resource's bytes stay until the answer is called, once, even when it is evicted.

        `via` names the super nodes through which it comes; what is fetched meanwhile is fetched for them.
        """

    def wanted(resource_id: str, piece: int) -> None:
        """A reader waits for a piece that is not there yet: hurry it."""

    def served(resource_id: str, count: int) -> None:
        """So many bytes were given out just now."""
