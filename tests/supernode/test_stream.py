"""Does a stream send the true bytes at the client's pace, and wait no longer than it may?"""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.throttle import TokenBucket
from p2sp.storage.interfaces import StorageError
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from p2sp.supernode.stream import FIRST_RUN, RUN, ClientStalled, NoProgress, Pace, Stream
from p2sp.supernode.turns import Turns
from tests.supernode.support import PIECE, content_of, fill, some_bytes

COUNT = 20
DATA = some_bytes(COUNT * PIECE - 5)
CONTENT = content_of("a.bin", {("a.bin",): DATA})


class Consumer:
    """Takes everything, or so many writes before it pauses its producer."""

    def __init__(self, writes: int | None = None) -> None:
        self.writes = writes
        self.data = b""
        self.producer: Stream | None = None
        self.registered = 0

    def registerProducer(self, producer: Stream, streaming: bool) -> None:
        assert streaming
        self.producer = producer
        self.registered += 1

    def unregisterProducer(self) -> None:
        self.registered -= 1

    def write(self, data: bytes) -> None:
        self.data += data
        if self.writes is not None:
            self.writes -= 1
            if self.writes <= 0:
                assert self.producer is not None
                self.producer.pauseProducing()

    def take_more(self, writes: int | None) -> None:
        self.writes = writes
        assert self.producer is not None
        self.producer.resumeProducing()


class OnDisk(MemoryStore):
    """A store that has nothing at hand."""

    def at_hand(self, position: int, length: int) -> bytes | None:
        return None


class StreamCase(SynchronousTestCase):
    """A store to stream from, in virtual time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = InlinePool()
        self.store: MemoryStore = OnDisk(CONTENT, self.pool)
        self.waits: list[int] = []
        self.sent: list[int] = []

    def fill(self, *pieces: int) -> None:
        self.successResultOf(Deferred.fromCoroutine(fill(self.store, pieces or range(COUNT), DATA)))

    def start(
        self,
        consumer: Consumer,
        start: int = 0,
        stop: int = len(DATA),
        *,
        pace: Pace | None = None,
        wanted: Callable[[int], object] | None = None,
        budget: int = 2 * len(DATA),
    ) -> Deferred[None]:
        def ask(piece: int) -> None:
            self.waits.append(piece)
            if wanted is not None:
                wanted(piece)

        stream = Stream(
            self.store,
            start,
            stop,
            consumer,
            clock=self.clock,
            pace=pace or Pace(fill=60.0, client=120.0),
            wanted=ask,
            sent=self.sent.append,
            turns=Turns(self.clock, budget),
        )
        return Deferred.fromCoroutine(stream.run())


class StreamTests(StreamCase):
    """With disk work, held back at will."""

    def test_a_whole_store_flows_in_large_writes(self) -> None:
        self.fill()
        consumer = Consumer()
        self.successResultOf(self.start(consumer))
        assert consumer.data == DATA
        assert consumer.registered == 0
        assert max(self.sent) == RUN
        assert sum(self.sent) == len(DATA)
        assert self.waits == []

    def test_any_part_of_it(self) -> None:
        self.fill()
        for start, stop in ((0, 1), (PIECE - 1, PIECE + 1), (5, 5), (len(DATA) - 1, len(DATA)), (3, len(DATA) - 7)):
            consumer = Consumer()
            self.successResultOf(self.start(consumer, start, stop))
            assert consumer.data == DATA[start:stop]

    def test_pieces_are_sent_as_they_come(self) -> None:
        self.fill(0, 1, 5)
        consumer = Consumer()
        running = self.start(consumer)
        assert consumer.data == DATA[: 2 * PIECE]
        self.fill(3)
        assert len(consumer.data) == 2 * PIECE
        self.fill(2)
        assert consumer.data == DATA[: 4 * PIECE]
        assert self.waits == [2, 4]
        self.fill(4, *range(6, COUNT))
        self.successResultOf(running)
        assert consumer.data == DATA

    def test_an_owner_that_fills_at_once_when_asked(self) -> None:
        consumer = Consumer()
        self.successResultOf(self.start(consumer, wanted=self.fill))
        assert consumer.data == DATA
        assert self.waits == list(range(COUNT))

    def test_two_reads_at_the_most_and_none_while_paused_beyond_them(self) -> None:
        self.fill()
        self.pool.held = True
        consumer = Consumer(writes=1)
        running = self.start(consumer)
        assert self.pool.jobs == 2
        self.pool.release()
        assert len(consumer.data) == FIRST_RUN
        assert self.pool.jobs == 1
        self.pool.release()
        assert self.pool.jobs == 0
        assert len(consumer.data) == FIRST_RUN
        self.pool.held = False
        consumer.take_more(None)
        self.successResultOf(running)
        assert consumer.data == DATA

    def test_reads_that_end_out_of_order_are_sent_in_order(self) -> None:
        self.fill()
        self.pool.held = True
        consumer = Consumer()
        running = self.start(consumer)
        while self.pool.jobs:
            self.pool.release(1, newest_first=True)
        self.successResultOf(running)
        assert consumer.data == DATA

    def test_it_gives_up_when_nothing_comes_but_not_while_something_does(self) -> None:
        self.fill(0)
        consumer = Consumer()
        running = self.start(consumer)
        for piece in (5, 6, 7):
            self.clock.advance(59.0)
            self.fill(piece)
        self.clock.advance(59.9)
        self.assertNoResult(running)
        self.clock.advance(0.2)
        failure = self.failureResultOf(running, NoProgress)
        assert str(failure.value) == "piece 1 did not come, nor any other for 60 s"
        assert consumer.data == DATA[:PIECE]
        assert consumer.registered == 0
        assert self.clock.getDelayedCalls() == []

    def test_a_client_that_takes_nothing_is_given_up(self) -> None:
        self.fill()
        consumer = Consumer(writes=1)
        running = self.start(consumer)
        self.clock.advance(119.0)
        consumer.take_more(1)
        self.clock.advance(119.0)
        self.assertNoResult(running)
        self.clock.advance(2.0)
        self.failureResultOf(running, ClientStalled)
        assert len(consumer.data) == FIRST_RUN + RUN

    def test_cancelling_stops_at_once_and_leaves_nothing_behind(self) -> None:
        self.fill(0)
        consumer = Consumer()
        running = self.start(consumer)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.fill(1)
        assert consumer.data == DATA[:PIECE]
        assert consumer.registered == 1
        self.clock.advance(0)
        assert self.clock.getDelayedCalls() == []

    def test_cancelling_with_reads_under_way(self) -> None:
        self.fill()
        self.pool.held = True
        running = self.start(Consumer())
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.pool.release()
        assert self.sent == []

    def test_the_upload_rate_is_kept_and_shared(self) -> None:
        self.fill()
        rate = 100_000.0
        pace = Pace(bucket=TokenBucket(rate, rate))
        consumers = [Consumer(), Consumer()]
        runs = [self.start(consumer, pace=pace) for consumer in consumers]
        for _ in range(10):
            self.clock.advance(0.5)
        got = [len(consumer.data) for consumer in consumers]
        assert rate * 5 <= sum(got) <= rate * 7
        assert min(got) > 0.4 * max(got)
        self.clock.pump([0.5] * 100)
        for consumer, running in zip(consumers, runs, strict=True):
            self.successResultOf(running)
            assert consumer.data == DATA

    def test_what_a_cancelled_stream_did_not_send_is_not_charged(self) -> None:
        self.fill()
        bucket = TokenBucket(100_000.0, 50_000.0)
        running = self.start(Consumer(), pace=Pace(bucket=bucket))
        running.cancel()
        self.failureResultOf(running, CancelledError)
        assert bucket.take(0, 0.0) <= (sum(self.sent) - 50_000) / 100_000 + 1e-9

    def test_a_piece_let_go_under_the_reader_is_waited_for_again(self) -> None:
        self.fill()
        self.pool.held = True
        consumer = Consumer()
        running = self.start(consumer)
        self.store.forget(1)
        self.pool.held = False
        self.pool.release()
        assert self.waits == [1]
        self.fill(1)
        self.successResultOf(running)
        assert consumer.data == DATA

    def test_a_store_that_fails_for_good_ends_the_stream(self) -> None:
        self.fill()
        self.successResultOf(self.store.close())
        running = self.start(Consumer())
        self.failureResultOf(running, StorageError)


class AtHandTests(StreamCase):
    """What lies in memory anyway is written without a thread."""

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryStore(CONTENT, self.pool)

    def test_no_disk_work_is_done(self) -> None:
        self.fill()
        self.pool.held = True
        consumer = Consumer()
        self.successResultOf(self.start(consumer))
        assert consumer.data == DATA

    def test_nothing_is_taken_from_the_store_while_the_client_is_slow(self) -> None:
        self.fill()
        taken: list[int] = []
        at_hand = self.store.at_hand

        def take(position: int, length: int) -> bytes | None:
            taken.append(position)
            return at_hand(position, length)

        self.patch(self.store, "at_hand", take)
        consumer = Consumer(writes=2)
        running = self.start(consumer)
        assert len(taken) == len(self.sent) == 2
        consumer.take_more(None)
        self.successResultOf(running)
        assert consumer.data == DATA

    def test_it_waits_for_its_turns(self) -> None:
        for kind in (MemoryStore, OnDisk):
            self.store = kind(CONTENT, self.pool)
            self.fill()
            self.sent.clear()
            consumer = Consumer()
            running = self.start(consumer, budget=RUN)
            assert self.sent == [FIRST_RUN, RUN]
            self.clock.advance(0)
            self.successResultOf(running)
            assert consumer.data == DATA

    def test_whoever_is_cancelled_gives_up_its_turn(self) -> None:
        self.fill()
        running = self.start(Consumer(), budget=RUN)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.clock.advance(0)
        assert self.sent == [FIRST_RUN, RUN]

    def test_a_piece_let_go_under_the_reader_is_waited_for_again(self) -> None:
        self.fill()
        consumer = Consumer(writes=1)
        running = self.start(consumer)
        last = CONTENT.layout.piece_count - 1
        self.store.forget(last)
        consumer.take_more(None)
        assert self.waits == [last]
        self.fill(last)
        self.successResultOf(running)
        assert consumer.data == DATA
