"""Which connections to other nodes do we take and make, and which resource is each for?"""

from collections import Counter
from collections.abc import Collection
from random import Random
from typing import Any, Final

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError, UserError
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.net.addresses import host_port
from p2sp.net.identity import Identity
from p2sp.net.listen import listen_tcp
from p2sp.net.throttle import TokenBucket
from p2sp.net.trust import server_context
from p2sp.schedule.spans import Kind
from p2sp.wire.calls import Ways
from p2sp.wire.choker import Applicant
from p2sp.wire.door import Door, Visitor
from p2sp.wire.errors import LinkLost, LinkRefused, Why
from p2sp.wire.interfaces import IShared
from p2sp.wire.link import ALPN, PeerLink
from p2sp.wire.messages import Handshake, Interested, NotInterested
from p2sp.wire.near_first import NearFirst
from p2sp.wire.register import Bounds, Register
from p2sp.wire.session import Event
from p2sp.wire.swarm import Swarm
from p2sp.wire.upload import Gate
from p2sp.wire.witnesses import Leaves

TICK_SECONDS: Final = 5.0


class PeerNetwork:
    """All links of this node to others: listens, dials, routes by resource and shares out upload slots.

    `reactor` is both TCP and time. `clear_text` lets foreign BitTorrent clients in and calls them, without TLS and
    without node ids; resources marked private (BEP 27) excepted. `upload` caps what is given to all others together,
    `bounds` how many connections there are; `slots` are the links served at a time, in a `generous` node whatever they
    give. Links between the same two nodes: one for each resource.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        identity: Identity,
        *,
        clear_text: bool = False,
        upload: TokenBucket | None = None,
        slots: int = 8,
        generous: bool = False,
        bounds: Bounds | None = None,
        rng: Random | None = None,
    ) -> None:
        self.node_id = identity.node_id
        self.clear_text = clear_text
        self._reactor = reactor
        self._clock = IReactorTime(reactor)
        self._identity = identity
        self.peer_id = b"-PS0100-" + bytes.fromhex(identity.node_id)[:12]
        self._gate = Gate(self._clock, upload)
        self._choker: NearFirst[PeerLink] = NearFirst(slots)
        self._generous = generous
        self._rng = rng or Random()
        self._ways = Ways(reactor, identity)
        self._register = Register(bounds or Bounds())
        self._swarms: dict[bytes, Swarm] = {}
        self._other_names: dict[bytes, Swarm] = {}
        self._of: dict[PeerLink, Swarm] = {}
        self._calls: dict[tuple[bytes, str], Deferred[PeerLink]] = {}
        self._ports: list[IListeningPort] = []
        self._closed = False
        self._choking: IDelayedCall | None = None
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = self._clock

    @property
    def port(self) -> int:
        """The port we listen on, 0 when we do not."""
        return int(self._ports[0].getHost().port) if self._ports else 0  # type: ignore[attr-defined]

    @property
    def links(self) -> int:
        """Connections there are, half-open ones and those that end included."""
        return len(self._register)

    @property
    def endings(self) -> Counter[Why]:
        """What connections ended of so far, refused ones included."""
        return self._register.endings

    def listen(self, host: str, port: int) -> IListeningPort:
        """Take links at an IP address. Raises CannotListen naming it."""
        door = Door(self, server_context(self._identity, alpn=ALPN), self._clock)
        listening = listen_tcp(IReactorTCP(self._reactor), host_port(host, port), door)
        self._ports.append(listening)
        return listening

    def share(self, shared: IShared) -> None:
        """Take part in a resource. Raises ValueError when we do already."""
        swarm = Swarm(shared, self._clock, self._gate, self.node_id, self.peer_id, lambda: self.port)
        if swarm.info_hash in self._swarms:
            swarm.close("shared twice")
            raise ValueError(f"resource {shared.resource_id.hex()} is shared already")
        self._swarms[swarm.info_hash] = swarm
        self._take_names(swarm)
        if not self._ticking.running and not self._closed:
            self._ticking.start(TICK_SECONDS, now=False).addErrback(self._tick_failed)

    def unshare(self, shared: IShared) -> "Deferred[None]":
        """Leave a resource; fires when its links are gone."""
        swarm = self._swarms.get(shared.resource_id[:20])
        if swarm is None or swarm.shared is not shared:
            return succeed(None)
        del self._swarms[swarm.info_hash]
        self._other_names = {name: other for name, other in self._other_names.items() if other is not swarm}
        for (info_hash, _), call in list(self._calls.items()):
            if info_hash == swarm.info_hash:
                call.cancel()
        links = [link for link, of in self._of.items() if of is swarm]
        swarm.close("the resource is no longer shared here")
        return self._register.when_gone(*links)

    def stored(self, shared: IShared) -> None:
        """Tell that `shared.store` has come to be there: what it holds is announced from now on."""
        self._swarm_of(shared).stored()

    def leaves(self, shared: IShared, piece: int, suspects: Collection[str] = ()) -> "Deferred[Leaves]":
        """The leaf hashes that a piece should have, from others; None when nobody tells.

        Links with the labels `suspects` are asked last.
        """
        return self._swarm_of(shared).leaves_of(piece, suspects)

    def links_of(self, shared: IShared) -> list[PeerLink]:
        """The links of a resource that have joined."""
        return [link for link in self._swarm_of(shared).links.values() if link.is_joined and not link.closing]

    def dial(
        self,
        shared: IShared,
        host: str,
        port: int,
        node_id: str = "",
        *,
        bind_address: str | None = None,
        kind: Kind = Kind.PEER,
    ) -> "Deferred[PeerLink]":
        """Call a node for a resource; fires with the link when both handshakes are done.

        Without a node id it is a foreign client, called in clear text: refused unless `clear_text` is allowed and the
        resource is not private.

        Fails with LinkRefused when we do not want such a link, IdentityMismatch when somebody else answers, and
        LinkLost for everything else. Cancelling gives the call up.
        """
        key = (shared.resource_id[:20], node_id or host_port(host, port))
        if key in self._calls:
            return _failed(LinkRefused(f"{key[1]:.22} is being called already", Why.SECOND))
        call = Deferred.fromCoroutine(self._dial(shared, host, port, node_id, bind_address, kind))
        if not call.called:
            self._calls[key] = call
            call.addBoth(self._called, key)
        return call

    def close(self) -> "Deferred[None]":
        """Stop listening and end all links: what is written already may still get out for two seconds."""
        self._closed = True
        if self._choking is not None:
            self._choking.cancel()
            self._choking = None
        if self._ticking.running:
            self._ticking.stop()
        stopping: list[Deferred[Any]] = [maybeDeferred(port.stopListening) for port in self._ports]
        self._ports.clear()
        for call in list(self._calls.values()):
            call.cancel()
        for swarm in list(self._swarms.values()):
            swarm.close("this node is going away")
        self._swarms.clear()
        for link in list(self._register.links):
            link.close("this node is going away")
        for visitor in list(self._register.visitors):
            visitor.send_away(Why.CLOSED)
        self._gate.close()
        if self.endings:
            counted = ", ".join(f"{why.value} ({count})" for why, count in self.endings.most_common())
            self._log.info("connections ended so far: {counted}", counted=counted)
        ending = [*stopping, self._register.when_gone(*self._register.links, *self._register.visitors)]
        return gatherResults(ending, consumeErrors=True).addCallback(lambda _: None)

    # For links: see LinkOwner.

    def ready(self, link: PeerLink) -> None:
        if link.node_id == self.node_id:
            raise LinkRefused("a link to ourselves", Why.OURSELVES)
        swarm = self._of.get(link)
        if swarm is not None:
            swarm.admit(link)

    def greeted(self, link: PeerLink, handshake: Handshake) -> None:
        if handshake.peer_id == self.peer_id:
            raise LinkRefused("a link to ourselves", Why.OURSELVES)
        swarm = self._of.get(link)
        if swarm is None:
            swarm = self._swarms.get(handshake.info_hash) or self._other_names.get(handshake.info_hash)
            if swarm is None:
                raise LinkRefused(f"resource {handshake.info_hash.hex()} is not shared here", Why.NOT_SHARED)
            self._of[link] = swarm
            swarm.admit(link)
        swarm.introduced(link, handshake.peer_id)

    def joined(self, link: PeerLink) -> None:
        swarm = self._of[link]
        self._log.debug("{link.label} joined", link=link)
        swarm.shared.joined(link)
        swarm.learn()

    def heard(self, link: PeerLink, event: Event) -> None:
        if isinstance(event, Interested | NotInterested):
            self._choke_soon()
        else:
            swarm = self._of[link]
            swarm.heard(link, event)
            self._take_names(swarm)

    def lost(self, link: PeerLink, reason: str) -> None:
        swarm = self._of.pop(link, None)
        if swarm is not None:
            swarm.release(link)
            if link.is_joined:
                swarm.shared.left(link, reason)
        self._register.left(link, link.why)
        self._choke_soon()

    # For the door: see Household.

    def admits(self, visitor: Visitor) -> bool:
        return not self._closed and self._register.admits(visitor)

    def take(self, *, secure: bool) -> PeerLink:
        link = PeerLink(self, self._clock, outgoing=False, secure=secure)
        self._register.links.add(link)
        return link

    def gone(self, visitor: Visitor, why: Why | None) -> None:
        self._register.left(visitor, why)

    async def _dial(
        self, shared: IShared, host: str, port: int, node_id: str, bind_address: str | None, kind: Kind
    ) -> PeerLink:
        swarm = self._swarms.get(shared.resource_id[:20])
        if self._closed or swarm is None or swarm.shared is not shared:
            raise LinkRefused(f"resource {shared.resource_id.hex()} is not shared here")
        if not node_id and not self.clear_text:
            raise LinkRefused("clear text is not allowed here", Why.CLEAR_TEXT)
        if not node_id and swarm.private:
            raise LinkRefused("a private resource is not shared in clear text", Why.PRIVATE)
        if node_id == self.node_id:
            raise LinkRefused("a call to ourselves", Why.OURSELVES)
        link = PeerLink(self, self._clock, outgoing=True, secure=bool(node_id), kind=kind, called=host_port(host, port))
        there = swarm.links.get(node_id or link.called)
        if there is not None and not there.closing:
            raise LinkRefused(f"there is a link to {there.who:.22} already", Why.SECOND)
        if self._register.full:
            raise LinkRefused(f"there are {len(self._register)} links already", Why.TOO_MANY)
        joined = link.when_joined()
        self._register.links.add(link)
        self._of[link] = swarm
        try:
            await connectProtocol(self._ways.to(host, port, node_id, bind_address), link)
        except (ConnectError, UserError, OSError) as error:
            joined.addErrback(lambda _: None)
            link.close(str(error), Why.UNREACHABLE)
            self.lost(link, str(error))
            raise LinkLost(f"{host_port(host, port)} cannot be reached: {error}") from error
        except BaseException:
            joined.addErrback(lambda _: None)
            link.close("the call was given up", abort=True)
            if link.transport is None:
                self.lost(link, "the call was given up")
            raise
        return await joined

    def _called(self, result: Any, key: tuple[bytes, str]) -> Any:
        del self._calls[key]
        return result

    def _take_names(self, swarm: Swarm) -> None:
        """What else a resource is called may come to be known with its descriptor."""
        for name in swarm.names[1:]:
            self._other_names[name] = swarm

    def _swarm_of(self, shared: IShared) -> Swarm:
        swarm = self._swarms.get(shared.resource_id[:20])
        if swarm is None:
            raise ValueError(f"resource {shared.resource_id.hex()} is not shared here")
        return swarm

    def _choke_soon(self) -> None:
        # Once for all that one read brings, however often somebody changes his mind in it.
        if self._choking is None and not self._closed:
            self._choking = self._clock.callLater(0, self._choke)

    def _choke(self) -> None:
        self._choking = None
        joined = [link for link in self._register.links if link.is_joined and not link.closing]
        applicants = [
            Applicant(
                link,
                link.session.remote_interested,
                not self._generous and self._of[link].wanting,
                link.downloaded,
                link.uploaded,
                link.near,
            )
            for link in joined
        ]
        served = set(self._choker.decide(applicants, self._clock.seconds(), self._rng))
        for link in joined:
            if link in served:
                link.session.unchoke()
            else:
                link.session.choke()
            link.flush()

    def _tick(self) -> None:
        for link in list(self._register.links):
            link.tick()
        for swarm in list(self._swarms.values()):
            swarm.tick()
        self._choke_soon()

    def _tick_failed(self, failure: Failure) -> None:
        self._log.failure("the peer network's clock stopped", failure)


def _failed(error: Exception) -> "Deferred[PeerLink]":
    failed: Deferred[PeerLink] = Deferred()
    failed.errback(error)
    return failed
