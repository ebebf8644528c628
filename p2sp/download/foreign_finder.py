"""Which clients that are not of our network have this resource? Asks the trackers that came with it."""

from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.download.finder import until_said
from p2sp.download.foreign import Announce, AnnounceFailed, Event, Heard, Hints
from p2sp.schedule.spans import Kind
from p2sp.sources.interfaces import Candidate, ISourceFinder

SHORTEST_INTERVAL = 30.0
LONGEST_INTERVAL = 7200.0
FIRST_RETRY = 15.0
LONGEST_RETRY = 1800.0
DEADLINE = 40.0
"""Seconds that one tracker gets for one answer."""

GOODBYE = 3.0
"""Seconds a tracker gets to hear that we leave."""

MAX_TRACKERS = 20
"""Trackers asked for one swarm, over all tiers."""

Ask = Callable[[str, Announce, bytes], Coroutine[Deferred[Any], Any, Heard]]
"""Announces at a URL, with the id that this tracker gave us. Raises AnnounceFailed."""

Describe = Callable[[bytes, Event], Announce]
"""What to say of the swarm of this info-hash."""


@attrs.define(eq=False)
class _Hunt:
    """One swarm, by its info-hash: its own tiers, whose order changes as trackers answer (BEP 12)."""

    info_hash: bytes
    tiers: list[list[str]]
    event: Event = Event.STARTED
    at: str = ""
    """Who answered last; it is told when we leave."""

    ids: dict[str, bytes] = attrs.field(factory=dict)
    failures: int = 0
    timer: IDelayedCall | None = None
    running: "Deferred[float | None] | None" = None


@implementer(ISourceFinder)
class ForeignFinder:
    """Announces a resource in its swarms, and passes on the addresses it hears as foreign clients.

    In each swarm one tracker at a time is asked: of a tier the one that answered before, then the others in a random
    order, then the next tier (BEP 12). A hybrid has two swarms (BEP 52).
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, hints: Hints, hashes: Sequence[bytes], ask: Ask, describe: Describe, rng: Random
    ) -> None:
        self._clock = clock
        self._peers = hints.peers
        self._ask = ask
        self._describe = describe
        self._rng = rng
        self._found: Callable[[Candidate], None] = lambda candidate: None
        self._news: Callable[[str], None] = lambda news: None
        self._told: set[str] = set()
        self._stopped = False
        tiers: list[list[str]] = []
        room = MAX_TRACKERS
        for tier in hints.tiers:
            if taken := list(tier[:room]):
                tiers.append(taken)
                room -= len(taken)
        self._hunts = [_Hunt(each, [rng.sample(tier, len(tier)) for tier in tiers]) for each in hashes if tiers]

    def start(self, found: Callable[[Candidate], None], news: Callable[[str], None]) -> None:
        self._found, self._news = found, news
        for host, port in self._peers:
            self._named(host, port)
        for hunt in self._hunts:
            self._soon(hunt, 0.0)

    @property
    def answered(self) -> bool:
        """Whether any tracker has answered."""
        return any(hunt.at for hunt in self._hunts)

    def completed(self) -> None:
        """Tell the trackers that the resource is complete, as soon as they allow."""
        for hunt in self._hunts:
            # Who was never heard is told with the first word that nothing is lacking.
            if hunt.at or hunt.running is not None:
                hunt.event = Event.COMPLETED
                self._soon(hunt, 0.0)

    def stop(self) -> "Deferred[None]":
        self._stopped = True
        return until_said([Deferred.fromCoroutine(self._leave(hunt)) for hunt in self._hunts])

    # -- one swarm -------------------------------------------------------------------------------------------

    def _named(self, host: str, port: int) -> None:
        self._found(Candidate(Kind.PEER, "", host, port))

    def _soon(self, hunt: _Hunt, delay: float) -> None:
        if self._stopped or hunt.running is not None:
            return
        if hunt.timer is not None and hunt.timer.active():
            hunt.timer.cancel()
        hunt.timer = self._clock.callLater(delay, self._turn, hunt)

    def _turn(self, hunt: _Hunt) -> None:
        running = Deferred.fromCoroutine(self._round(hunt))
        hunt.running = None if running.called else running

        def over(wait: float | None) -> None:
            hunt.running = None
            if wait is not None:
                self._soon(hunt, wait)

        running.addErrback(self._broke).addCallback(over)

    def _broke(self, failure: Failure) -> float:
        self.log.failure("announcing failed", failure=failure)
        return LONGEST_RETRY

    async def _round(self, hunt: _Hunt) -> float | None:
        """Ask until one answers; seconds until the next round, None when we leave."""
        event = hunt.event
        again: list[float] = []
        for tier in hunt.tiers:
            for url in list(tier):
                if self._stopped:
                    return None
                try:
                    heard = await self._announce(hunt, url, event)
                except CancelledError:
                    return None
                except AnnounceFailed as error:
                    again.append(error.again or 0.0)
                    self._tell(url, f"tracker {url} does not help: {error}")
                    continue
                tier.remove(url)
                tier.insert(0, url)
                return self._answered(hunt, url, event, heard)
        hunt.failures += 1
        wait = max(FIRST_RETRY * 2.0 ** min(hunt.failures - 1, 10), min(again, default=0.0))
        return min(wait, LONGEST_RETRY) * self._rng.uniform(0.8, 1.0)

    def _announce(self, hunt: _Hunt, url: str, event: Event) -> "Deferred[Heard]":
        told = self._describe(hunt.info_hash, event)
        asked = Deferred.fromCoroutine(self._ask(url, told, hunt.ids.get(url, b"")))

        def late(result: object, seconds: float) -> Heard:
            raise AnnounceFailed(f"no answer within {seconds:g} s")

        return asked.addTimeout(DEADLINE, self._clock, onTimeoutCancel=late)

    def _answered(self, hunt: _Hunt, url: str, event: Event, heard: Heard) -> float:
        hunt.failures = 0
        hunt.at = url
        if heard.tracker_id:
            hunt.ids[url] = heard.tracker_id
        if heard.warning:
            self._tell(f"{url} {heard.warning}", f"tracker {url} warns: {heard.warning}")
        for host, port in heard.peers:
            self._named(host, port)
        if event is not hunt.event:
            # What happened meanwhile cannot wait for the next turn.
            return 0.0
        hunt.event = Event.PROGRESS
        return min(max(heard.interval, heard.shortest, SHORTEST_INTERVAL), LONGEST_INTERVAL)

    def _tell(self, key: str, news: str) -> None:
        """Say it once."""
        if key not in self._told:
            self._told.add(key)
            self._news(news)

    async def _leave(self, hunt: _Hunt) -> None:
        if hunt.timer is not None and hunt.timer.active():
            hunt.timer.cancel()
        if hunt.running is not None:
            hunt.running.cancel()
        if not hunt.at:
            return
        farewell = self._announce(hunt, hunt.at, Event.STOPPED)
        farewell.addTimeout(GOODBYE, self._clock)
        try:
            await farewell
        except Exception as error:  # noqa: BLE001 - leaving must not fail
            self.log.debug("tracker {url} did not hear the goodbye: {error}", url=hunt.at, error=error)
