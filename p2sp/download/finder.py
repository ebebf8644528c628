"""Who else has this resource? Announces to trackers, which is also the report, and passes on the nodes they name."""

from collections.abc import Callable
from random import Random
from typing import Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.download.discovery import SCHEME, LocalSearch, Names, SystemNames
from p2sp.net.api_client import ApiClient
from p2sp.net.errors import NetError
from p2sp.schedule.spans import Kind
from p2sp.sources.interfaces import Candidate, ISourceFinder
from p2sp.tracker.client import TrackerClient
from p2sp.tracker.schema import AnnounceRequest, Event, Node, Scope

FIRST_RETRY = 2.0
LONGEST_RETRY = 120.0
REJOIN = (0.5, 4.0)
"""Seconds after which a tracker that lost its memory hears us again: by then it knows the others, who come as we do."""

LONGEST_INTERVAL = 3600.0
SHORTEST_INTERVAL = 1.0
GOODBYE = 3.0
"""Seconds a tracker gets to hear that we leave."""

FIRST_WORD = 1.0
"""The same for one that has not answered yet."""

ACCOUNTANTS = 2
"""Trackers that get the last counters."""

MAX_TRACKERS = 8


class Describe(Protocol):
    """Makes the announce from the state of the transfer, for this event, to a tracker that is home or not."""

    def __call__(self, event: Event, *, home: bool) -> AnnounceRequest: ...


@attrs.define(eq=False)
class _Station:
    """One tracker: what it last said, and when it is asked again."""

    url: str
    api: ApiClient
    client: TrackerClient
    scope: Scope = Scope.GLOBAL
    event: Event = Event.STARTED
    alive: bool = False
    failures: int = 0
    epoch: str = ""
    interval: float = LONGEST_INTERVAL
    timer: IDelayedCall | None = None
    running: "Deferred[None] | None" = None


@implementer(ISourceFinder)
class TrackerFinder:
    """Announces one transfer to its trackers: those it begins with and the local ones they hand out.

    Among those it begins with `srv:campus.example` stands for the local ones that this domain's DNS names, and `srv:`
    for those of the domain in which trackers see us, by the name of our address.

    The counters go to the *home* tracker alone: the local one while it answers, else the first. The last ones go to
    another, too: nothing follows that would make up for them, should the first die before it has passed them on, and
    the statistics server knows them for the same.

    A tracker that is away is tried again, later and later; one that comes back with a new epoch is announced to at
    once.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        trackers: list[str],
        connect: Callable[[str], ApiClient],
        describe: Describe,
        rng: Random,
        names: Callable[[], Names] | None = None,
    ) -> None:
        self._clock = clock
        self._connect = connect
        self._describe = describe
        self._rng = rng
        self._stations: dict[str, _Station] = {}
        self._first = list(trackers)
        self._found: Callable[[Candidate], None] = lambda candidate: None
        self._news: Callable[[str], None] = lambda news: None
        self._told: Callable[[], None] = lambda: None
        self._search = LocalSearch(names or (lambda: SystemNames(clock)), rng, lambda url: self._add(url, Scope.LOCAL))
        self._stopped = False
        self.isp: str | None = None

    def start(
        self, found: Callable[[Candidate], None], news: Callable[[str], None], told: Callable[[], None] = lambda: None
    ) -> None:
        """See ISourceFinder; `told` is called when a tracker has named whom it knows, and when none of them answers."""
        self._found, self._news, self._told = found, news, told
        for url in self._first:
            if not url.startswith(SCHEME):
                self._add(url, Scope.GLOBAL)
            elif url != SCHEME:
                self._search.domain(url.removeprefix(SCHEME))

    def announce(self, event: Event) -> None:
        """Tell every tracker of something that cannot wait for its turn."""
        for station in list(self._stations.values()):
            if station.event is not Event.STARTED:
                station.event = event
            self._soon(station, 0.0)

    def report(self) -> None:
        """Tell the home tracker what the counters are by now."""
        home = self._home()
        if home is not None and home.alive:
            self._soon(home, 0.0)

    def completed(self) -> None:
        """Tell every tracker that the resource is complete."""
        self.announce(Event.COMPLETED)

    @property
    def answered(self) -> bool:
        """Whether any tracker answers at present."""
        return any(station.alive for station in self._stations.values())

    def stop(self) -> "Deferred[None]":
        self._stopped = True
        self._search.stop()
        goodbyes = [self._goodbye(station, told) for station, told in self._farewells().items()]
        return until_said(goodbyes)

    # -- one tracker -----------------------------------------------------------------------------------------

    def _add(self, url: str, scope: Scope) -> None:
        if url in self._stations or len(self._stations) >= MAX_TRACKERS or self._stopped:
            return
        try:
            api = self._connect(url)
        except ValueError as error:
            self._news(f"tracker {url!r} cannot be used: {error}")
            return
        station = _Station(url, api, TrackerClient(api), scope)
        self._stations[url] = station
        self._soon(station, 0.0)

    def _home(self) -> _Station | None:
        stations = list(self._stations.values())
        alive = [station for station in stations if station.alive]
        local = [station for station in alive if station.scope is Scope.LOCAL]
        return next(iter(local or alive or stations), None)

    def _soon(self, station: _Station, delay: float) -> None:
        if self._stopped:
            return
        if station.timer is not None and station.timer.active():
            station.timer.cancel()
        station.timer = self._clock.callLater(delay, self._turn, station)

    def _turn(self, station: _Station) -> None:
        if station.running is not None:
            # Its own end schedules the next turn; come back shortly with what is new.
            self._soon(station, 0.5)
            return
        running = Deferred.fromCoroutine(self._announce(station))
        if not running.called:
            station.running = running
        running.addErrback(self._broke, station)

    def _broke(self, failure: Failure, station: _Station) -> None:
        self.log.failure("announcing to {url} failed", failure=failure, url=station.url)
        self._unanswered(station, "it could not be asked")

    async def _announce(self, station: _Station) -> None:
        event = station.event
        try:
            answer = await station.client.announce(self._describe(event, home=station is self._home()))
        except CancelledError:
            return
        except NetError as error:
            self._unanswered(station, str(error))
            return
        finally:
            station.running = None
        if station.failures:
            self._news(f"tracker {station.url} answers again")
        station.failures = 0
        station.alive = True
        if event is station.event:
            station.event = Event.PROGRESS
        lost_memory = bool(station.epoch) and station.epoch != answer.epoch and event is not Event.STARTED
        station.epoch = answer.epoch
        if answer.isp is not None:
            self.isp = answer.isp
        if SCHEME in self._first:
            self._search.address(answer.address)
        for tracker in answer.trackers:
            self._add(tracker.url, tracker.scope)
        for node in answer.nodes:
            self._found(_candidate(node))
        self._told()
        if lost_memory:
            station.event = Event.STARTED
        station.interval = min(max(answer.interval, SHORTEST_INTERVAL), LONGEST_INTERVAL)
        if station.timer is None or not station.timer.active():
            wait = self._rng.uniform(*REJOIN) if lost_memory else station.interval * self._rng.uniform(0.9, 1.0)
            self._soon(station, min(wait, station.interval))

    def _unanswered(self, station: _Station, reason: str) -> None:
        station.failures += 1
        station.alive = False
        if station.failures == 1:
            self._news(f"tracker {station.url} does not answer: {reason}")
        if all(each.failures for each in self._stations.values()):
            self._told()
        # Never longer than the tracker's own interval, so that a swarm is whole again one interval after its return.
        wait = min(FIRST_RETRY * 2.0 ** min(station.failures - 1, 16), LONGEST_RETRY, station.interval)
        self._soon(station, wait * self._rng.uniform(0.5, 1.0))

    def _farewells(self) -> "dict[_Station, bool | None]":
        """Whether each tracker gets the last counters along with the goodbye; None for no goodbye at all."""
        stations = list(self._stations.values())
        alive = [station for station in stations if station.alive]
        # A short download may be over before the first answer, or before a tracker that was away is asked again. Then
        # all are told: who is still away says so at once, and nobody else would know what came.
        hearing = alive or stations
        home = self._home()
        ranked = sorted(hearing, key=lambda station: station is not home)
        return {each: each in ranked[:ACCOUNTANTS] if each in hearing else None for each in stations}

    def _goodbye(self, station: _Station, told: bool | None) -> "Deferred[None]":
        if station.timer is not None and station.timer.active():
            station.timer.cancel()
        if station.running is not None:
            station.running.cancel()
        return Deferred.fromCoroutine(self._leave(station, told))

    async def _leave(self, station: _Station, told: bool | None) -> None:
        if told is not None:
            request = self._describe(Event.STOPPED, home=told)
            farewell = Deferred.fromCoroutine(station.client.announce(request))
            farewell.addTimeout(GOODBYE if station.alive else FIRST_WORD, self._clock)
            try:
                await farewell
            except Exception as error:  # noqa: BLE001 - leaving must not fail
                self.log.debug("tracker {url} did not hear the goodbye: {error}", url=station.url, error=error)
        await station.api.close()


def until_said(goodbyes: "list[Deferred[None]]") -> "Deferred[None]":
    """Fires when all have ended, however; to cancel it is to wait no longer, which is no error."""

    def hurry(done: "Deferred[None]") -> None:
        for each in goodbyes:
            each.cancel()
        if not done.called:
            done.callback(None)

    done: Deferred[None] = Deferred(hurry)
    all_said = DeferredList(goodbyes, consumeErrors=True)
    all_said.addBoth(lambda _: None if done.called else done.callback(None))
    return done


def _candidate(node: Node) -> Candidate:
    kind = Kind.SUPERNODE if node.supernode else Kind.PEER
    return Candidate(kind, node.node_id, node.host, node.port, local=node.local, lan=node.lan, have=node.have)
