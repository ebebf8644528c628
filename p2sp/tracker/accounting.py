"""How does what nodes report reach the statistics server, which may be away?"""

from collections import deque
from collections.abc import Awaitable, Callable
from itertools import islice
from time import time
from typing import TYPE_CHECKING, Final

import msgspec
from twisted.logger import Logger

from p2sp.net.errors import NetError, Refused
from p2sp.statistics.schema import Sample, SampleAnswer
from p2sp.tracker.schema import AnnounceRequest

if TYPE_CHECKING:
    from random import Random

    from p2sp.tracker.spool import Spool

BATCH: Final = 1_000
OLDEST: Final = 3_000.0
"""Seconds a sample may be old for the statistics server, as it is set up, to take it; with some to spare."""

MOST_WAITING: Final = 50_000
LONGEST_BACK_OFF: Final = 60.0
# The statistics server will not take this batch at any other time either.
_HOPELESS: Final = frozenset({400, 413, 415, 422})


def sample_of(request: AnnounceRequest, *, node_id: str, isp: str | None, supernode: bool, at: float) -> Sample:
    """The account in an announce, as the statistics server wants it; `at` is seconds since 1970."""
    return Sample(
        session=request.session,
        resource=request.resource,
        node_id=node_id,
        at=at,
        event=request.event,
        counters=request.counters,
        length=request.length,
        left=request.left,
        isp=isp,
        rate=request.rate,
        stalled_ms=request.stalled_ms,
        supernode=supernode,
    )


class Accounting:
    """Samples on their way to the statistics server, in order and in batches.

    `add` never waits. When too many wait, the oldest are dropped and counted: counters are cumulative, so the next
    sample of a session makes up for those lost. `flush` is called every `interval` seconds; after a failure it
    does nothing until a back-off, doubled each time up to a minute and spread by a tenth, has passed.

    With a `spool` what cannot be sent waits on disk, and is sent when the server is back, after what is newer: the
    server takes samples in any order. A spooled sample that is older than the server would take is dated younger: its
    bytes moved, and when exactly is worth less than that.
    """

    log = Logger()

    def __init__(
        self,
        send: Callable[[list[Sample]], Awaitable[SampleAnswer]],
        *,
        interval: float,
        now: Callable[[], float],
        rng: "Random",
        most_waiting: int = MOST_WAITING,
        batch: int = BATCH,
        spool: "Spool | None" = None,
        wall: Callable[[], float] = time,
    ) -> None:
        self.dropped = 0
        self.refused = 0
        self._send = send
        self._interval = interval
        self._now = now
        self._rng = rng
        self._most = most_waiting
        self._batch = batch
        self._waiting: deque[Sample] = deque()
        self._failures = 0
        self._not_before: float | None = None
        self._sending = False
        self._spool = spool
        self._wall = wall

    @property
    def waiting(self) -> int:
        """How many samples have not been taken yet, on disk and in memory."""
        return len(self._waiting) + (0 if self._spool is None else self._spool.size)

    def add(self, sample: Sample) -> None:
        """Take a sample along with the next batch."""
        self._waiting.append(sample)
        self._keep_bound()

    async def flush(self) -> None:
        """Send what waits, unless a back-off is running; never raises NetError."""
        if self._not_before is None or self._now() >= self._not_before:
            await self.flush_now()

    async def flush_now(self) -> None:
        """Send what waits now, whatever happened before; for the end of the service."""
        if self._sending:
            return
        self._sending = True
        try:
            # What comes in meanwhile is for the next time, else a busy tracker would never be done.
            for _ in range(-(-len(self._waiting) // self._batch)):
                if not await self._send_batch():
                    await self._put_away()
                    return
            await self._catch_up()
        finally:
            self._sending = False

    async def _put_away(self) -> None:
        """Let what cannot be sent wait on disk."""
        if self._spool is None or not self._waiting:
            return
        samples = list(self._waiting)
        try:
            self.dropped += await self._spool.keep(samples)
        except Exception as error:  # noqa: BLE001 - a disk that fails leaves them where they are
            self.log.error("samples cannot be put away: {error}", error=error)
            return
        # What came meanwhile stands behind them; of them, the oldest may have been dropped.
        for sample in samples:
            if self._waiting and self._waiting[0] is sample:
                self._waiting.popleft()

    async def _catch_up(self) -> None:
        """Send what waits on disk, one batch in each flush: the newer ones are not to wait for that."""
        if self._spool is None or not self._spool.size:
            return
        try:
            samples = await self._spool.oldest(self._batch)
        except Exception as error:  # noqa: BLE001 - the disk may do better next time
            self.log.error("samples cannot be read back: {error}", error=error)
            return
        youngest = self._wall() - OLDEST
        dated = [msgspec.structs.replace(each, at=max(each.at, youngest)) for each in samples]
        if await self._deliver(dated):
            await self._spool.forget(samples)

    async def _send_batch(self) -> bool:
        batch = list(islice(self._waiting, self._batch))
        for _ in batch:
            self._waiting.popleft()
        taken = False
        try:
            taken = await self._deliver(batch)
            return taken
        finally:
            if not taken:
                self._waiting.extendleft(reversed(batch))
                self._keep_bound()

    async def _deliver(self, batch: list[Sample]) -> bool:
        """Send a batch; whether it is off our hands, one way or the other."""
        try:
            answer = await self._send(batch)
        except Refused as error:
            if error.status in _HOPELESS:
                self.dropped += len(batch)
                self.log.error("{count} samples are lost: {error}", count=len(batch), error=error)
                return True
            self._failed(error)
            return False
        except NetError as error:
            self._failed(error)
            return False
        if self._failures:
            self.log.info("the statistics server takes samples again")
        self._failures = 0
        self._not_before = None
        self.refused += answer.refused
        return True

    def _failed(self, error: NetError) -> None:
        self._failures += 1
        wait = min(LONGEST_BACK_OFF, self._interval * 2.0 ** min(self._failures, 16))
        self._not_before = self._now() + wait * self._rng.uniform(0.9, 1.1)
        if self._failures == 1:
            self.log.warn("samples wait for the statistics server: {error}", error=error)

    def _keep_bound(self) -> None:
        while len(self._waiting) > self._most:
            self._waiting.popleft()
            self.dropped += 1
