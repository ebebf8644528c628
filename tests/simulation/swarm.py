"""How do many downloads feed each other in virtual time?"""

from collections.abc import Callable
from random import Random

from twisted.internet.task import Clock
from zope.interface import implementer

from p2sp.download.conductor import Conductor
from p2sp.download.report import Report
from p2sp.schedule.spans import Kind, Mode
from p2sp.sources.interfaces import ISource
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.simulation.harness import run_until
from tests.simulation.sources import Script, ScriptedSource
from tests.storage.kit import Sample, now


class Node:
    """A node: a store, an uplink that its links share, and, unless it has everything, a download."""

    def __init__(self, clock: Clock, sample: Sample, name: str, kind: Kind, upload: float, rng: Random) -> None:
        self.clock = clock
        self.sample = sample
        self.name = name
        self.kind = kind
        self.upload = upload
        self.store = MemoryStore(sample.content, InlinePool())
        self.links: list[Link] = []
        self.report = Report(0.0)
        self.rng = rng
        self.finished: float | None = None
        self.conductor: Conductor | None = None

    def fill(self) -> None:
        """It has everything from the start."""
        for piece in range(self.sample.content.layout.piece_count):
            now(self.store.write(self.sample.start(piece), [self.sample.piece(piece)], "disk"))

    def download(self, mode: Mode, over: Callable[["Node"], None]) -> Conductor:
        """Begin to fetch what is missing."""
        conductor = Conductor(
            self.clock, self.store, self.report, rng=self.rng, mode=mode, expecting=lambda: True, patience=600.0
        )
        self.conductor = conductor

        def ended(result: object) -> None:
            assert result is None, result
            self.finished = self.clock.seconds()
            over(self)

        conductor.run().addBoth(ended)
        return conductor

    @property
    def sent(self) -> int:
        """Bytes it gave to others."""
        return sum(link.sent for link in self.links)


@implementer(ISource)
class Link(ScriptedSource):
    """What one node is to another: it has the pieces verified there, and a share of the uplink."""

    def __init__(self, owner: Node, to: Node) -> None:
        super().__init__(owner.clock, owner.sample, f"{owner.name}>{to.name}", owner.kind, Script(rate=0.0, slots=2))
        self._owner = owner
        self._unwatch = owner.store.on_verified(lambda _: self._changed())
        owner.links.append(self)

    @property
    def rate(self) -> float:
        return self._owner.upload / sum(link.busy for link in self._owner.links)

    def pieces(self) -> int:
        return 0 if self.closed else sum(1 << piece for piece, good in enumerate(self._owner.store.verified()) if good)

    def close(self) -> None:
        self._unwatch()
        super().close()


class Swarm:
    """`count` nodes that begin at once, each linked both ways with some others, and one server that all know."""

    def __init__(
        self, sample: Sample, count: int, *, upload: float, server: float, neighbours: int, seed: int, mode: Mode
    ) -> None:
        self.clock = Clock()
        rng = Random(seed)
        self.server = Node(self.clock, sample, "server", Kind.SERVER, server, rng)
        self.server.fill()
        self.nodes = [Node(self.clock, sample, f"n{i:02}", Kind.PEER, upload, rng) for i in range(count)]
        self._mode = mode
        pairs = set()
        for i in range(count):
            for j in rng.sample([j for j in range(count) if j != i], neighbours):
                pairs.add((min(i, j), max(i, j)))
        self._pairs = sorted(pairs)

    def run(self, limit: float) -> float:
        """Until everybody has everything; the seconds it took."""
        left = set(self.nodes)
        over: list[bool] = []

        def one_over(node: Node) -> None:
            left.discard(node)
            if not left:
                over.append(True)

        conductors = [node.download(self._mode, one_over) for node in self.nodes]
        for i, j in self._pairs:
            conductors[i].add(Link(self.nodes[j], self.nodes[i]))
            conductors[j].add(Link(self.nodes[i], self.nodes[j]))
        for node, conductor in zip(self.nodes, conductors, strict=True):
            conductor.add(Link(self.server, node))
        run_until(self.clock, over, limit)
        return self.clock.seconds()
