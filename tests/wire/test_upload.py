"""Is every request answered once, from verified bytes only, with bounded reading ahead?"""

from collections import Counter
from functools import partial
from typing import cast

import attrs
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from p2sp.net.throttle import TokenBucket
from p2sp.resource.layout import Block
from p2sp.resource.merkle import BLOCK
from p2sp.resource.verification import described
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from p2sp.wire.extensions import MetadataPart, MetadataReject
from p2sp.wire.messages import HashReject, HashRequest, Piece, Reject, Request
from p2sp.wire.metadata import Library
from p2sp.wire.session import Event, Session
from p2sp.wire.upload import QUESTIONS, READS, READS_OF_ALL, RUN, Gate, Uploader
from tests.wire.support import PIECE, exchange, fill, make_resource, pair

DESCRIPTOR, DATA = make_resource([24 * PIECE], 8 * PIECE)
LARGE = 8 * PIECE


@attrs.define
class Offering:
    """A store and a library, as the swarm has them."""

    store: MemoryStore | None
    library: Library | None


class Uploads(SynchronousTestCase):
    """An uploader between a store whose reads the test lets happen, and the session of who asks."""

    def setUp(self) -> None:
        self.pool = InlinePool()
        self.store = MemoryStore(described(DESCRIPTOR), self.pool)
        fill(self.store, DATA)
        self.pool.held = True
        self.clock = Clock()
        self.heard: list[Event] = []
        self.given = 0
        self.asking, self.serving = pair(DESCRIPTOR.layout, [], range(3), metadata_size=len(DESCRIPTOR.info))
        self.offer = Offering(self.store, Library(DESCRIPTOR))
        self.uploader = self.uploads(self.serving, None)

    def uploads(self, session: Session, bucket: TokenBucket | None) -> Uploader:
        return Uploader(session, self.offer, Gate(self.clock, bucket), flush=lambda: None, uploaded=self.uploaded)

    def uploaded(self, count: int) -> None:
        self.given += count

    def ask(self, *blocks: Block) -> None:
        for block in blocks:
            self.asking.request(block)
        self.carry()

    def carry(self) -> None:
        """Bring bytes over, and requests to the uploader."""
        to_asking, to_serving = exchange(self.asking, self.serving)
        self.heard += to_asking
        for event in to_serving:
            if isinstance(event, Request):
                self.uploader.wanted(event)
        self.uploader.pump()
        self.heard += exchange(self.asking, self.serving)[0]

    def blocks(self, piece: int, count: int, first: int = 0) -> list[Block]:
        return [Block(piece, (first + number) * BLOCK, BLOCK) for number in range(count)]

    def test_requests_that_follow_one_another_are_read_at_once(self) -> None:
        self.ask(*self.blocks(0, 3), *self.blocks(1, 2))
        self.assertEqual(self.pool.jobs, 2)
        self.pool.release()
        self.carry()
        self.assertEqual([type(event) for event in self.heard], [Piece] * 5)
        for event in self.heard:
            assert isinstance(event, Piece)
            at = event.piece * LARGE + event.begin
            self.assertEqual(event.data, DATA[at : at + BLOCK])
        self.assertEqual(self.given, 5 * BLOCK)

    def test_reading_ahead_is_bounded(self) -> None:
        self.ask(*self.blocks(0, 32), *self.blocks(1, 32))
        self.assertEqual(self.pool.jobs, READS)
        self.pool.release(1)
        self.assertEqual((self.pool.jobs, self.given), (READS, RUN))
        while self.pool.jobs:
            self.pool.release(1)
            self.assertLessEqual(self.pool.jobs, READS)
        self.carry()
        self.assertEqual(len(self.heard), 64)

    def test_nothing_is_begun_while_the_transport_is_full(self) -> None:
        self.uploader.pause()
        self.ask(*self.blocks(0, 3))
        self.assertEqual(self.pool.jobs, 0)
        self.uploader.resume()
        self.assertEqual(self.pool.jobs, 1)
        self.uploader.pause()
        self.pool.release()
        self.carry()
        self.assertEqual(len(self.heard), 3)

    def test_what_was_cancelled_is_not_read_and_not_sent(self) -> None:
        self.ask(*self.blocks(0, 2))
        self.ask(*self.blocks(1, 2))
        self.ask(*self.blocks(2, 2))
        self.asking.cancel(Block(0, 0, BLOCK))
        self.asking.cancel(Block(2, 0, BLOCK))
        self.carry()
        self.pool.release()
        self.pool.release()
        self.carry()
        self.assertEqual(
            [(event.piece, event.begin) for event in self.heard if isinstance(event, Piece)],
            [(0, BLOCK), (1, 0), (1, BLOCK), (2, BLOCK)],
        )
        self.assertEqual((len(self.asking.outstanding), len(self.serving.pending)), (0, 0))
        self.assertEqual(self.given, 4 * BLOCK)

    def test_a_piece_let_go_is_rejected_and_not_read(self) -> None:
        self.store.forget(1)
        self.ask(*self.blocks(1, 2))
        self.assertEqual(self.heard, [Reject(1, 0, BLOCK), Reject(1, BLOCK, BLOCK)])
        self.assertEqual(self.pool.jobs, 0)

    def test_a_piece_let_go_while_it_is_read_is_rejected(self) -> None:
        events: list[LogEvent] = []
        observer = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.ask(*self.blocks(1, 2))
        self.store.forget(1)
        self.pool.release()
        self.carry()
        self.assertEqual(self.heard, [Reject(1, 0, BLOCK), Reject(1, BLOCK, BLOCK)])
        self.assertEqual(self.given, 0)
        self.assertTrue(any("cannot read what a peer asks for" in str(event) for event in events))
        self.ask(*self.blocks(0, 1))
        self.pool.release()
        self.carry()
        self.assertEqual(self.given, BLOCK)

    def test_without_a_store_everything_is_rejected(self) -> None:
        self.offer.store = None
        self.ask(*self.blocks(0, 1))
        self.assertEqual(self.heard, [Reject(0, 0, BLOCK)])

    def test_after_the_end_nothing_is_sent(self) -> None:
        self.ask(*self.blocks(0, 2))
        self.uploader.stop()
        self.pool.release()
        self.carry()
        self.assertEqual((self.heard, self.given), ([], 0))

    def test_questions_are_answered_and_bounded(self) -> None:
        self.asking.ask_metadata(0)
        exchange(self.asking, self.serving)
        self.uploader.asked(0)
        self.carry()
        self.assertEqual(self.heard, [MetadataPart(0, len(DESCRIPTOR.info), DESCRIPTOR.info)])
        self.heard.clear()
        self.uploader.pause()
        for index in range(QUESTIONS + 1):
            request = HashRequest(bytes(32), 0, index, 2, 0)
            self.asking.ask_hashes(request)
            self.uploader.asked(request)
        exchange_first = exchange(self.asking, self.serving)[0]
        self.assertEqual(exchange_first, [HashReject(bytes(32), 0, QUESTIONS, 2, 0)])
        self.uploader.resume()
        self.carry()
        self.assertEqual(len(self.heard), QUESTIONS)

    def test_without_a_library_questions_are_rejected(self) -> None:
        self.offer.library = None
        self.asking.ask_metadata(0)
        exchange(self.asking, self.serving)
        self.uploader.asked(0)
        self.carry()
        self.assertEqual(self.heard, [MetadataReject(0)])

    def test_a_rate_is_kept_and_reading_ahead_stays_bounded(self) -> None:
        self.pool.held = False
        self.uploader = self.uploads(self.serving, TokenBucket(BLOCK, BLOCK))
        self.ask(*self.blocks(0, 32), *self.blocks(1, 32), *self.blocks(2, 32))
        for second in range(95):
            self.assertEqual(self.given, min((second + 2) * BLOCK, 96 * BLOCK))
            self.clock.advance(1)
        self.carry()
        self.assertEqual(len(self.heard), 96)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_gate_that_closes_leaves_no_call_behind(self) -> None:
        self.pool.held = False
        gate = Gate(self.clock, TokenBucket(BLOCK, BLOCK))
        self.uploader = Uploader(self.serving, self.offer, gate, flush=lambda: None, uploaded=self.uploaded)
        self.ask(*self.blocks(0, 32))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        gate.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Crowd(SynchronousTestCase):
    """Several links that ask one node, whose disk is as slow as the test wants it."""

    def setUp(self) -> None:
        self.pool = InlinePool()
        self.store = MemoryStore(described(DESCRIPTOR), self.pool)
        fill(self.store, DATA)
        self.pool.held = True
        self.given: Counter[int] = Counter()
        gate = Gate(Clock(), None)
        offer = Offering(self.store, None)
        self.pairs = [pair(DESCRIPTOR.layout, [], range(3)) for _ in range(12)]
        self.uploaders = [
            Uploader(serving, offer, gate, flush=lambda: None, uploaded=partial(self.uploaded, number))
            for number, (_, serving) in enumerate(self.pairs)
        ]

    def uploaded(self, number: int, count: int) -> None:
        self.given[number] += count

    def ask(self, number: int, piece: int, blocks: int) -> None:
        asking, serving = self.pairs[number]
        for block in range(blocks):
            asking.request(Block(piece, block * BLOCK, BLOCK))
        for event in exchange(asking, serving)[1]:
            if isinstance(event, Request):
                self.uploaders[number].wanted(event)
        self.uploaders[number].pump()

    def test_reads_of_all_links_are_bounded_and_taken_in_turns(self) -> None:
        for number in range(12):
            for piece in range(3):
                self.ask(number, piece, LARGE // BLOCK)
        rounds = 0
        while self.pool.jobs:
            self.assertLessEqual(self.pool.jobs, READS_OF_ALL)
            self.pool.release(1)
            rounds += 1
            most, least = max(self.given.values()), min(self.given[number] for number in range(12))
            self.assertLessEqual(most - least, 3 * RUN)
        self.assertEqual(rounds, 12 * 3 * LARGE // RUN)
        self.assertEqual(set(self.given.values()), {3 * LARGE})

    def test_who_leaves_keeps_nobody_waiting(self) -> None:
        for number in range(12):
            self.ask(number, 0, LARGE // BLOCK)
        for uploader in self.uploaders[:11]:
            uploader.stop()
        while self.pool.jobs:
            self.pool.release(1)
        self.assertEqual(self.given, {11: LARGE})

    def test_who_is_paused_in_his_turn_keeps_nobody_waiting(self) -> None:
        for number in range(12):
            self.ask(number, 0, LARGE // BLOCK)
        for uploader in self.uploaders[4:8]:
            uploader.pause()
        while self.pool.jobs:
            self.pool.release(1)
        self.assertTrue(all(self.given[number] == LARGE for number in (*range(4), *range(8, 12))))
        for uploader in self.uploaders[4:8]:
            uploader.resume()
        while self.pool.jobs:
            self.pool.release(1)
        self.assertEqual(set(self.given.values()), {LARGE})
