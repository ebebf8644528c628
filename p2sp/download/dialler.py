"""Which of the nodes we heard of shall we call, and when again after a failure?"""

from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.net.ratelimit import client_key
from p2sp.sources.interfaces import Candidate

MAX_KNOWN = 500
MAX_HEARSAY = 100
"""Nodes known from other nodes alone: these may name whom they like."""

MAX_NEIGHBOURS = 100
"""Nodes of our own network that are known: anybody there may call himself many."""

MAX_CALLS = 8
FIRST_WAIT = 2.0
LONGEST_WAIT = 120.0
FORGET_AFTER = 6
"""Failed calls in a row after which a node is forgotten until somebody names it again."""

KEYS_OF_A_LIAR = 3
"""Banned nodes of one address after which the address itself is banned: keys cost nothing."""


@attrs.define(eq=False)
class _Known:
    candidate: Candidate
    failures: int = 0
    not_before: float = 0.0
    calling: bool = False
    linked: bool = False
    hearsay: bool = False

    def learn(self, candidate: Candidate) -> None:
        """Take up what is said of the node now: where it is from whoever is nearer, what it is from trackers alone."""
        before, self.hearsay = self.candidate, False
        nearer = before if before.lan and not candidate.lan and not self.failures else candidate
        self.candidate = attrs.evolve(nearer, kind=before.kind if candidate.lan else candidate.kind)


class Dialler:
    """Calls the nodes that trackers name, nearest first, up to `links` at a time, and calls again those that were
    lost.

    `call` connects; its Deferred fires once the link is usable.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        call: Callable[[Candidate], "Deferred[object]"],
        rng: Random,
        *,
        links: int = 40,
        failed: Callable[[Candidate, str], None] = lambda candidate, reason: None,
    ) -> None:
        self._clock = clock
        self._call = call
        self._rng = rng
        self._links = links
        self._failed = failed
        self._known: dict[str, _Known] = {}
        self._banned: set[str] = set()
        self._liars: Counter[str] = Counter()
        self._calls: set[Deferred[object]] = set()
        self._active = False
        self._ticker = LoopingCall(self._dial_more)
        self._ticker.clock = clock

    def start(self) -> None:
        """Begin to call."""
        self._active = True
        if not self._ticker.running:
            self._ticker.start(1.0, now=True)

    def stop(self) -> None:
        """Call nobody any more; calls under way are given up."""
        self._active = False
        if self._ticker.running:
            self._ticker.stop()
        for call in list(self._calls):
            call.cancel()

    def offer(self, candidate: Candidate) -> None:
        """A node was named.

        Where it was heard on our own network it is called there, whatever others say, unless nobody answers.
        """
        known = self._known.get(candidate.who)
        if self.is_banned(candidate.who, candidate.host) or not candidate.port:
            return
        if known is not None:
            known.learn(candidate)
        elif candidate.lan and sum(each.candidate.lan for each in self._known.values()) >= MAX_NEIGHBOURS:
            return
        elif len(self._known) < MAX_KNOWN or self._make_room():
            self._known[candidate.who] = _Known(candidate)
            self._dial_more()

    def hear_say(self, candidate: Candidate) -> None:
        """A node was named by another node: that changes nothing of what is known, and only so much is listened to."""
        if candidate.who not in self._known and sum(known.hearsay for known in self._known.values()) < MAX_HEARSAY:
            self.offer(candidate)
            if known := self._known.get(candidate.who):
                known.hearsay = True

    def find(self, who: str) -> Candidate | None:
        """What was said of a node, if one named it; nodes are told apart by `Candidate.who`."""
        known = self._known.get(who)
        return known.candidate if known is not None else None

    def linked(self, who: str) -> None:
        """A link with that node is up, whoever called."""
        if known := self._known.get(who):
            known.linked = True
            known.failures = 0

    def lost(self, who: str) -> None:
        """The link with that node is gone."""
        if known := self._known.get(who):
            known.linked = False
            self._postpone(known)

    def ban(self, who: str, host: str = "", *, foreign: bool = False) -> None:
        """Never call that node again.

        Nor its address, if it is a foreign client without a key, or when several keys of that address were banned.
        """
        self._banned.add(who)
        self._known.pop(who, None)
        if host and not _is_loopback(host):
            self._liars[client_key(host)] += KEYS_OF_A_LIAR if foreign else 1

    def is_banned(self, who: str, host: str = "") -> bool:
        """Whether a link with that node, or with anybody at that address, is unwanted."""
        return who in self._banned or self._liars.get(client_key(host), 0) >= KEYS_OF_A_LIAR

    def _make_room(self) -> bool:
        """Forget whoever failed most often, if anybody did."""
        worst = max(
            (each for each in self._known.values() if each.failures and not each.calling and not each.linked),
            key=lambda each: each.failures,
            default=None,
        )
        if worst is not None:
            del self._known[worst.candidate.who]
        return worst is not None

    def _dial_more(self) -> None:
        if not self._active:
            return
        now = self._clock.seconds()
        busy = sum(known.calling or known.linked for known in self._known.values())
        waiting = [k for k in self._known.values() if not k.calling and not k.linked and k.not_before <= now]
        self._rng.shuffle(waiting)
        waiting.sort(key=lambda known: (not known.candidate.lan, not known.candidate.local))
        for known in waiting[: max(min(self._links - busy, MAX_CALLS - len(self._calls)), 0)]:
            self._dial(known)

    def _dial(self, known: _Known) -> None:
        known.calling = True
        call = self._call(known.candidate)
        self._calls.add(call)

        def over(result: object) -> None:
            self._calls.discard(call)
            known.calling = False
            if isinstance(result, Failure):
                self._no_link(known, result)

        call.addBoth(over)

    def _no_link(self, known: _Known, failure: Failure) -> None:
        candidate = known.candidate
        self.log.info(
            "no link with {kind} {host}:{port}: {reason}",
            kind=candidate.kind.value,
            host=candidate.host,
            port=candidate.port,
            reason=failure.getErrorMessage(),
        )
        self._postpone(known)
        if self._active:
            self._failed(candidate, failure.getErrorMessage())
        if known.failures >= FORGET_AFTER:
            self._known.pop(candidate.who, None)

    def _postpone(self, known: _Known) -> None:
        known.failures += 1
        wait = min(FIRST_WAIT * 2.0 ** (known.failures - 1), LONGEST_WAIT) * self._rng.uniform(0.5, 1.0)
        known.not_before = self._clock.seconds() + wait


def _is_loopback(host: str) -> bool:
    """Whether everybody here has that address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
