"""What does the peer network ask of whoever takes part in a resource?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from p2sp.resource.descriptor import Descriptor
from p2sp.storage.interfaces import IPieceStore
from p2sp.wire.pex import Neighbour

if TYPE_CHECKING:
    from p2sp.wire.link import PeerLink


class IShared(Interface):
    """One resource we take part in. Called on the reactor's thread; must not block."""

    resource_id: bytes = Attribute("The 32 bytes of the resource id.")
    descriptor: Descriptor | None = Attribute("What the resource is made of; None while it is wanted by magnet.")
    store: IPieceStore | None = Attribute("Where its pieces are; None while there is no place for them yet.")

    def joined(link: "PeerLink") -> None:
        """A link of this resource finished both handshakes. What the other side has may come to be known later."""

    def left(link: "PeerLink", reason: str) -> None:
        """A link that had joined is gone."""

    def uploaded(link: "PeerLink", count: int) -> None:
        """So many bytes of a block were given to a link."""

    def named(link: "PeerLink", neighbours: Sequence[Neighbour]) -> None:
        """A link told of nodes that it has links with (BEP 11), each with a node id to expect there."""

    def descriptor_found(descriptor: Descriptor) -> None:
        """The descriptor was learnt from others, complete with all piece layers.

        Once there is a store for it, `PeerNetwork.stored` is to be told.
        """
