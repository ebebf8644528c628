"""What do tests of the finder announce to: real trackers in memory, that can be away, silent, or made anew?"""

from collections.abc import Callable
from random import Random
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from p2sp.download.finder import TrackerFinder
from p2sp.net.api_client import ApiClient
from p2sp.net.jsonapi import Api, Call
from p2sp.net.trust import Caller, client_policy
from p2sp.sources.interfaces import Candidate
from p2sp.tracker.core import Tracker
from p2sp.tracker.memory import MemorySwarmStore
from p2sp.tracker.schema import AnnounceRequest, Counters, Event, Scope, TrackerRef
from p2sp.tracker.selection import make_policy

RESOURCE = "ab" * 32
INTERVAL = 30.0
POLICY = client_policy(None, None)


@implementer(IAgent)
class TrackerAgent:
    """The network between one node and one tracker. `down` refuses, `hangs` never answers."""

    def __init__(self, clock: Clock, *, scope: Scope = Scope.GLOBAL, others: tuple[TrackerRef, ...] = ()) -> None:
        self.down = False
        self.hangs = False
        self.heard: list[tuple[float, AnnounceRequest]] = []
        self.answer: Callable[[], Any] | None = None
        self.store = MemorySwarmStore(120.0)
        self._clock = clock
        self._caller = Caller("11" * 32)
        self.tracker = Tracker(
            scope=scope,
            epoch="one",
            interval=INTERVAL,
            store=self.store,
            policy=make_policy("biased"),
            now=clock.seconds,
            wall=clock.seconds,
            rng=Random(5),
            others=others,
        )
        api = Api(None, clock, identify=lambda request: self._caller)
        api.route("POST", "/v1/announce", self._announce, body=AnnounceRequest)
        self._agent = RequestTraversalAgent(api)

    async def _announce(self, call: Call) -> Any:
        self.heard.append((self._clock.seconds(), call.body))
        if self.answer is not None:
            return self.answer()
        return await self.tracker.announce(self._caller, "127.0.0.1", call.body)

    async def knows(self, node: str, *, port: int = 7000, supernode: bool = False) -> None:
        """Another node is in the swarm."""
        request = announce(Event.STARTED, home=False, port=port, session=node[:32])
        roles = frozenset({"supernode"} if supernode else ())
        await self.tracker.announce(Caller(node, roles), "127.0.0.2", request)

    def forget(self) -> None:
        """The tracker is started anew."""
        self.tracker.epoch += "'"

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> "Deferred[IResponse]":
        if self.down:
            return fail(ResponseNeverReceived([Failure(Refused())]))
        if self.hangs:
            return Deferred()
        answer: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        self._clock.callLater(0, self._agent.flush)
        return answer

    @property
    def events(self) -> list[Event]:
        """What was announced, in order."""
        return [request.event for _, request in self.heard]

    @property
    def times(self) -> list[float]:
        """When."""
        return [at for at, _ in self.heard]

    @property
    def homes(self) -> list[bool]:
        """Whether each announce said that this tracker is home."""
        return [request.home for _, request in self.heard]


def announce(event: Event, *, home: bool, port: int = 6881, session: str = "cd" * 16) -> AnnounceRequest:
    """An announce of somebody half-way."""
    return AnnounceRequest(
        resource=RESOURCE,
        session=session,
        event=event,
        port=port,
        length=1000,
        left=0 if event is Event.COMPLETED else 500,
        counters=Counters(server=500),
        home=home,
    )


class Hunt:
    """A finder among trackers, by URL."""

    def __init__(self, *first: str, clock: Clock | None = None, **agents: TrackerAgent) -> None:
        self.clock = clock or Clock()
        self.agents = {f"https://{name}": agent for name, agent in agents.items()}
        self.found: list[Candidate] = []
        self.news: list[str] = []
        self.finder = TrackerFinder(
            self.clock, [f"https://{name}" for name in first], self._connect, announce, Random(3)
        )
        self.finder.start(self.found.append, self.news.append)

    def _connect(self, url: str) -> ApiClient:
        return ApiClient(self.clock, url, policy=POLICY, agent=self.agents.get(url) or TrackerAgent(self.clock))

    def run(self, seconds: float, step: float = 0.1) -> None:
        """Let time pass."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)

    def stop(self) -> float:
        """Leave; how long that took. Nothing is left on the clock."""
        over: list[object] = []
        begin = self.clock.seconds()
        self.finder.stop().addBoth(over.append)
        while not over:
            self.clock.advance(0.1)
            assert self.clock.seconds() - begin < 60.0, "leaving has no end"
        assert over == [None]
        took = self.clock.seconds() - begin
        self.run(1.0)
        assert self.clock.getDelayedCalls() == []
        return took
