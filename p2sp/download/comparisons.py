"""Which servers are being compared with the first one, and when is one that could not be compared looked at again?"""

from collections.abc import Callable
from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from p2sp.sources.http_probe import Probe
from p2sp.sources.interfaces import SourceError, SourceRefused

TRIES = 8
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Seconds until a comparison that could not be made is tried again, doubled each time, less a random part of up to
a half; a server that says when is asked then.
"""


class Comparisons:
    """Comparisons that run beside a download: `compare` makes one (see `agreement.agree`).

    `agreed(url, probe)` tells who may join. `left_out(url, reason)` tells why one does not: for good when the error was
    fatal, as it is when bytes differ, or when it is the last of TRIES; before that, until the next try.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        rng: Random,
        compare: Callable[[str], "Deferred[Probe]"],
        *,
        agreed: Callable[[str, Probe], None],
        left_out: Callable[[str, str], None],
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._compare = compare
        self._agreed = agreed
        self._left_out = left_out
        self._running: list[Deferred[Probe]] = []
        self._waiting: set[IDelayedCall] = set()
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether one is compared at this moment: it may join soon."""
        return bool(self._running)

    def begin(self, url: str, failures: int = 0) -> None:
        """Compare a server, with which that failed so often before."""
        asked = self._compare(url)
        self._running.append(asked)

        def over(result: Probe | Failure) -> None:
            self._running.remove(asked)
            if isinstance(result, Probe):
                self._agreed(url, result)
            elif isinstance(result.value, SourceError):
                self._failed(url, result.value, failures + 1)
            elif not result.check(CancelledError):
                self.log.failure("the comparison with {url} broke", failure=result, url=url)

        asked.addBoth(over)

    def _failed(self, url: str, error: SourceError, failures: int) -> None:
        if self._stopped:
            return
        self._left_out(url, str(error))
        if error.fatal or failures >= TRIES:
            return
        wait = min(FIRST_WAIT * 2.0 ** (failures - 1), LONGEST_WAIT) * self._rng.uniform(0.5, 1.0)
        if isinstance(error, SourceRefused) and error.retry_after is not None:
            wait = error.retry_after
        self.log.info("compared again in {wait:.1f} s: {reason}", wait=wait, reason=str(error))

        def again() -> None:
            self._waiting.discard(call)
            self.begin(url, failures)

        call = self._clock.callLater(wait, again)
        self._waiting.add(call)

    def stop(self) -> None:
        """Let go of all of them."""
        self._stopped = True
        for call in self._waiting:
            call.cancel()
        self._waiting.clear()
        for asked in list(self._running):
            asked.cancel()
