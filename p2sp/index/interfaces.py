"""What must a store of the resource index keep?"""

from collections.abc import Collection

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from p2sp.index.publication import Publication
from p2sp.index.schema import ResourceView


class Contradiction(Exception):
    """A publication says something else than an earlier one did; the text names both."""


class TooManyMirrors(Exception):
    """A resource has as many mirrors as it can have."""


@attrs.frozen
class StoredTorrent:
    """A resource's name, its torrent without mirrors, and its mirrors in the order in which they were published."""

    name: str
    torrent: bytes = attrs.field(repr=False)
    mirrors: list[str]


class IIndexStore(Interface):
    """Resources and their mirrors, durable.

    A resource never changes once it is known: publishing it again adds mirrors, and a digest where there was none.
    A publication is taken whole or not at all.
    """

    def publish(publication: Publication, now: float) -> Deferred[None]:
        """Add a resource, or mirrors to a known one. `now` is seconds since 1970.

        Fails with Contradiction when an earlier publication stated another digest, and with TooManyMirrors.
        """

    def resource(resource: str) -> Deferred[ResourceView | None]:
        """What is known of an id; None when it is unknown."""

    def torrent(resource: str) -> Deferred[StoredTorrent | None]:
        """The torrent of an id; None when it is unknown."""

    def by_target(target: str) -> Deferred[list[ResourceView]]:
        """Resources with a mirror whose bytes are at this normalised URL, newest first; a bounded list."""

    def by_digest(sha256: str) -> Deferred[list[ResourceView]]:
        """Lone files published with this digest (64 hex digits), newest first; a bounded list."""

    def by_root(length: int, root: str) -> Deferred[list[ResourceView]]:
        """Lone files of this length and Merkle root (64 hex digits), newest first; a bounded list."""

    def names(resources: Collection[str]) -> Deferred[dict[str, str]]:
        """The names of these ids, of which there are not many; what is unknown is left out."""

    def listing(after: str | None, limit: int, name: str | None) -> Deferred[list[ResourceView]]:
        """At most `limit` resources, newest first, behind the one with the id `after`, with `name` in their name."""
