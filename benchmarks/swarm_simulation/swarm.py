"""How does a whole swarm go on in virtual time? Arrivals, the tracker's choice, transfers, departures."""

from hashlib import sha256
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from benchmarks.isp_lab.bound import fluid_bound
from benchmarks.isp_lab.plan import Plan
from benchmarks.swarm_simulation.flows import Pipe, fair_rates
from benchmarks.swarm_simulation.link import Friction, Link, Mail
from benchmarks.swarm_simulation.meeting import INTERVAL, Meeting
from benchmarks.swarm_simulation.node import RESOURCE, Node, taken
from p2sp.resource.layout import Layout
from p2sp.schedule.spans import Kind, Mode
from p2sp.sources.interfaces import Candidate
from p2sp.tracker.core import Tracker
from p2sp.tracker.entry import Entry, swarm_key
from p2sp.tracker.memory import MemorySwarmStore
from p2sp.tracker.schema import Scope
from p2sp.tracker.selection import make_policy

ORIGIN = "origin"
WARM_UP = 3.0
"""Seconds in which super nodes, and liars, come to be known before anybody else begins."""

TICK = 0.5
"""Seconds between two looks at everybody who has nothing to do, as the product does."""

CHOKE = 5.0
"""Seconds after which everybody looks at whom he serves, if nobody changed his mind before."""

WANTED = 50
"""Nodes that a tracker is asked for."""


@attrs.frozen
class Rules:
    """What is tried: the tracker's `selection`, and whether nodes agree `once` who brings a piece into their ISP.

    `links` is how many others a node calls, `remote` how many outside of its ISP the tracker names at the most;
    `arrive` the seconds in which all come, `leave` the share that leaves when it is complete or, every other one,
    midway; `liars` the share that gives wrong bytes.
    """

    selection: str = "biased"
    once: bool = True
    mode: Mode = Mode.FAST
    warm: bool = False
    links: int = 40
    remote: int = 8
    arrive: float = 0.5
    leave: float = 0.0
    liars: float = 0.0
    friction: Friction = attrs.field(factory=Friction)
    seed: int = 1


@attrs.frozen
class Outcome:
    """What came of it: seconds, the fluid bound, copies given by the origin and brought into each ISP, bytes wasted.

    `unfinished` are nodes that stayed and did not get everything.
    """

    last: float
    median: float
    bound: float
    origin: float
    imports: tuple[float, ...]
    wasted: float
    unfinished: int

    @property
    def ratio(self) -> float:
        """The last one's time as a multiple of the bound."""
        return self.last / self.bound


class Swarm:
    """All nodes of a plan that want one file of `pieces` pieces, an origin, and super nodes where `rules` say so."""

    def __init__(self, plan: Plan, rules: Rules, *, pieces: int, piece: int, step: float) -> None:
        self._clock = Clock()
        self._mail = Mail(self._clock, rules.friction)
        self._plan = plan
        self._rules = rules
        self._rng = Random(rules.seed)
        self._layout = Layout([pieces * piece], piece)
        self._step = step
        self._tracker = Tracker(
            Scope.GLOBAL,
            "simulated",
            INTERVAL,
            MemorySwarmStore(1e9),
            make_policy(rules.selection, remote_most=rules.remote),
            self._clock.seconds,
            self._clock.seconds,
            self._rng,
        )
        self._into = {isp.number: Pipe(isp.transit / 8) for isp in plan.isps}
        self._out_of = {isp.number: Pipe(isp.transit / 8) for isp in plan.isps}
        self._origin = self._node(ORIGIN, Kind.SERVER, None, up=plan.origin, down=1.0, complete=True)
        self._nodes: dict[str, Node] = {}
        self._hosts: list[Node] = []
        self._addresses: dict[str, str] = {}
        self._meetings: dict[str, Meeting] = {}
        self._links: dict[Link, None] = {}
        self._quits: dict[Node, float] = {}

    @property
    def bound(self) -> float:
        """Seconds in which everybody could have everything, were bytes a fluid and did nobody leave."""
        return fluid_bound(self._plan, self._layout.length, warm=self._rules.warm)

    # -- who takes part --------------------------------------------------------------------------------------

    def _node(
        self, name: str, kind: Kind, isp: int | None, *, up: float, down: float, complete: bool, liar: bool = False
    ) -> Node:
        return Node(
            sha256(name.encode()).hexdigest(),
            kind,
            isp,
            self._layout,
            self._mail,
            up=up / 8,
            down=down / 8,
            mode=self._rules.mode,
            once=self._rules.once,
            complete=complete,
            liar=liar,
            rng=Random(self._rng.random()),
        )

    def _populate(self) -> None:
        rules, rng = self._rules, self._rng
        for isp in self._plan.isps:
            if rules.warm:
                edge = self._node(isp.edge_name, Kind.SUPERNODE, isp.number, up=isp.edge, down=isp.edge, complete=True)
                self._enter(edge, isp.edge_address)
        hosts = list(self._plan.hosts)
        liars = set(rng.sample(hosts, round(rules.liars * len(hosts))))
        leavers = rng.sample([host for host in hosts if host not in liars], round(rules.leave * len(hosts)))
        for host in hosts:
            node = self._node(
                host.name,
                Kind.PEER,
                host.isp,
                up=host.up,
                down=host.down,
                complete=host in liars,
                liar=host in liars,
            )
            delay = 0.0 if host in liars else rng.uniform(0.0, rules.arrive)
            self._clock.callLater((0.0 if host in liars else WARM_UP) + delay, self._enter, node, host.address)
            if host not in liars:
                self._hosts.append(node)
            if host in leavers:
                self._quits[node] = rng.uniform(0.3, 0.9) if leavers.index(host) % 2 else 1.0

    def _enter(self, node: Node, address: str) -> None:
        self._addresses[node.name] = address
        self._nodes[node.name] = node
        node.started = self._clock.seconds()
        meeting = self._meetings[node.name] = Meeting(
            node,
            address,
            self._clock,
            Random(self._rng.random()),
            self._rules.friction,
            self._rules.links,
            self._named,
            self._connect,
        )
        meeting.begin()
        if not node.complete:
            node.joined(self._link(self._origin, node), inside=False)

    def _named(self, node: Node, *, stopped: bool = False) -> list[Candidate]:
        """Join the swarm as the tracker keeps it, and hear of others."""
        left = (node.everything & ~node.pieces).bit_count() * self._layout.piece_length
        entry = Entry(
            resource=swarm_key(RESOURCE.hex()),
            node_id=node.name,
            session=node.name,
            host=self._addresses[node.name],
            port=1,
            isp=None if node.isp is None else str(node.isp),
            left=left,
            length=self._layout.length,
            seen=self._clock.seconds(),
            supernode=node.kind is Kind.SUPERNODE,
        )
        met: list[Candidate] = []

        def told(answer: tuple[list[Entry], object]) -> None:
            for each in answer[0]:
                kind = Kind.SUPERNODE if each.supernode else Kind.PEER
                local = each.isp is not None and each.isp == entry.isp
                met.append(Candidate(kind, each.node_id, each.host, each.port, local=local, have=each.have))

        wanted = 0 if node.complete or stopped else WANTED
        Deferred.fromCoroutine(self._tracker.meet(entry, [entry.resource], wanted, stopped=stopped)).addCallback(told)
        return met

    def _connect(self, caller: Node, name: str) -> None:
        """A call comes through: both become sources of each other, as far as they need any."""
        called = self._nodes.get(name)
        if called is None or name in caller.takers or caller.name in called.banned or name in caller.banned:
            return
        there, back = self._link(called, caller), self._link(caller, called)
        there.back, back.back = back, there
        for link in (there, back):
            link.owner.takers[link.to.name] = link
        for link in (there, back):
            inside = self._meetings[link.to.name].knows_inside(
                link.owner.name, self._addresses[link.owner.name], outgoing=link is there
            )
            link.to.joined(link, inside=inside)
            link.owner.greet(link)

    def _link(self, source: Node, node: Node) -> Link:
        route = [source.up, node.down]
        if source.isp != node.isp:
            if source.isp is not None:
                route.append(self._out_of[source.isp])
            if node.isp is not None:
                route.append(self._into[node.isp])
        peer = source.kind is Kind.PEER
        link = Link(source, node, route, self._mail, choked=peer, serves=not peer)
        self._links[link] = None
        return link

    def _leave(self, node: Node) -> None:
        node.gone = True
        self._nodes.pop(node.name, None)
        self._named(node, stopped=True)
        self._meetings.pop(node.name).stop()
        for name in list(node.sources):
            node.part(name)
        for name, link in list(node.takers.items()):
            self._hang_up(link)
            del link.to.takers[node.name]
            link.to.part(node.name)
            self._meetings[name].lost(node.name)
        node.takers.clear()
        for link in [link for link in self._links if link.to is node]:
            self._hang_up(link)

    def _hang_up(self, link: Link) -> None:
        for each in (link, link.back):
            if each is not None:
                each.close()
                self._links.pop(each, None)

    # -- time ------------------------------------------------------------------------------------------------

    def run(self, limit: float) -> Outcome:
        """Until everybody who stays has everything, or for `limit` seconds."""
        self._populate()
        clock = self._clock
        beat = choke = 0.0
        while clock.seconds() < limit + WARM_UP:
            if all(node.finished is not None or node.gone for node in self._hosts):
                break
            self._mail.deliver()
            if clock.seconds() >= beat:
                beat += TICK
                for node in list(self._nodes.values()):
                    node.feed_all()
            everybody = clock.seconds() >= choke
            choke += CHOKE if everybody else 0.0
            for node in self._nodes.values():
                if everybody or node.reconsiders:
                    node.choke()
            self._flow()
            for node in [node for node in self._quits if not node.gone]:
                if node.pieces.bit_count() >= self._quits[node] * self._layout.piece_count:
                    self._leave(node)
            clock.advance(self._step)
        return self._outcome()

    def _flow(self) -> None:
        """Let bytes flow for one step."""
        links = [link for link in self._links if link.queued]
        for link, rate in zip(links, fair_rates([link.route for link in links]), strict=True):
            for pipe in link.route:
                pipe.carried += rate * self._step
            link.flow(rate * self._step)

    def _outcome(self) -> Outcome:
        length = self._layout.length
        took = sorted(node.finished - node.started for node in self._hosts if node.finished is not None)
        stayed = [node for node in self._hosts if not node.gone or node.finished is not None]
        names = {sha256(host.name.encode()).hexdigest(): host.name for host in self._plan.hosts}
        imports = tuple(
            sum(
                count
                for node in self._hosts
                if node.isp == isp.number
                for (_, origin), count in node.by_source.items()
                if origin != isp.number
            )
            / length
            for isp in self._plan.isps
        )
        return Outcome(
            last=took[-1] if took else self._clock.seconds(),
            median=took[len(took) // 2] if took else self._clock.seconds(),
            bound=fluid_bound(
                self._plan, length, warm=self._rules.warm, finishing={names[node.name] for node in stayed}
            ),
            origin=taken(self._hosts, Kind.SERVER) / length,
            imports=imports,
            wasted=sum(node.wasted for node in self._hosts)
            / max(sum(sum(node.by_source.values()) for node in self._hosts), 1),
            unfinished=sum(node.finished is None and not node.gone for node in self._hosts),
        )
