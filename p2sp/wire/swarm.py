"""What do the links of one resource have to do with each other?"""

from collections.abc import Callable, Collection, Iterator
from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from p2sp.resource.descriptor import Descriptor
from p2sp.resource.errors import DescriptorError
from p2sp.resource.magnet import V1_ID_SIZE
from p2sp.storage.interfaces import IPieceStore
from p2sp.wire.errors import LinkRefused, RemoteProtocolError, Why
from p2sp.wire.extensions import Abilities, MetadataPart, MetadataReject, MetadataRequest
from p2sp.wire.gossip import Gossip
from p2sp.wire.interfaces import IShared
from p2sp.wire.learner import Learner
from p2sp.wire.link import PeerLink
from p2sp.wire.messages import Hashes, HashReject, HashRequest, Request
from p2sp.wire.metadata import Library
from p2sp.wire.pex import Neighbours
from p2sp.wire.session import Event, Session
from p2sp.wire.upload import Gate, Uploader
from p2sp.wire.witnesses import Leaves, Witnesses

USELESS_SECONDS: Final = 10.0
"""How long two sides that both have everything stay linked: more may be asked right after the last piece."""


MOST_NAMED: Final = 1000
"""Clients remembered to know a hybrid by its v1 name alone."""

NOT_IN_CLEAR: Final = "a private resource is not shared in clear text"


class Swarm:
    """One resource we take part in, and its links: at most one to each node.

    Announces what becomes verified, learns the descriptor while it is unknown, and answers what others ask.
    """

    _log = Logger()

    def __init__(
        self,
        shared: IShared,
        clock: IReactorTime,
        gate: Gate,
        own_id: str,
        peer_id: bytes,
        port: Callable[[], int],
    ) -> None:
        self.shared = shared
        self.links: dict[str, PeerLink] = {}
        self.library: Library | None = None
        self.descriptor: Descriptor | None = None
        self.names: tuple[bytes, ...] = (self.info_hash,)
        self._clock = clock
        self._gate = gate
        self._own_id = own_id
        self._peer_id = peer_id
        self._port = port
        self._gossip = Gossip()
        self._witnesses: Witnesses | None = None
        self._useless: dict[PeerLink, float] = {}
        self._by_old_name: set[str] = set()
        self._learner: Learner | None = None
        self._unwatch: list[Callable[[], None]] = []
        descriptor = shared.descriptor
        if descriptor is None or descriptor.missing_layers:
            self._learner = Learner(shared.resource_id, descriptor)
        else:
            self._describe(descriptor)
        self.stored()

    @property
    def info_hash(self) -> bytes:
        """What the resource is called in handshakes."""
        return self.shared.resource_id[:20]

    @property
    def wanting(self) -> bool:
        """Whether there is something to get from others still."""
        return self.store is None or not self.store.complete

    @property
    def private(self) -> bool:
        """Whether the resource never leaves TLS (BEP 27), as far as it is described."""
        if self.descriptor is None:
            return self._learner is not None and self._learner.private
        return self.descriptor.private

    @property
    def store(self) -> IPieceStore | None:
        """Where the pieces are."""
        return self.shared.store if self.descriptor is not None else None

    def admit(self, link: PeerLink) -> None:
        """Open a link whose other side is known by its key or address. Raises LinkRefused when it is not wanted.

        Of two links between the same nodes both sides keep the same one, whatever they hear of first: of calls that
        crossed the one of the node with the smaller id, of calls from the same side the later one, for nobody calls
        whom he has a link with.
        """
        if not link.secure and self.private:
            raise LinkRefused(NOT_IN_CLEAR, Why.PRIVATE)
        there = self.links.get(link.who)
        if there is not None and not there.closing:
            crossed = there.outgoing != link.outgoing
            caller = self._own_id if link.outgoing else link.node_id
            if not link.secure or (crossed and caller != min(self._own_id, link.node_id)):
                raise LinkRefused(f"there is a link to {link.who:.22} already", Why.SECOND)
            self._drop(there, "a later or crossing call of the same node is kept")
        self.links[link.who] = link
        link.session.open(
            self._name_for(link),
            self._peer_id,
            layout=self.descriptor.layout if self.descriptor else None,
            have=self._have(),
            metadata_size=len(self.descriptor.info) if self.descriptor else None,
            host=link.address[0],
            port=self._port(),
            pex=not self.private,
            other_names=self.names,
            v2=len(self.shared.resource_id) != V1_ID_SIZE,
        )
        link.uploader = Uploader(
            link.session,
            self,
            self._gate,
            flush=link.flush,
            uploaded=lambda count: self._uploaded(link, count),
            room=lambda: link.buffer.size,
            copies=self._copies_near,
        )

    def _name_for(self, link: PeerLink) -> bytes:
        """What the resource is called on a link: as the other side does, or as a foreign client may know it."""
        if link.session.remote is not None:
            return link.session.remote.info_hash
        return self.names[-1 if link.who in self._by_old_name else 0]

    def introduced(self, link: PeerLink, peer_id: bytes) -> None:
        """Both sides have named themselves. Raises LinkRefused for a foreign client that we have a link with already.

        It has no key, so the first link stays, and only peer id and address together tell that it is the same one.
        """
        for other in self.links.values():
            known = other.session.remote
            if (
                other is not link
                and not (other.secure or link.secure or other.closing)
                and other.address[0] == link.address[0]
                and known is not None
                and known.peer_id == peer_id
            ):
                raise LinkRefused(f"there is a link to {other.who} already", Why.SECOND)

    def release(self, link: PeerLink) -> None:
        """A link is gone."""
        if self.links.get(link.who) is link:
            del self.links[link.who]
        self._gossip.gone(link)
        self._useless.pop(link, None)
        if len(self.names) > 1 and link.outgoing and not link.secure and link.session.remote is None:
            # A client of v1 alone closes when it hears the v2 name of a hybrid: it is called by the other one next.
            if len(self._by_old_name) >= MOST_NAMED:
                self._by_old_name.clear()
            self._by_old_name ^= {link.who}
        if self._witnesses is not None:
            self._witnesses.gone(link.session)
        if self._learner is not None:
            self._learner.gone(link.session)
            self.learn()

    def heard(self, link: PeerLink, event: Event) -> None:
        """Something was said on one of the links. Raises RemoteProtocolError."""
        match event:
            case Request() if link.uploader is not None:
                link.buffer.limit(link.transport)
                link.uploader.wanted(event)
            case HashRequest() if link.uploader is not None:
                link.uploader.asked(event)
            case MetadataRequest(part) if link.uploader is not None:
                link.uploader.asked(part)
            case MetadataPart() | MetadataReject() | Hashes() | HashReject():
                self._taught(link.session, event)
            case Neighbours():
                callable_ones = self._gossip.heard(link, event, self._clock.seconds())
                if callable_ones:
                    self.shared.named(link, callable_ones)
            case Abilities():
                self.learn()

    def learn(self) -> None:
        """Ask for what is missing of the descriptor."""
        if self._learner is None:
            return
        joined = self._joined()
        self._learner.ask([link.session for link in joined], self._clock.seconds())
        for link in joined:
            link.flush()

    def stored(self) -> None:
        """The store may have come to be there: watch it and announce what it has."""
        store = self.store
        if store is None or self._unwatch:
            return
        self._unwatch = [store.on_verified(self._verified), store.on_forgotten(self._forgotten)]
        for piece in self._have():
            self._verified(piece)

    def tick(self) -> None:
        """Look at the clock: to be called every few seconds."""
        self.stored()
        self.learn()
        if self._witnesses is not None:
            self._witnesses.ask()
        self._gossip.tell(self._joined(), self._clock.seconds())
        self._let_the_useless_go()

    def leaves_of(self, piece: int, suspects: Collection[str]) -> "Deferred[Leaves]":
        """The leaf hashes a piece should have, from others; see `Witnesses`."""
        return self._witnesses.leaves_of(piece, suspects) if self._witnesses is not None else succeed(None)

    def close(self, reason: str) -> None:
        """End every link."""
        for unwatch in self._unwatch:
            unwatch()
        self._unwatch.clear()
        self._learner = None
        if self._witnesses is not None:
            self._witnesses.close()
        for link in list(self.links.values()):
            link.close(reason)

    def _joined(self) -> list[PeerLink]:
        return [link for link in self.links.values() if link.is_joined and not link.closing]

    def _copies_near(self, piece: int) -> int:
        """How many nodes of our ISP, as far as we have links with them, have a piece."""
        return sum(link.near and piece in link.session.pieces for link in self.links.values())

    def _let_the_useless_go(self) -> None:
        """Two sides that have everything have nothing to give each other: after a while the link is ended."""
        store, now = self.store, self._clock.seconds()
        for link in self._joined():
            if store is None or not store.complete or not link.session.pieces.full:
                self._useless.pop(link, None)
            elif now - self._useless.setdefault(link, now) >= USELESS_SECONDS:
                link.close("both sides have everything", Why.USELESS)

    def _open(self) -> list[PeerLink]:
        return [link for link in self.links.values() if not link.closing]

    def _drop(self, link: PeerLink, reason: str) -> None:
        del self.links[link.who]
        link.close(reason)

    def _uploaded(self, link: PeerLink, count: int) -> None:
        link.uploaded += count
        self.shared.uploaded(link, count)

    def _have(self) -> Iterator[int]:
        store = self.store
        return iter(()) if store is None else (piece for piece, good in enumerate(store.verified()) if good)

    def _forgotten(self, piece: int) -> None:
        for link in self._open():
            link.session.forget(piece)
            link.flush()

    def _verified(self, piece: int) -> None:
        for link in self._open():
            link.session.have(piece)
            link.flush()

    def _describe(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self.names = descriptor.handshake_hashes
        self.library = Library(descriptor)
        self._witnesses = Witnesses(descriptor, self._joined, self._clock.seconds)
        self._keep_secret()
        for link in self._open():
            try:
                link.session.describe(descriptor.layout, len(descriptor.info), pex=not self.private)
            except RemoteProtocolError as error:
                link.close(str(error))
            else:
                link.flush()

    def _keep_secret(self) -> None:
        """Once it turns out that the resource is private, links in clear text end."""
        if self.private:
            for link in self._open():
                if not link.secure:
                    link.close(NOT_IN_CLEAR, Why.PRIVATE)

    def _taught(self, session: Session, event: MetadataPart | MetadataReject | Hashes | HashReject) -> None:
        learner = self._learner
        if learner is None:
            if self._witnesses is not None and isinstance(event, Hashes | HashReject):
                self._witnesses.heard(session, event)
            return
        now = self._clock.seconds()
        try:
            match event:
                case MetadataPart(part, _, data):
                    learner.part(session, part, data, now)
                case MetadataReject():
                    learner.refused(session, None, now)
                case Hashes():
                    learner.hashes(event.request, event.hashes)
                case HashReject():
                    learner.refused(session, event.request, now)
        except DescriptorError as error:
            self._learner = None
            self._log.error(
                "resource {resource} cannot be used: {reason}",
                resource=self.shared.resource_id.hex(),
                reason=str(error),
            )
            return
        descriptor = learner.found()
        if descriptor is None:
            self._keep_secret()
            self.learn()
            return
        self._learner = None
        # Links first: whoever hears of it may ask them for blocks at once.
        self._describe(descriptor)
        self.shared.descriptor_found(descriptor)
        self.stored()
        for link in self._open():
            if link.taker is not None:
                link.taker.changed()
