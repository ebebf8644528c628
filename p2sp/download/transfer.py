"""What does this node do with one resource? Fetch it, serve it, say so to the trackers: one transfer."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from p2sp.download.conductor import Conductor
from p2sp.download.dialler import Dialler
from p2sp.download.errors import DownloadError
from p2sp.download.foreign import Hints
from p2sp.download.node import Node
from p2sp.download.report import ExitCode, Report
from p2sp.download.servers import Servers
from p2sp.download.whereabouts import Whereabouts
from p2sp.resource.descriptor import Descriptor
from p2sp.resource.verification import Content, Evidence
from p2sp.schedule.border import Myself
from p2sp.schedule.spans import Kind, Mode
from p2sp.sources.http_facts import Version
from p2sp.sources.http_probe import Connect, Probe
from p2sp.sources.interfaces import Candidate
from p2sp.storage.interfaces import IPieceStore
from p2sp.wire.interfaces import IShared

if TYPE_CHECKING:
    from p2sp.download.announcing import Finders
    from p2sp.wire.link import PeerLink
    from p2sp.wire.pex import Neighbour


@implementer(IShared)
class Transfer:
    """One resource on one node, from its id or descriptor to the last byte served.

    With a descriptor and a store it downloads what is missing and serves what it has; with an id alone it first gets
    the descriptor from peers (BEP 9, BEP 52). `connect` is how servers are reached, if not as the node does.
    """

    log = Logger()

    def __init__(
        self,
        node: Node,
        *,
        resource_id: bytes | None = None,
        content: Content | None = None,
        store: IPieceStore | None = None,
        trackers: Sequence[str] | None = None,
        mode: Mode = Mode.FAST,
        in_order: bool = False,
        floor_rate: float = 0.0,
        hints: Hints | None = None,
        connect: Connect | None = None,
    ) -> None:
        self.node = node
        self._connect = connect or node.connect
        self.hints = hints or Hints()
        self.report = Report(node.reactor.seconds())
        node.tally.begin(self.report)
        self.content = content
        self.store = store
        self.descriptor: Descriptor | None = content.descriptor if content is not None else None
        self.resource_id = resource_id or (self.descriptor.resource_id if self.descriptor is not None else b"")
        self.conductor: Conductor | None = None
        self._mode = mode
        self._in_order = in_order
        self._floor_rate = floor_rate
        self._links: dict[str, PeerLink] = {}
        self._found: Deferred[Descriptor] | None = None
        self._servers: Servers | None = None
        self._started = False
        self._seeking = True
        self._leave_lan: Callable[[], None] | None = None
        self._whereabouts = Whereabouts(node.reactor, node.rng, self._ask_where)
        self._trackers = list(node.trackers if trackers is None else trackers)
        self._finder: Finders | None = None
        self._dialler = Dialler(node.reactor, self._call, node.rng, failed=self._call_failed)

    # -- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the swarm, if there is one to join."""
        if self._started or not self.resource_id:
            return
        # Not before a swarm is joined: a download from servers alone needs nothing of this.
        from p2sp.download.announcing import finder_of

        self._started = True
        self.node.wire.share(self)
        self._finder = finder_of(self, self._trackers)
        self._finder.start(self.offer, self.report.tell, self._told)
        if self.node.lan is not None and not (self.descriptor is not None and self.descriptor.private):
            self._leave_lan = self.node.lan.watch(self.resource_id[:20], self._on_lan)
        if self._seeking and (self.store is None or not self.store.complete):
            self._dialler.start()

    def rest(self) -> None:
        """Look for nothing until the next `download`: what is held is served, and no interest is shown in the rest."""
        self._seeking = False
        self._dialler.stop()
        self._show_interest()

    def _show_interest(self) -> None:
        for link in self._links.values():
            link.session.seek(self._seeking)
            link.flush()

    @property
    def speaks_clear_text(self) -> bool:
        """Whether clients outside of our network are welcome: where clear text is allowed, and the resource is not
        private, which never leaves TLS.
        """
        private = self.descriptor is not None and self.descriptor.private
        return self.node.clear_text and not private

    @property
    def asks_foreigners(self) -> bool:
        """Whether trackers outside of our network are asked."""
        return bool(self.hints) and self.speaks_clear_text

    def find_descriptor(self, deadline: float) -> "Deferred[Descriptor]":
        """The descriptor, from peers; for a transfer begun with an id alone. Fails with DownloadError."""
        found: Deferred[Descriptor] = Deferred()
        self._found = found
        found.addTimeout(deadline, self.node.reactor, onTimeoutCancel=self._not_described)
        self.start()
        return found

    def _not_described(self, result: object, timeout: float) -> object:
        self._found = None
        heard = "" if self._finder is not None and self._finder.answered else "; no tracker answers"
        raise DownloadError(
            f"nobody described resource {self.resource_id.hex()} within {timeout:g} s{heard}", ExitCode.NOT_FOUND
        )

    def use(self, content: Content, store: IPieceStore) -> None:
        """The store for a transfer that began without one."""
        self.content, self.store = content, store
        self.descriptor = content.descriptor
        if self._started:
            self.node.wire.stored(self)

    def download(
        self,
        mirrors: Sequence[str] = (),
        *,
        found: Probe | None = None,
        version: Version | None = None,
        unproven: Sequence[str] = (),
    ) -> "Deferred[None]":
        """Fetch what is missing; fires when every piece is verified. Fails with DownloadError; cancelling stops.

        `unproven` are servers that must first be shown to hold what `found` holds: for content without piece hashes.
        They are compared while the download runs, and join it when they agree.
        """
        assert self.store is not None
        assert self.content is not None
        conductor = Conductor(
            self.node.reactor,
            self.store,
            self.report,
            rng=self.node.rng,
            mode=self._mode,
            in_order=self._in_order,
            floor_rate=self._floor_rate,
            myself=self._myself(),
            limit=self.node.download_limit,
            expecting=self._expecting,
            banned=self._banned,
            leaves=self._leaves if self.content.verification.evidence is Evidence.LEAVES else None,
        )
        self.conductor = conductor
        if self._servers is not None:
            self._servers.let_go()
        self._servers = Servers(self.node, self._connect, self.content, self.report, conductor)
        self._servers.begin(mirrors, found, version, () if self.store.complete else unproven)
        # Only now, when each can see that it is not alone: who is beside others has to prove itself first.
        if self._trackers and not self._started and self.resource_id:
            conductor.company.listen()
        done = conductor.run()
        self.start()
        if not self._seeking and not self.store.complete:
            self._seeking = True
            self._dialler.start()
            self._show_interest()
        for link in self._links.values():
            self._add_source(link)
        if self.node.generous:
            from p2sp.download.announcing import EarlyReports

            EarlyReports(self.node.reactor, self.report, self._report_now).during(done)
        return done.addCallback(self._completed)

    def _myself(self) -> Myself | None:
        """Who we are to others that fetch this, where there may be any."""
        return Myself(self.node.identity.node_id, self.resource_id) if self._may_meet_others else None

    def _completed(self, _: None) -> None:
        if self._servers is not None:
            self._servers.let_go()
        self._dialler.stop()
        self._whereabouts.stop()
        if self._finder is not None:
            self._finder.completed()

    async def stop(self) -> None:
        """Leave the swarm and let go of every source. The store stays open: it is the caller's."""
        if self.conductor is not None:
            self.conductor.stop()
        if self._servers is not None:
            self._servers.let_go()
        self._dialler.stop()
        self.node.tally.end(self.report)
        self._whereabouts.stop()
        finder, self._finder = self._finder, None
        if finder is not None:
            self._started = False
            self._be_silent_on_lan()
            await finder.stop()
            await self.node.wire.unshare(self)

    def _expecting(self) -> bool:
        compared = self._servers is not None and self._servers.comparing
        return compared or (self._started and self._may_meet_others)

    @property
    def _may_meet_others(self) -> bool:
        """Whether anybody is to tell us of nodes."""
        return bool(self.resource_id and (self._trackers or self.asks_foreigners or self.node.calls_out))

    @property
    def isp(self) -> str | None:
        """Where the tracker sees us."""
        return self._finder.isp if self._finder is not None else None

    @property
    def links(self) -> int:
        """How many nodes we are connected with."""
        return len(self._links)

    # -- IShared ---------------------------------------------------------------------------------------------

    def joined(self, link: "PeerLink") -> None:
        if self._dialler.is_banned(link.who, link.address[0]):
            link.close("banned")
            return
        if candidate := self._dialler.find(link.who):
            link.kind = candidate.kind
        self._links[link.who] = link
        link.session.seek(self._seeking)
        self._dialler.linked(link.who)
        self._add_source(link)

    def left(self, link: "PeerLink", reason: str) -> None:
        if self._links.get(link.who) is link:
            del self._links[link.who]
            self._dialler.lost(link.who)

    def uploaded(self, link: "PeerLink", count: int) -> None:
        self.report.uploaded += count

    def named(self, link: "PeerLink", neighbours: "Sequence[Neighbour]") -> None:
        for each in neighbours:
            self._dialler.hear_say(Candidate(Kind.PEER, each.node_id, each.host, each.port))

    def descriptor_found(self, descriptor: Descriptor) -> None:
        found, self._found = self._found, None
        if found is not None:
            self.descriptor = descriptor
            if descriptor.private:
                self._be_silent_on_lan()
            found.callback(descriptor)

    def offer(self, candidate: Candidate) -> None:
        """A node was named that may have this resource: it is called if it is needed and allowed.

        For a foreign client (no node id) that takes `Node.clear_text` and a resource that is not private.
        """
        if self.conductor is not None and self._dialler.find(candidate.who) is None:
            self.conductor.company.called(candidate)
        if candidate.node_id or self.node.wire.clear_text:
            self._dialler.offer(candidate)
        if candidate.node_id:
            self._whereabouts.told(candidate.host, local=candidate.local)
            self._place_links()

    def _told(self) -> None:
        if self.conductor is not None:
            self.conductor.company.answered()

    # -- nodes -----------------------------------------------------------------------------------------------

    def _add_source(self, link: "PeerLink") -> None:
        local, lan = self._place_of(link)
        if self.conductor is None or self.store is None or self.store.complete:
            return
        from p2sp.sources.peer import PeerSource

        self.conductor.add(PeerSource(link, lan=lan), local=local, lan=lan, node=link.node_id)

    def _place_of(self, link: "PeerLink") -> tuple[bool, bool]:
        """Whether the other side is in our ISP, and on our own network: as told of it, or of those beside it."""
        candidate = self._dialler.find(link.who)
        if candidate is not None and (candidate.local or candidate.lan):
            link.near = True
            return candidate.local, candidate.lan
        if self._seeking and link.node_id and not link.outgoing:
            self._whereabouts.met(link.address[0])
        link.near = self._whereabouts.is_local(link.address[0])
        return link.near, False

    def _ask_where(self) -> None:
        if self._finder is not None:
            self._finder.ask()

    def _place_links(self) -> None:
        """Who called us before a tracker named it, or one beside it, may turn out to be near."""
        for link in self._links.values():
            local, lan = self._place_of(link)
            if self.conductor is not None:
                self.conductor.place(link.label, local=local, lan=lan)

    def _report_now(self) -> None:
        if self._finder is not None:
            self._finder.report()

    def _on_lan(self, node_id: str, host: str, port: int) -> None:
        self._dialler.offer(Candidate(Kind.PEER, node_id, host, port, local=True, lan=True))

    def _be_silent_on_lan(self) -> None:
        leave, self._leave_lan = self._leave_lan, None
        if leave is not None:
            leave()

    def _call(self, candidate: Candidate) -> "Deferred[object]":
        calling = self.node.wire.dial(
            self,
            candidate.host,
            candidate.port,
            candidate.node_id,
            bind_address=self.node.address,
            kind=candidate.kind,
        )
        return cast("Deferred[object]", calling)

    def _call_failed(self, candidate: Candidate, reason: str) -> None:
        if self.conductor is not None:
            self.conductor.company.unreachable(candidate)
        if candidate.kind is Kind.SUPERNODE:
            self.report.tell(f"super node {candidate.host}:{candidate.port} cannot be reached: {reason}")

    def _leaves(self, piece: int, suspects: Collection[str]) -> "Deferred[tuple[bytes, ...] | None]":
        return self.node.wire.leaves(self, piece, suspects) if self._started else succeed(None)

    def _banned(self, label: str, reason: str) -> None:
        for link in list(self._links.values()):
            if link.label == label:
                self._dialler.ban(link.who, link.address[0], foreign=not link.secure)
                link.close(reason)
