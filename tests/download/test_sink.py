"""Does the store get exactly the whole blocks of a span, once each, and no faster than it should?"""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.download.sink import HIGH_WATER, PORTION, SpanSink
from p2sp.net.throttle import TokenBucket
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Span
from p2sp.storage.interfaces import NoSpace, Verdict
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.storage.kit import Sample, noise, sample_file, sample_tree

PIECE = 4 * BLOCK
FILE = sample_file(noise(9 * PIECE + BLOCK + 77), piece_length=PIECE)
TREE = sample_tree({"a": noise(5), "b": noise(PIECE + 1, 1), "c": noise(3 * PIECE, 2), "d": noise(BLOCK + 9, 3)})


class Recorder(MemoryStore):
    """A store that notes what it is given, and says nothing before it is told to."""

    def __init__(self, sample: Sample, pool: InlinePool) -> None:
        super().__init__(sample.content, pool)
        self.writes: list[tuple[int, bytes]] = []

    def write(self, position: int, data: Sequence[bytes | memoryview], source: str) -> "Deferred[list[Verdict]]":
        self.writes.append((position, b"".join(data)))
        return super().write(position, data, source)


@implementer(IPushProducer)
class Producer:
    """Remembers whether it may go on."""

    def __init__(self) -> None:
        self.paused = False
        self.turns = 0

    def pauseProducing(self) -> None:
        assert not self.paused
        self.paused = True
        self.turns += 1

    def resumeProducing(self) -> None:
        assert self.paused
        self.paused = False

    def stopProducing(self) -> None:
        raise AssertionError("a sink never ends its producer")


class Rig:
    """A sink over a recording store."""

    def __init__(
        self, sample: Sample = FILE, start: int = 0, stop: int | None = None, limit: TokenBucket | None = None
    ) -> None:
        self.sample = sample
        self.layout = sample.content.layout
        self.clock = Clock()
        self.pool = InlinePool()
        self.store = Recorder(sample, self.pool)
        self.told: list[tuple[int, int]] = []
        self.verdicts: list[Verdict] = []
        self.failures: list[Failure] = []
        self.arrived = 0
        self.span = Span(start, self.layout.end if stop is None else stop)
        self.sink = SpanSink(
            self.clock,
            self.layout,
            self.store,
            self.span,
            "source",
            delivered=lambda start, stop: self.told.append((start, stop)),
            judged=self.verdicts.extend,
            failed=self.failures.append,
            arrived=self._count,
            limit=limit,
        )
        self.producer = Producer()
        self.sink.register_producer(self.producer)

    def _count(self, count: int) -> None:
        self.arrived += count

    def check(self, start: int, stop: int) -> None:
        """The store was given the true whole blocks of this run, once each, every write within a piece."""
        assert not self.failures
        blocks: list[int] = []
        for position, data in self.store.writes:
            end = position + len(data)
            assert data == self.sample.at(position, end)
            (piece,) = self.layout.pieces_in(position, end)
            assert position % BLOCK == 0
            assert end % BLOCK == 0 or end == self.layout.piece_end(piece)
            assert len(data) <= PORTION + BLOCK
            blocks += range(position // BLOCK, -(-end // BLOCK))
        expected = [
            (self.layout.piece_start(block.piece) + block.begin) // BLOCK
            for block in self.layout.blocks(start, self.layout.end)
            if self.layout.piece_start(block.piece) + block.begin + block.length <= stop
        ]
        assert sorted(blocks) == expected
        assert sum(high - low for low, high in self.told) == sum(len(data) for _, data in self.store.writes)


samples = st.sampled_from([FILE, TREE])


def spans(sample: Sample) -> st.SearchStrategy[tuple[int, int]]:
    """Runs from one block's boundary to another or the end."""
    last = -(-sample.content.layout.end // BLOCK)
    return st.tuples(st.integers(0, last - 1), st.integers(1, last)).map(
        lambda pair: (pair[0] * BLOCK, min(max(pair[0] + 1, pair[1]) * BLOCK, sample.content.layout.end))
    )


def chunks(rng: Random, sample: Sample, start: int, stop: int, largest: int) -> list[tuple[int, bytes]]:
    """The true bytes of a run in order, cut anywhere, file by file."""
    out = []
    for part in sample.content.layout.file_segments(start, stop):
        at = part.position
        while at < part.position + part.length:
            end = min(at + rng.randint(1, largest), part.position + part.length)
            out.append((at, sample.at(at, end)))
            at = end
    return out


@given(st.data(), samples, st.integers(0, 1 << 16), st.sampled_from([7000, BLOCK, 3 * PIECE, 1 << 20]))
def test_bytes_in_order_cut_anywhere(data: st.DataObject, sample: Sample, seed: int, largest: int) -> None:
    start, stop = data.draw(spans(sample))
    rig = Rig(sample, start, stop)
    for position, part in chunks(Random(seed), sample, start, stop, largest):
        rig.sink.received(position, part)
    rig.sink.close()
    rig.check(start, stop)


@given(st.data(), samples, st.integers(0, 1 << 16))
def test_blocks_in_any_order(data: st.DataObject, sample: Sample, seed: int) -> None:
    start, stop = data.draw(spans(sample))
    rig = Rig(sample, start, stop)
    layout = sample.content.layout
    runs = [
        (layout.piece_start(b.piece) + b.begin, layout.piece_start(b.piece) + b.begin + b.length)
        for b in layout.blocks(start, stop)
    ]
    Random(seed).shuffle(runs)
    for low, high in runs:
        rig.sink.received(low, sample.at(low, high))
    rig.sink.close()
    rig.check(start, stop)


@given(st.data(), samples, st.integers(0, 1 << 16), st.sampled_from([7000, BLOCK, PIECE]))
def test_shortened_meanwhile(data: st.DataObject, sample: Sample, seed: int, largest: int) -> None:
    start, stop = data.draw(spans(sample))
    rig = Rig(sample, start, stop)
    parts = chunks(Random(seed), sample, start, stop, largest)
    when = data.draw(st.integers(0, len(parts)))
    for position, part in parts[:when]:
        rig.sink.received(position, part)
    # As the scheduler does it: at a block's boundary, not before what was told.
    reached = max((high for _, high in rig.told), default=start)
    cut = data.draw(st.integers(-(-reached // BLOCK), -(-stop // BLOCK))) * BLOCK
    rig.sink.cut(cut)
    for position, part in parts[when:]:
        rig.sink.received(position, part)
    rig.sink.close()
    rig.check(start, min(cut, stop))


@given(st.data(), st.integers(0, 1 << 16))
def test_broken_off_anywhere(data: st.DataObject, seed: int) -> None:
    rig = Rig()
    end = data.draw(st.integers(0, FILE.content.layout.length))
    for position, part in chunks(Random(seed), FILE, 0, end, 50_000):
        rig.sink.received(position, part)
    rig.sink.close()
    rig.sink.received(end, FILE.at(end, min(end + BLOCK, FILE.content.layout.length)))
    rig.check(0, end)
    assert rig.arrived == end, "what comes after the end is not heard"


def test_pieces_are_judged_as_they_fill() -> None:
    rig = Rig()
    rig.sink.received(0, FILE.at(0, 2 * PIECE + 5))
    assert rig.verdicts == [Verdict(0, True, frozenset()), Verdict(1, True, frozenset())]


def test_blocks_are_told_before_a_whole_portion_is_there() -> None:
    rig = Rig(sample_file(noise(4 * PORTION), piece_length=2 * PORTION))
    rig.sink.received(0, rig.sample.at(0, BLOCK + 5))
    assert rig.told == [(0, BLOCK)]
    assert rig.store.writes == []
    rig.sink.received(BLOCK + 5, rig.sample.at(BLOCK + 5, PORTION))
    assert rig.told == [(0, BLOCK), (BLOCK, PORTION)]
    assert [len(data) for _, data in rig.store.writes] == [PORTION]


def test_a_verdict_that_ends_the_fetch_ends_it_there() -> None:
    rig = Rig()
    rig.sink._judged = lambda verdicts: rig.sink.close()
    rig.sink.received(0, FILE.at(0, 3 * PIECE))
    rig.check(0, PIECE)


def test_what_the_store_refuses_is_passed_on() -> None:
    rig = Rig()
    rig.pool.held = True
    rig.sink.received(0, FILE.at(0, PIECE))
    rig.store._medium.write = _no_space  # type: ignore[method-assign]
    rig.pool.release()
    (failure,) = rig.failures
    assert failure.check(NoSpace)


def _no_space(where: object, data: object) -> None:
    raise NoSpace("the disk is full")


# -- flow --------------------------------------------------------------------------------------------------------

LARGE = sample_file(noise(2 * HIGH_WATER), piece_length=1024 * 1024)


def test_a_disk_that_is_behind_pauses_the_source() -> None:
    rig = Rig(LARGE)
    rig.pool.held = True
    at = 0
    while not rig.producer.paused:
        rig.sink.received(at, LARGE.at(at, at + PORTION))
        at += PORTION
    assert at == HIGH_WATER
    while rig.producer.paused:
        assert rig.pool.jobs
        rig.pool.release(1)
    assert rig.pool.queued_bytes == HIGH_WATER // 2
    assert rig.producer.turns == 1


def test_a_producer_that_comes_while_the_disk_is_behind_is_paused_at_once() -> None:
    rig = Rig(LARGE)
    rig.pool.held = True
    rig.sink.received(0, LARGE.at(0, HIGH_WATER))
    rig.sink.unregister_producer()
    late = Producer()
    rig.sink.register_producer(late)
    assert late.paused
    rig.pool.release()
    assert not late.paused


def test_a_producer_that_left_is_not_touched() -> None:
    rig = Rig(LARGE)
    rig.pool.held = True
    rig.sink.received(0, LARGE.at(0, HIGH_WATER))
    rig.sink.unregister_producer()
    rig.pool.release()
    assert rig.producer.paused


@pytest.mark.parametrize("sinks", [1, 3])
@pytest.mark.parametrize("rate", [50_000.0, 2e6])
def test_the_limit_is_kept(rate: float, sinks: int) -> None:
    """A limit is shared by all fetches; a source that could bring ten times as much is held back."""
    limit = TokenBucket(rate, max(rate / 4, 32 * 1024))
    rigs = [Rig(LARGE, limit=limit) for _ in range(sinks)]
    for rig in rigs:
        rig.clock = rigs[0].clock
        rig.sink._clock = rigs[0].clock
    clock, at, tick = rigs[0].clock, [0] * sinks, 0.01
    seconds = 3.0
    while clock.seconds() < seconds:
        for i, rig in enumerate(rigs):
            size = int(rate * 10 / sinks * tick)
            if not rig.producer.paused:
                rig.sink.received(at[i], LARGE.at(at[i], at[i] + size))
                at[i] += size
        clock.advance(tick)
    allowed = rate * seconds
    assert allowed * 0.95 <= sum(at) <= allowed * 1.05 + limit.burst
    for rig in rigs:
        rig.sink.close()
    assert clock.getDelayedCalls() == []


def test_a_limit_and_a_slow_disk_together() -> None:
    rig = Rig(LARGE, limit=TokenBucket(1e6, 32 * 1024))
    rig.pool.held = True
    rig.sink.received(0, LARGE.at(0, HIGH_WATER))
    assert rig.producer.paused
    rig.clock.advance(60.0)
    assert rig.producer.paused, "the disk is still behind"
    rig.pool.release()
    assert not rig.producer.paused
    rig.sink.received(HIGH_WATER, LARGE.at(HIGH_WATER, HIGH_WATER + PORTION))
    rig.pool.release()
    rig.sink.received(HIGH_WATER + PORTION, LARGE.at(HIGH_WATER + PORTION, 2 * HIGH_WATER))
    rig.pool.release()
    assert rig.producer.paused, "the limit still holds"
    rig.clock.advance(60.0)
    assert not rig.producer.paused
