"""Is the sum at the statistics server what clients received, to the byte, whatever happens to reports on their way?"""

from random import Random
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.iweb import IResponse

from p2sp.download.finder import TrackerFinder
from p2sp.net.api_client import ApiClient
from p2sp.net.errors import BadAnswer, Unreachable
from p2sp.net.jsonapi import ApiError, Call
from p2sp.statistics.rollup import Account, AccountKey, gather
from p2sp.statistics.schema import Sample, SampleAnswer
from p2sp.tracker.accounting import Accounting
from p2sp.tracker.schema import AnnounceRequest, Counters, Event, Scope
from tests.download.trackers import POLICY, RESOURCE, TrackerAgent

URLS = {"home": "https://home", "other": "https://other"}
REPORT = 5.0
STATISTICS = "https://statistics/v1/samples"


class Statistics:
    """A statistics server: it may be away, and its answers may get lost after it took what was sent."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._accounts: dict[AccountKey, Account] = {}
        self.away = False
        self.loses_answers = 0.0
        self.server = self.supernode = self.peer_local = self.peer_remote = 0

    async def send(self, samples: list[Sample]) -> SampleAnswer:
        if self.away:
            raise Unreachable(STATISTICS, "connection refused")
        now = self._clock.seconds()
        gathered = gather(samples, self._accounts, now=now, seconds=60.0, max_age=3600.0)
        self._accounts.update(gathered.accounts)
        for amounts in gathered.amounts.values():
            self.server += amounts.server
            self.supernode += amounts.supernode
            self.peer_local += amounts.peer_local
            self.peer_remote += amounts.peer_remote
        if self._rng.random() < self.loses_answers:
            raise BadAnswer(STATISTICS, "cut off")
        return SampleAnswer(gathered.accepted, gathered.refused)


class Tracker(TrackerAgent):
    """A tracker that reports. While `faulty`, announces get lost, their answers do, and copies come again, late."""

    def __init__(self, clock: Clock, rng: Random, statistics: Statistics, scope: Scope) -> None:
        super().__init__(clock, scope=scope)
        self.faulty = False
        self._rng = rng
        self._statistics = statistics
        self.start()

    def start(self) -> None:
        """A new process, which remembers nothing."""
        self.forget()
        self.accounting = Accounting(
            self._statistics.send, interval=REPORT, now=self._clock.seconds, rng=self._rng, wall=self._clock.seconds
        )
        self.tracker.accounting = self.accounting

    def request(self, *args: Any, **kwargs: Any) -> "Deferred[IResponse]":
        if self.faulty and self._rng.random() < 0.25:
            return fail(ResponseNeverReceived([Failure(ConnectionLost())]))
        return super().request(*args, **kwargs)

    async def _announce(self, call: Call) -> Any:
        answer = await super()._announce(call)
        if self.faulty:
            for _ in range(self._rng.choice((0, 0, 1, 2))):
                self._clock.callLater(self._rng.uniform(0.0, 90.0), self._again, call.body)
            if self._rng.random() < 0.25:
                raise ApiError(503, "busy", "the answer is lost")
        return answer

    def _again(self, request: AnnounceRequest) -> None:
        """A copy that was on its way for long, and behind others."""
        Deferred.fromCoroutine(self.tracker.announce(self._caller, "127.0.0.1", request))


@attrs.define
class Client:
    """One download session, which receives by and by."""

    session: str
    finder: TrackerFinder = attrs.field(init=False)
    counters: Counters = attrs.field(factory=Counters)

    def describe(self, event: Event, *, home: bool) -> AnnounceRequest:
        return AnnounceRequest(
            RESOURCE, self.session, event, port=7000, length=1 << 40, left=1, counters=self.counters, home=home
        )

    def receive(self, rng: Random) -> None:
        old = self.counters
        self.counters = Counters(
            old.server + rng.randrange(1000),
            old.supernode + rng.randrange(1000),
            old.peer_local + rng.randrange(1000),
            old.peer_remote + rng.randrange(1000),
        )


class World:
    """Clients that come and go, two trackers they report to, and the statistics behind these."""

    def __init__(self, seed: int) -> None:
        self.clock = Clock()
        self.rng = Random(seed)
        self.statistics = Statistics(self.clock, self.rng)
        scopes = {"home": Scope.LOCAL, "other": Scope.GLOBAL}
        self.trackers = {name: Tracker(self.clock, self.rng, self.statistics, scope) for name, scope in scopes.items()}
        self._next_report = REPORT
        self.here: list[Client] = []
        self.gone: list[Client] = []

    def come(self) -> Client:
        """A client begins: also one that begins again, as it does with a session of its own."""
        client = Client(f"{self.rng.getrandbits(64):016x}")
        client.finder = TrackerFinder(self.clock, list(URLS.values()), self._connect, client.describe, self.rng)
        client.finder.start(lambda candidate: None, lambda news: None)
        self.here.append(client)
        return client

    def _connect(self, url: str) -> ApiClient:
        return ApiClient(self.clock, url, policy=POLICY, agent=self.trackers[url.removeprefix("https://")])

    def go(self, client: Client) -> None:
        """A client ends in good order."""
        self.here.remove(client)
        self.gone.append(client)
        client.finder.stop()

    def run(self, seconds: float) -> None:
        """Let time pass; everybody receives, trackers report."""
        for step in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
            if step % 10 == 0:
                for client in self.here:
                    client.receive(self.rng)
            if self.clock.seconds() >= self._next_report:
                self._next_report += REPORT
                for tracker in self.trackers.values():
                    Deferred.fromCoroutine(tracker.accounting.flush())

    def settle(self) -> None:
        """Everybody goes, all faults end, and the last word is said."""
        self.statistics.away, self.statistics.loses_answers = False, 0.0
        for tracker in self.trackers.values():
            tracker.faulty = tracker.down = False
        for client in list(self.here):
            self.go(client)
        self.run(120.0)

    def check(self) -> None:
        """The sums are what was received, kind by kind."""
        clients = [*self.here, *self.gone]
        assert sum(client.counters.server for client in clients) > 0
        for kind in ("server", "supernode", "peer_local", "peer_remote"):
            assert getattr(self.statistics, kind) == sum(getattr(each.counters, kind) for each in clients), kind


@pytest.mark.parametrize("seed", range(4))
def test_announces_that_are_lost_repeated_and_late(seed: int) -> None:
    world = World(seed)
    world.trackers["home"].faulty = True
    for _ in range(12):
        world.come()
        world.run(world.rng.uniform(2.0, 30.0))
        if world.rng.random() < 0.5:
            world.go(world.rng.choice(world.here))
    world.settle()
    world.check()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("victim", ["home", "other"])
def test_a_tracker_that_dies_again_and_again_with_all_it_has_not_passed_on(victim: str, seed: int) -> None:
    world = World(seed)
    for _ in range(8):
        world.come()
        world.run(world.rng.uniform(2.0, 20.0))
        if world.rng.random() < 0.6:
            # The moment that matters: it has heard the last of a client, and nobody else will say it again.
            world.go(world.rng.choice(world.here))
            world.run(0.5)
        world.trackers[victim].down = True
        world.trackers[victim].start()
        world.run(world.rng.uniform(1.0, 15.0))
        world.trackers[victim].down = False
    world.settle()
    world.check()


@pytest.mark.parametrize("seed", range(4))
def test_a_statistics_server_that_is_away_and_whose_answers_get_lost(seed: int) -> None:
    world = World(seed)
    world.statistics.loses_answers = 0.5
    for turn in range(8):
        world.come()
        world.statistics.away = turn % 2 == 1
        world.run(world.rng.uniform(5.0, 40.0))
        world.go(world.rng.choice(world.here))
    world.settle()
    world.check()


def test_a_client_that_begins_again_is_an_account_of_its_own() -> None:
    world = World(1)
    for _ in range(5):
        again = world.come()
        world.run(7.0)
        world.go(again)
    world.settle()
    world.check()


def test_a_client_that_is_killed_takes_along_what_it_had_not_told() -> None:
    world = World(2)
    killed = world.come()
    world.run(100.0)
    told = killed.counters
    killed.finder.announce(Event.PROGRESS)
    world.run(1.0)
    # It is not heard of again, and what it received meanwhile is all that is lacking.
    world.trackers["home"].down = world.trackers["other"].down = True
    world.go(killed)
    world.run(10.0)
    world.trackers["home"].down = world.trackers["other"].down = False
    again = world.come()
    world.run(5.0)
    world.go(again)
    world.settle()
    assert told.server <= world.statistics.server - again.counters.server <= killed.counters.server
