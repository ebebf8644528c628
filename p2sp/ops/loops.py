"""How does a daemon do something again and again, whatever happens?"""

import random
from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class Periodic:
    """One job done every `interval` seconds, give or take `jitter` of it, never twice at a time.

    A job that fails is logged and done again next time; the wait counts from the end of the job.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        interval: float,
        fn: Callable[[], Awaitable[object] | object],
        name: str,
        *,
        jitter: float = 0.1,
        rng: random.Random | None = None,
        at_once: bool = False,
    ) -> None:
        if not interval > 0:
            raise ValueError(f"the interval of {name!r} must be positive, not {interval}")
        if not 0 <= jitter < 1:
            raise ValueError(f"the jitter of {name!r} must be within 0 and 1, not {jitter}")
        self.name = name
        self.interval = interval
        self._clock = clock
        self._fn = fn
        self._jitter = jitter
        self._rng = rng or random.Random()
        self._at_once = at_once
        self._waiting: IDelayedCall | None = None
        self._running: Deferred[None] | None = None
        self._again = False
        self._started = False

    def start(self) -> None:
        """Begin; the first run is after one interval, or in the next reactor turn with `at_once`."""
        if self._started:
            return
        self._started = True
        self._schedule(0.0 if self._at_once else self._next_delay())

    def run_soon(self) -> None:
        """Do the job now instead of at its time, or once more after the run that is under way."""
        if not self._started:
            return
        if self._running is not None:
            self._again = True
        elif self._waiting is not None:
            self._waiting.reset(0.0)

    def stop(self) -> Deferred[None]:
        """End: cancels a run that is under way; fires when it has ended."""
        self._started = False
        self._again = False
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._running is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        running, self._running = self._running, None
        running.addBoth(lambda _: ended.callback(None))
        running.cancel()
        return ended

    def _next_delay(self) -> float:
        return self.interval * (1.0 + self._jitter * self._rng.uniform(-1.0, 1.0))

    def _schedule(self, delay: float) -> None:
        self._waiting = self._clock.callLater(delay, self._tick)

    def _tick(self) -> None:
        self._waiting = None
        running = Deferred.fromCoroutine(self._run())
        if not running.called:
            self._running = running
        running.addBoth(self._after)

    async def _run(self) -> None:
        try:
            result = self._fn()
            if isinstance(result, Awaitable):
                await result
        except CancelledError:
            if self._started:
                self.log.warn("{name} was cancelled", name=self.name)
        except Exception:  # noqa: BLE001 - a job that fails once must not end for ever
            self.log.failure("{name} failed; it is tried again later", name=self.name)

    def _after(self, _: object) -> None:
        self._running = None
        if self._started:
            again, self._again = self._again, False
            self._schedule(0.0 if again else self._next_delay())
