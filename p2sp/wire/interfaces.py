"""What do the peer network, its links and those who use them ask of each other?"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from zope.interface import Attribute, Interface

from p2sp.resource.descriptor import Descriptor
from p2sp.storage.interfaces import IPieceStore
from p2sp.wire.pex import Neighbour

if TYPE_CHECKING:
    from p2sp.wire.link import PeerLink
    from p2sp.wire.messages import Handshake
    from p2sp.wire.session import Event


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


class LinkOwner(Protocol):
    """Who decides about links: the peer network."""

    def ready(self, link: "PeerLink") -> None:
        """Bytes may pass, and the node id is proven if there is one; a link we dialled is to be opened.

        Raises LinkRefused.
        """

    def greeted(self, link: "PeerLink", handshake: "Handshake") -> None:
        """The other side names its resource and itself; an incoming link is to be opened. Raises LinkRefused."""

    def joined(self, link: "PeerLink") -> None:
        """Both handshakes are done."""

    def heard(self, link: "PeerLink", event: "Event") -> None:
        """The other side said something. Raises RemoteProtocolError."""

    def lost(self, link: "PeerLink", reason: str) -> None:
        """The connection is gone."""


class BlockTaker(Protocol):
    """Who asked for blocks of a link, and takes them."""

    def block(self, piece: int, begin: int, data: bytes | memoryview) -> None:
        """A block that was requested, and not cancelled since; a view of it holds until `heard`."""

    def heard(self) -> None:
        """That was all that came at once: blocks that follow each other may be handled together now."""

    def rejected(self, piece: int, begin: int, length: int) -> None:
        """A request will not be served."""

    def changed(self) -> None:
        """What the other side has, or whether it serves us, changed."""

    def ended(self, reason: str) -> None:
        """The link is over; nothing more will come."""
