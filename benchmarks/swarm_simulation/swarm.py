"""How does a whole swarm go on in virtual time? Arrivals, the tracker's choice, transfers, departures."""

from hashlib import sha256
from random import Random

import attrs
from twisted.internet.defer import Deferred

from benchmarks.isp_lab.bound import fluid_bound
from benchmarks.isp_lab.plan import Plan
from benchmarks.swarm_simulation.flows import Pipe, Route, fair_rates
from benchmarks.swarm_simulation.node import RESOURCE, Link, Node, taken
from p2sp.resource.layout import Layout
from p2sp.schedule.spans import Kind, Mode
from p2sp.tracker.core import Tracker
from p2sp.tracker.entry import Entry, swarm_key
from p2sp.tracker.memory import MemorySwarmStore
from p2sp.tracker.schema import Scope
from p2sp.tracker.selection import make_policy

ORIGIN = "origin"
TICK = 0.5
"""Seconds between two looks at everybody who has nothing to do, as the product does."""

CHOKE = 2.0
INTERVAL = 60.0


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
        self.now = 0.0
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
            lambda: self.now,
            lambda: self.now,
            self._rng,
        )
        self._into = {isp.number: Pipe(isp.transit / 8) for isp in plan.isps}
        self._out_of = {isp.number: Pipe(isp.transit / 8) for isp in plan.isps}
        self._origin = self._node(ORIGIN, Kind.SERVER, None, up=plan.origin, down=1.0, complete=True)
        self._nodes: dict[str, Node] = {}
        self._hosts: list[Node] = []
        self._addresses: dict[str, str] = {}
        self._active: dict[Link, None] = {}
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
            up=up / 8,
            down=down / 8,
            mode=self._rules.mode,
            once=self._rules.once,
            complete=complete,
            liar=liar,
            rng=Random(self._rng.random()),
        )

    def _populate(self) -> list[tuple[float, Node]]:
        rules, rng = self._rules, self._rng
        coming = []
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
            self._addresses[node.name] = host.address
            coming.append((0.0 if host in liars else rng.uniform(0.0, rules.arrive), node))
            if host not in liars:
                self._hosts.append(node)
            if host in leavers:
                self._quits[node] = rng.uniform(0.3, 0.9) if leavers.index(host) % 2 else 1.0
        return sorted(coming, key=lambda each: each[0])

    def _enter(self, node: Node, address: str) -> None:
        self._addresses[node.name] = address
        self._nodes[node.name] = node
        node.started = self.now
        if not node.complete:
            self._open(node, self._origin)
        self._announce(node)

    def _announce(self, node: Node) -> None:
        """Join the swarm as the tracker keeps it, and get to know those it names."""
        wanted = 0 if node.complete else 50
        for name in self._named(node, wanted):
            other = self._nodes.get(name)
            if other is None or len(node.sources) > self._rules.links or other.name in node.banned:
                continue
            if other.name not in node.sources:
                self._open(node, other)
            if other.kind is Kind.PEER and node.name not in other.sources and not other.complete:
                self._open(other, node)

    def _named(self, node: Node, wanted: int, *, stopped: bool = False) -> list[str]:
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
            seen=self.now,
            supernode=node.kind is Kind.SUPERNODE,
        )
        met: list[str] = []

        def told(answer: tuple[list[Entry], object]) -> None:
            met.extend(each.node_id for each in answer[0])

        Deferred.fromCoroutine(self._tracker.meet(entry, [entry.resource], wanted, stopped=stopped)).addCallback(told)
        return met

    def _open(self, node: Node, source: Node) -> None:
        link = node.meet(source, self._route(source, node), self.now)
        self._feed(link)

    def _route(self, source: Node, node: Node) -> Route:
        route = [source.up, node.down]
        if source.isp != node.isp:
            if source.isp is not None:
                route.append(self._out_of[source.isp])
            if node.isp is not None:
                route.append(self._into[node.isp])
        return route

    def _leave(self, node: Node) -> None:
        node.gone = True
        self._nodes.pop(node.name, None)
        self._named(node, 0, stopped=True)
        for link in [*node.sources.values(), *node.takers.values()]:
            self._active.pop(link, None)
            link.to.part(link.owner, self.now)
            if link.to is not node:
                self._feed_all(link.to)

    # -- time ------------------------------------------------------------------------------------------------

    def run(self, limit: float) -> Outcome:
        """Until everybody who stays has everything, or for `limit` seconds."""
        coming = self._populate()
        beat = choke = again = 0.0
        while self.now < limit:
            while coming and coming[0][0] <= self.now:
                node = coming.pop(0)[1]
                self._enter(node, self._addresses[node.name])
            if not coming and all(node.finished is not None or node.gone for node in self._hosts):
                break
            if self.now >= choke:
                choke += CHOKE if self.now > CHOKE else TICK
                self._choke()
            if self.now >= beat:
                beat += TICK
                for node in list(self._nodes.values()):
                    self._feed_all(node)
            if self.now >= again:
                again += INTERVAL / 4
                for node in [node for node in self._nodes.values() if not node.complete]:
                    if len(node.sources) < self._rules.links // 2:
                        self._announce(node)
            self._flow()
            self.now += self._step
        return self._outcome()

    def _choke(self) -> None:
        for node in list(self._nodes.values()):
            for link in node.choke(self.now):
                self._feed(link)

    def _feed(self, link: Link) -> None:
        link.to.feed(link, self.now)
        if link.jobs:
            self._active[link] = None

    def _feed_all(self, node: Node) -> None:
        if node.complete or node.gone:
            return
        for link in sorted(node.sources.values(), key=_cost):
            self._feed(link)

    def _flow(self) -> None:
        """Let bytes flow for one step, tell what came of it, and give work to who has none."""
        links = [link for link in self._active if link.jobs]
        self._active = dict.fromkeys(links)
        ended: list[Link] = []
        for link, rate in zip(links, fair_rates([link.route for link in links]), strict=True):
            for pipe in link.route:
                pipe.carried += rate * self._step
            if link.jobs and link.to.take(link, rate * self._step, self.now):
                ended.append(link)
        for node in [node for node in dict.fromkeys(link.to for link in links) if node.pieces != node.told]:
            self._tell(node)
        for link in ended:
            if link.to.sources.get(link.owner.name) is link:
                self._feed(link)

    def _tell(self, node: Node) -> None:
        """Everybody linked with a node hears what it has."""
        node.told = node.pieces
        for link in list(node.takers.values()):
            if not link.to.complete:
                link.to.scheduler.source_has(node.name, node.told, self.now)
                self._feed(link)
        if node.complete and node.finished is None:
            node.finished = self.now
            for link in list(node.sources.values()):
                self._active.pop(link, None)
                node.part(link.owner, self.now)
        share = node.pieces.bit_count() / self._layout.piece_count
        if share >= self._quits.get(node, 2.0):
            self._leave(node)

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
            last=took[-1] if took else self.now,
            median=took[len(took) // 2] if took else self.now,
            bound=fluid_bound(
                self._plan, length, warm=self._rules.warm, finishing={names[node.name] for node in stayed}
            ),
            origin=taken(self._hosts, Kind.SERVER) / length,
            imports=imports,
            wasted=sum(node.wasted for node in self._hosts)
            / max(sum(sum(node.by_source.values()) for node in self._hosts), 1),
            unfinished=sum(node.finished is None and not node.gone for node in self._hosts),
        )


def _cost(link: Link) -> int:
    """What its bytes cost compared with others' (see `p2sp.download.member`)."""
    if link.owner.kind is Kind.SERVER:
        return 4
    if link.owner.kind is Kind.SUPERNODE:
        return 1
    return 2 if link.owner.isp == link.to.isp else 3
