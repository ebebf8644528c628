"""How does a node of a simulated swarm get to know others? As the product does: announces, calls, and being called."""

from collections.abc import Callable, Sequence
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from benchmarks.swarm_simulation.link import Friction
from benchmarks.swarm_simulation.node import Node
from p2sp.download.dialler import Dialler
from p2sp.download.whereabouts import Whereabouts
from p2sp.sources.interfaces import Candidate

INTERVAL = 60.0
"""Seconds between two announces."""


@attrs.define(eq=False)
class Meeting:
    """One node's acquaintances: it announces, calls whom it is named, and finds out where those are who called it.

    `named` are the nodes the tracker names now, `connect` brings a link about unless there is one.
    """

    node: Node
    host: str
    clock: Clock
    rng: Random
    friction: Friction
    links: int
    named: Callable[[Node], Sequence[Candidate]]
    connect: Callable[[Node, str], None]
    dialler: Dialler = attrs.field(init=False)
    whereabouts: Whereabouts = attrs.field(init=False)
    _hosts: dict[str, str] = attrs.field(factory=dict)
    _over: bool = False

    def __attrs_post_init__(self) -> None:
        self.dialler = Dialler(self.clock, self._call, self.rng, links=self.links)
        self.whereabouts = Whereabouts(self.clock, self.rng, self._announce)

    def begin(self) -> None:
        """Announce for the first time, and call whoever is named as long as there is something to get."""
        if not self.node.complete:
            self.dialler.start()
            self.node.listen()
        self._announce_regularly()

    def stop(self) -> None:
        """Call nobody any more."""
        self._over = True
        self.dialler.stop()
        self.whereabouts.stop()

    def knows_inside(self, other: str, host: str, *, outgoing: bool) -> bool:
        """Whether a node that a link came up with is known to be in our ISP."""
        self._hosts[other] = host
        self.dialler.linked(other)
        candidate = self.dialler.find(other)
        if candidate is not None and candidate.local:
            return True
        if not outgoing:
            self.whereabouts.met(host)
        return self.whereabouts.is_local(host)

    def lost(self, other: str) -> None:
        """A link is gone."""
        self._hosts.pop(other, None)
        self.dialler.lost(other)

    def _announce_regularly(self) -> None:
        if not self._over:
            self._announce()
            self.clock.callLater(INTERVAL * self.rng.uniform(0.9, 1.0), self._announce_regularly)

    def _announce(self) -> None:
        there = self.rng.uniform(*self.friction.announce) / 2
        self.clock.callLater(there, self._at_tracker)

    def _at_tracker(self) -> None:
        if not self._over:
            answer = self.named(self.node)
            self.clock.callLater(self.rng.uniform(*self.friction.announce) / 2, self._told, answer)

    def _told(self, answer: Sequence[Candidate]) -> None:
        if self._over:
            return
        for candidate in answer:
            self.dialler.offer(candidate)
            self.whereabouts.told(candidate.host, local=candidate.local)
        self.node.told(answer)
        for other, host in self._hosts.items():
            candidate_of = self.dialler.find(other)
            if (candidate_of is not None and candidate_of.local) or self.whereabouts.is_local(host):
                self.node.place(other, inside=True)

    def _call(self, candidate: Candidate) -> "Deferred[object]":
        call: Deferred[object] = Deferred()

        def up() -> None:
            if not call.called:
                if not self._over:
                    self.connect(self.node, candidate.node_id)
                call.callback(None)

        self.clock.callLater(self.rng.uniform(*self.friction.dial), up)
        return call
