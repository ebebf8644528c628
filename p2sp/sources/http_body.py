"""How are the bytes of one answer given to one fetch after another?"""

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from p2sp.sources.http_agent import reason_of
from p2sp.sources.interfaces import ISpanSink, SourceError

if TYPE_CHECKING:
    from p2sp.sources.http_lane import Lane


class Body(Protocol):
    """The body of one response, delivered to one fetch after another as long as they continue each other."""

    def __init__(self, lane: "Lane", position: int, end: int | None, *, prompt: bool) -> None:
        self.lane = lane
        self.position = position
        self.end = end
        """Behind the last byte, as far as the answer's head tells."""
        self.prompt = prompt
        """Whether the answer is over with that byte, so that its end is worth waiting for."""
        self.sink: ISpanSink | None = None
        self.skip_to = position
        self.stop = position
        self.done: Deferred[int] | None = None
        self.open_ended = False
        self.early: deque[bytes] = deque()
        self.written_off = False
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.lane.heard()
        if self.sink is None:
            self.early.append(data)
            return
        if self.position < self.skip_to:
            skipped = min(len(data), self.skip_to - self.position)
            self.position += skipped
            self.lane.wasted(skipped)
            data = data[skipped:]
        room = self.stop - self.position
        if len(data) > room:
            self.early.appendleft(data[room:])
            data = data[:room]
        if data:
            at = self.position
            self.position += len(data)
            self.sink.received(at, data)
        self._settle()
        self.lane.counted(len(data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason
        if self.sink is not None:
            self._settle()

    @property
    def through(self) -> bool:
        """Whether nothing more comes of it."""
        over = self.ended is not None and not self.early
        return over or (self.end is not None and self.position >= self.end)

    def serve(self, skip_to: int, stop: int, sink: ISpanSink) -> "Deferred[int]":
        """Give the sink the bytes from `skip_to` to `stop`, or to the end; fires with the position reached."""
        self.skip_to, self.stop, self.sink = skip_to, stop if self.end is None else min(stop, self.end), sink
        done: Deferred[int] = Deferred(self._cancelled)
        self.done = done
        # One after another: while some are left, a body that has ended is not over.
        while self.early and self.sink is not None:
            self.dataReceived(self.early.popleft())
        if self.done is not None:
            self._settle()
        return done

    def _settle(self) -> None:
        if self.done is None:
            return
        if self.position >= self.stop and self.position >= self.skip_to:
            # Until the answer is over its connection is not free for the next one, which may follow at once.
            if self.ended is not None or not (self.prompt and self.through):
                self._fire(None)
        elif self.ended is not None and not self.early:
            whole = self.ended.check(ResponseDone, PotentialDataLoss)
            if whole and self.open_ended:
                self._fire(None)
                return
            if whole or self.ended.check(ConnectionDone):
                why = f"answer ended at byte {self.position}, {self.stop - self.position} short"
            else:
                why = f"connection lost at byte {self.position}: {reason_of(self.ended)}"
            self._fire(Failure(SourceError(f"{self.lane.label}: {why}")))

    def _fire(self, result: Failure | None) -> None:
        done, self.done, self.sink = self.done, None, None
        assert done is not None
        self.lane.body_idle()
        if result is None:
            done.callback(self.position)
        else:
            done.errback(result)

    def cut(self, stop: int) -> None:
        """End the running fetch at `stop`, if it is to go further."""
        self.stop = min(self.stop, max(stop, self.skip_to))
        self._settle()

    def _cancelled(self, _: "Deferred[int]") -> None:
        self.done = self.sink = None
        self.lane.abort()

    def fail(self, error: SourceError) -> None:
        """End the running fetch with an error."""
        if self.done is not None:
            self._fire(Failure(error))
