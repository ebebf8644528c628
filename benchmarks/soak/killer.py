"""Who dies next, how, and for how long? Every role in turn, by SIGTERM and SIGKILL alternately."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from benchmarks.soak.customers import Customer
from benchmarks.soak.site import Site

BREATH: Final = 10.0
"""Seconds by which the next one may be late; on a busy machine starting takes its time."""

TRIES: Final = 3
CLIENT: Final = "a client"
DEAD_FOR: Final = (1.0, 8.0)
"""Seconds until a dead role is started again."""


class Killer:
    """Kills one role every so many seconds, in rounds of random order, and starts it again."""

    def __init__(
        self,
        site: Site,
        customers: Sequence[Customer],
        every: float,
        rng: Random,
        say: Callable[[str], None],
        trouble: Callable[[str], None],
    ) -> None:
        self._site = site
        self._customers = customers
        self._every = every
        self._rng = rng
        self._say = say
        self._trouble = trouble
        self.kills: Counter[str] = Counter()

    def live(self, over: threading.Event) -> None:
        """Kill until it is over; then every role is up."""
        turn: list[str] = []
        next_at = time.monotonic() + self._every
        while not over.wait(max(next_at - time.monotonic(), 0.0)):
            next_at = max(next_at, time.monotonic() - BREATH) + self._every
            if not turn:
                turn = [*self._site.roles, CLIENT]
                self._rng.shuffle(turn)
            name = turn.pop()
            # Each role dies in both ways, whatever their number is.
            politely = (self.kills[name] + [*self._site.roles, CLIENT].index(name)) % 2 == 0
            if name != CLIENT:
                self.kills[name] += 1
                self._kill(name, over, politely=politely)
            elif self._strike(politely=politely):
                self.kills[name] += 1

    def _strike(self, *, politely: bool) -> bool:
        """Kill one of the clients, who starts again by himself."""
        number = signal.SIGTERM if politely else signal.SIGKILL
        for customer in self._rng.sample(self._customers, len(self._customers)):
            if customer.strike(number):
                self._say(f"{number.name} for a client")
                return True
        return False

    def _kill(self, name: str, over: threading.Event, *, politely: bool) -> None:
        wait = self._rng.uniform(*DEAD_FOR)
        self._say(f"{'SIGTERM' if politely else 'SIGKILL'} for {name}, which is back in {wait:.1f} s")
        try:
            self._site.end(name, politely=politely)
        except AssertionError as error:
            self._trouble(f"{name} did not end well: {error}")
        over.wait(wait)
        for _ in range(TRIES):
            try:
                self._site.begin(name)
                return
            except AssertionError as error:
                self._trouble(f"{name} did not come back: {error}")
