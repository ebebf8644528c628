"""Does a peer deliver the spans asked of it, and fail in the way a source has to?"""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from p2sp.net.reading import unread
from p2sp.resource.layout import Block
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.interfaces import ISource, SourceError, SourceGone, SourceRefused, SourceStalled
from p2sp.sources.peer import SNUB, PeerSource
from p2sp.wire.link import CLOSE_SECONDS
from p2sp.wire.listener import PeerNetwork
from p2sp.wire.messages import AllowedFast, Cancel, Piece, Reject, Request, Suggest
from p2sp.wire.pipeline import FLOOR, LAN_FLOOR, MOST_PATIENCE
from tests.wire.network import NetworkTestCase, Share, StoreSink, Stranger
from tests.wire.support import PIECE, empty_store, make_resource

DESCRIPTOR, DATA = make_resource([6 * PIECE + 5000, 2 * PIECE])
ALL = range(DESCRIPTOR.layout.piece_count)
PER_PIECE = PIECE // BLOCK


def bytes_at(block: Block | Request) -> bytes:
    """The true bytes of a block."""
    layout = DESCRIPTOR.layout
    file = layout.file_of(block.piece)
    start = sum(layout.lengths[:file]) + layout.piece_start(block.piece) - layout.file_start(file) + block.begin
    return DATA[start : start + block.length]


class Peers(NetworkTestCase):
    """A source over a real link, whose other side is in the test's hand."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = self.time = Clock()

    async def stop_all(self) -> None:
        closing = [network.close() for network in self.networks]
        await self.turn(20)
        await self.pass_time(CLOSE_SECONDS + 1)
        await self.until(lambda: all(each.called for each in closing))
        self.assertEqual(self.time.getDelayedCalls(), [])

    async def link(
        self, have: Sequence[int] = ALL, *, unchoke: bool = True
    ) -> tuple[PeerNetwork, Share, PeerSource, Stranger]:
        network = self.node()
        share = Share(DESCRIPTOR.resource_id, DESCRIPTOR, empty_store(DESCRIPTOR))
        network.share(share)
        peer = await self.stranger(network)
        session = peer.behave(DESCRIPTOR, have)
        await self.until(lambda: share.links)
        source = PeerSource(share.links[0])
        self.assertTrue(verifyObject(ISource, source))
        if unchoke:
            session.unchoke()
            peer.flush()
            await self.until(lambda: source.slots)
        return network, share, source, peer

    def asked(self, peer: Stranger) -> list[Request]:
        """What was requested of the peer and not answered yet."""
        assert peer.session is not None
        return list(peer.session.pending)

    def give(self, peer: Stranger, request: Request) -> None:
        assert peer.session is not None
        self.assertTrue(peer.session.answer(request, bytes_at(request)))
        peer.flush()

    async def give_all(self, peer: Stranger, done: "Deferred[None]") -> int:
        """Answer requests until the fetch is through; how many there were."""
        count = 0
        while not done.called:
            for request in self.asked(peer):
                self.give(peer, request)
                count += 1
            await self.turn()
        return count

    def check(self, sink: StoreSink, start: int, stop: int) -> None:
        """What was delivered is every byte of the run, once, and true."""
        expected = {
            DESCRIPTOR.layout.piece_start(block.piece) + block.begin: bytes_at(block)
            for block in DESCRIPTOR.layout.blocks(start, stop)
        }
        self.assertEqual(sink.got, expected)

    async def fails(self, fetch: "Deferred[None]", kind: type[SourceError]) -> str:
        """What a fetch says that fails in this way."""
        await self.until(lambda: fetch.called)
        try:
            await fetch
        except kind as error:
            return str(error)
        raise self.failureException("the fetch did not fail")

    async def test_a_span_comes_in_any_order(self) -> None:
        _, _, source, peer = await self.link()
        sink = StoreSink()
        stop = DESCRIPTOR.layout.end
        fetch = source.fetch(Span(0, stop), sink)
        self.assertIsNotNone(sink.producer)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        for request in reversed(self.asked(peer)):
            self.give(peer, request)
        await self.give_all(peer, fetch)
        await fetch
        self.check(sink, 0, stop)
        self.assertIsNone(sink.producer)

    async def test_spans_end_inside_pieces(self) -> None:
        _, _, source, peer = await self.link()
        for start, stop in ((BLOCK, 3 * BLOCK), (PIECE - BLOCK, 2 * PIECE + BLOCK), (6 * PIECE, 7 * PIECE + BLOCK)):
            sink = StoreSink()
            fetch = source.fetch(Span(start, stop), sink)
            await self.give_all(peer, fetch)
            await fetch
            self.check(sink, start, stop)

    async def test_an_empty_span_is_through_at_once(self) -> None:
        _, _, source, _ = await self.link()
        sink = StoreSink()
        await source.fetch(Span(PIECE, PIECE), sink)
        self.assertIsNone(sink.producer)

    async def test_the_queue_grows_with_every_block(self) -> None:
        _, _, source, peer = await self.link()
        fetch = source.fetch(Span(0, DESCRIPTOR.layout.end), StoreSink())
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        self.give(peer, self.asked(peer)[0])
        await self.until(lambda: len(self.asked(peer)) == FLOOR + 1)
        await self.give_all(peer, fetch)

    async def test_concurrent_spans_share_the_queue_in_order(self) -> None:
        _, _, source, peer = await self.link()
        sinks = [StoreSink(), StoreSink()]
        spans = [Span(0, 6 * BLOCK), Span(2 * PIECE, 4 * PIECE)]
        fetches = [source.fetch(span, sink) for span, sink in zip(spans, sinks, strict=True)]
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        self.assertEqual([request.piece for request in self.asked(peer)], [0, 0, 0, 0, 1, 1, 2, 2])
        for fetch, sink, span in zip(fetches, sinks, spans, strict=True):
            await self.give_all(peer, fetch)
            await fetch
            self.check(sink, span.start, span.stop)

    async def test_one_block_is_not_asked_for_twice_at_a_time(self) -> None:
        _, _, source, peer = await self.link()
        sinks = [StoreSink(), StoreSink()]
        fetches = [source.fetch(Span(0, PIECE), sink) for sink in sinks]
        await self.until(lambda: len(self.asked(peer)) == PER_PIECE)
        await self.turn(5)
        self.assertEqual(len(self.asked(peer)), PER_PIECE)
        for fetch, sink in zip(fetches, sinks, strict=True):
            await self.give_all(peer, fetch)
            await fetch
            self.check(sink, 0, PIECE)

    async def test_cancelling_takes_requests_back_and_drops_late_blocks(self) -> None:
        _, _, source, peer = await self.link()
        sink = StoreSink()
        fetch = source.fetch(Span(0, 2 * PIECE), sink)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        late = self.asked(peer)[0]
        self.give(peer, late)
        before = dict(sink.got)
        fetch.cancel()
        await self.assertFailure(fetch, Exception)
        self.assertIsNone(sink.producer)
        await self.until(lambda: not self.asked(peer))
        self.assertEqual(sum(isinstance(event, Cancel) for event in peer.events), FLOOR - 1)
        await self.until(lambda: len(source.link.session.outstanding) == 0)
        self.assertEqual(sink.got, before)
        # The link is as good as before.
        again = StoreSink()
        fetch = source.fetch(Span(0, 2 * PIECE), again)
        await self.give_all(peer, fetch)
        await fetch
        self.check(again, 0, 2 * PIECE)

    async def test_shortened_while_nothing_of_the_tail_is_requested(self) -> None:
        _, _, source, peer = await self.link()
        span, sink = Span(0, 6 * PIECE), StoreSink()
        fetch = source.fetch(span, sink)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        source.shorten(span, 3 * PIECE)
        await self.give_all(peer, fetch)
        await fetch
        self.check(sink, 0, 3 * PIECE)
        self.assertFalse(any(isinstance(event, Cancel) for event in peer.events))

    async def test_shortened_into_what_is_requested(self) -> None:
        _, _, source, peer = await self.link()
        span, sink = Span(0, 6 * PIECE), StoreSink()
        fetch = source.fetch(span, sink)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        source.shorten(span, 2 * BLOCK)
        await self.until(lambda: len(self.asked(peer)) == 2)
        self.assertFalse(fetch.called)
        await self.give_all(peer, fetch)
        await fetch
        self.check(sink, 0, 2 * BLOCK)

    async def test_shortened_to_what_was_delivered_ends_at_once(self) -> None:
        _, _, source, peer = await self.link()
        span, sink = Span(0, 6 * PIECE), StoreSink()
        fetch = source.fetch(span, sink)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        first, second = self.asked(peer)[:2]
        self.give(peer, first)
        self.give(peer, second)
        await self.until(lambda: len(sink.got) == 2)
        source.shorten(span, 2 * BLOCK)
        self.assertTrue(fetch.called)
        await fetch
        self.check(sink, 0, 2 * BLOCK)
        source.shorten(span, BLOCK)

    async def test_a_choking_peer_takes_no_spans(self) -> None:
        _, _, source, peer = await self.link(unchoke=False)
        self.assertEqual(source.slots, 0)
        self.assertTrue(source.has(0))
        self.assertIn("chokes us", await self.fails(source.fetch(Span(0, PIECE), StoreSink()), SourceRefused))
        changes: list[int] = []
        stop = source.watch(lambda: changes.append(source.slots))
        assert peer.session is not None
        peer.session.unchoke()
        peer.flush()
        await self.until(lambda: changes)
        self.assertEqual(changes, [2])
        stop()
        stop()
        peer.session.choke()
        peer.flush()
        await self.until(lambda: not source.slots)
        self.assertEqual(changes, [2])

    async def test_choking_in_the_middle_refuses_what_is_left(self) -> None:
        _, share, source, peer = await self.link()
        sink = StoreSink()
        fetch = source.fetch(Span(0, 2 * PIECE), sink)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        self.give(peer, self.asked(peer)[0])
        assert peer.session is not None
        peer.session.choke()
        peer.flush()
        self.assertIn("chokes us", await self.fails(fetch, SourceRefused))
        self.assertEqual(len(sink.got), 1)
        await self.turn(10)
        self.assertEqual((len(source.link.session.outstanding), share.reasons), (0, []))

    async def test_who_lied_about_a_piece_refuses_it(self) -> None:
        _, share, source, peer = await self.link()
        fetch = source.fetch(Span(0, 2 * PIECE), StoreSink())
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        assert peer.session is not None
        peer.session.refuse(self.asked(peer)[3])
        peer.flush()
        said = await self.fails(fetch, SourceRefused)
        self.assertIn("will not give 16384 bytes at 49152 of piece 0", said)
        self.assertIn(source.label, said)
        await self.until(lambda: not self.asked(peer))
        self.assertEqual(share.reasons, [])

    async def test_pieces_it_does_not_have(self) -> None:
        _, _, source, peer = await self.link([0, 1])
        self.assertEqual([source.has(piece) for piece in (0, 1, 2)], [True, True, False])
        self.assertIn("piece 2", await self.fails(source.fetch(Span(0, 3 * PIECE), StoreSink()), SourceRefused))
        changes: list[bool] = []
        source.watch(lambda: changes.append(source.has(2)))
        assert peer.session is not None
        peer.session.have(2)
        peer.flush()
        await self.until(lambda: changes)
        self.assertEqual(changes, [True])

    async def test_a_piece_withdrawn_in_the_middle(self) -> None:
        _, _, source, peer = await self.link()
        sink = StoreSink()
        fetch = source.fetch(Span(0, 4 * PIECE), sink)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        assert peer.session is not None
        peer.session.forget(3)
        peer.flush()
        await self.until(lambda: not source.has(3))
        for _ in range(40):
            for request in self.asked(peer):
                self.give(peer, request)
            await self.turn()
            if fetch.called:
                break
        self.assertIn("does not have piece 3 any more", await self.fails(fetch, SourceRefused))
        self.check(sink, 0, 3 * PIECE)

    async def broken(self, *messages: Piece | Reject) -> str:
        """What the link's end says when these messages come."""
        _, share, source, peer = await self.link()
        fetch = source.fetch(Span(0, PIECE), StoreSink())
        await self.until(lambda: self.asked(peer))
        peer.session = None
        peer.say(*messages)
        said = await self.fails(fetch, SourceGone)
        await self.until(lambda: share.reasons)
        self.assertIn(share.reasons[0], said)
        self.assertTrue(source.closed)
        self.assertEqual((source.slots, source.has(0)), (0, False))
        await peer.lost
        return share.reasons[0]

    async def test_a_block_of_another_size(self) -> None:
        self.assertIn(
            "Piece with 5 bytes at 0 of piece 0; 16384 were requested", await self.broken(Piece(0, 0, b"small"))
        )

    async def test_a_block_for_another_place(self) -> None:
        self.assertIn("at 0 of piece 5, which was not requested", await self.broken(Piece(5, 0, bytes(BLOCK))))

    async def test_a_block_that_comes_twice(self) -> None:
        block = Piece(0, 0, bytes(BLOCK))
        self.assertIn("which was not requested", await self.broken(block, block))

    async def test_a_rejection_of_what_was_not_asked_for(self) -> None:
        self.assertIn("Reject of 16384 bytes at 0 of piece 5", await self.broken(Reject(5, 0, BLOCK)))

    async def test_the_link_ends(self) -> None:
        network, _, source, peer = await self.link()
        changes: list[bool] = []
        source.watch(lambda: changes.append(source.closed))
        fetch = source.fetch(Span(0, PIECE), StoreSink())
        assert peer.transport is not None
        peer.transport.loseConnection()
        self.assertIn(f"{source.label} is gone", await self.fails(fetch, SourceGone))
        self.assertEqual(changes, [True])
        self.assertIn("is gone", await self.fails(source.fetch(Span(0, PIECE), StoreSink()), SourceGone))
        await self.until(lambda: not network.links)

    async def test_the_last_blocks_in_any_order_at_once_are_all_there_at_the_end(self) -> None:
        _, _, source, peer = await self.link()
        sink = StoreSink()
        there: list[int] = []
        fetch = source.fetch(Span(0, 3 * BLOCK), sink).addCallback(lambda _: there.append(len(sink.got)))
        await self.until(lambda: len(self.asked(peer)) == 3)
        first, second, third = self.asked(peer)
        assert peer.session is not None
        for request in (first, third, second):
            peer.session.answer(request, bytes_at(request))
        peer.flush()
        await self.until(lambda: fetch.called)
        self.assertEqual(there, [3])
        self.check(sink, 0, 3 * BLOCK)

    async def test_what_came_and_was_not_read_when_it_closes_is_known_to_be_for_nothing(self) -> None:
        _, share, source, peer = await self.link()
        wasted: list[int] = []
        source.wasted = wasted.append
        sink = StoreSink()
        source.fetch(Span(0, PIECE), sink).addErrback(lambda failure: failure.trap(SourceGone))
        await self.until(lambda: len(self.asked(peer)) >= 3)
        assert sink.producer is not None
        sink.producer.pauseProducing()
        for request in self.asked(peer)[:2]:
            self.give(peer, request)
        await self.until(lambda: unread(share.links[0].transport) >= 2 * BLOCK)
        source.close()
        self.assertEqual(sink.got, {})
        self.assertTrue(2 * BLOCK <= sum(wasted) <= 2 * BLOCK + 1000, wasted)

    async def test_closing_the_source_leaves_the_link(self) -> None:
        network, share, source, _ = await self.link()
        fetch = source.fetch(Span(0, PIECE), StoreSink())
        source.close()
        source.close()
        await self.fails(fetch, SourceGone)
        self.assertTrue(source.closed)
        await self.turn(10)
        self.assertEqual((network.links, share.reasons), (1, []))

    async def test_another_source_takes_the_link(self) -> None:
        _, share, source, peer = await self.link()
        fetch = source.fetch(Span(0, PIECE), StoreSink())
        other, sink = PeerSource(share.links[0]), StoreSink()
        self.assertIn("used by another", await self.fails(fetch, SourceGone))
        fetch = other.fetch(Span(0, PIECE), sink)
        await self.give_all(peer, fetch)
        self.check(sink, 0, PIECE)

    async def test_a_silent_peer_is_stalled(self) -> None:
        _, share, source, peer = await self.link()
        fetches = [source.fetch(Span(0, PIECE), StoreSink()), source.fetch(Span(PIECE, 2 * PIECE), StoreSink())]
        await self.until(lambda: self.asked(peer))
        await self.pass_time(SNUB - 1)
        self.assertFalse(fetches[0].called)
        await self.pass_time(2)
        for fetch in fetches:
            self.assertIn("has sent nothing for 20 seconds", await self.fails(fetch, SourceStalled))
        self.assertEqual((share.reasons, source.closed, source.slots), ([], False, 1))
        # From now on it is asked for one block at a time, until one comes.
        await self.until(lambda: not self.asked(peer))
        fetch = source.fetch(Span(0, 4 * PIECE), StoreSink())
        await self.until(lambda: self.asked(peer))
        await self.turn(5)
        self.assertEqual(len(self.asked(peer)), 1)
        self.give(peer, self.asked(peer)[0])
        await self.until(lambda: len(self.asked(peer)) >= FLOOR)
        self.assertEqual(source.slots, 2)
        await self.give_all(peer, fetch)

    async def test_who_is_quick_is_late_soon(self) -> None:
        """Mean and four deviations of the times of earlier blocks, but no less than two seconds."""
        _, _, source, peer = await self.link()
        fetch = source.fetch(Span(0, DESCRIPTOR.layout.end), StoreSink())
        for _ in range(20):
            await self.until(lambda: self.asked(peer))
            self.time.advance(0.1)
            self.give(peer, self.asked(peer)[0])
            await self.turn(2)
        await self.pass_time(1)
        self.assertFalse(fetch.called)
        await self.pass_time(8)
        self.assertIn("has sent nothing", await self.fails(fetch, SourceStalled))
        self.assertEqual(source.slots, 2)

    async def test_on_our_own_network_the_queue_begins_deeper(self) -> None:
        _, share, _, peer = await self.link()
        source = PeerSource(share.links[0], lan=True)
        fetch = source.fetch(Span(0, DESCRIPTOR.layout.end), StoreSink())
        await self.until(lambda: len(self.asked(peer)) == DESCRIPTOR.layout.end // BLOCK or len(self.asked(peer)) >= 30)
        self.assertLessEqual(len(self.asked(peer)), LAN_FLOOR)
        await self.give_all(peer, fetch)

    async def test_who_chokes_us_may_allow_a_piece(self) -> None:
        _, _, source, peer = await self.link(unchoke=False)
        changes: list[int] = []
        source.watch(lambda: changes.append(source.slots))
        peer.say(AllowedFast(4))
        await self.until(lambda: changes)
        self.assertEqual((changes, list(source.hints), source.hints_only), ([1], [4], True))
        assert peer.session is not None
        peer.session.granted, peer.session._grant = frozenset({4}), PIECE
        sink = StoreSink()
        self.assertIn("chokes us", await self.fails(source.fetch(Span(0, PIECE), StoreSink()), SourceRefused))
        fetch = source.fetch(Span(4 * PIECE, 5 * PIECE), sink)
        await self.give_all(peer, fetch)
        await fetch
        self.check(sink, 4 * PIECE, 5 * PIECE)

    async def test_suggestions_are_hints(self) -> None:
        _, _, source, peer = await self.link()
        peer.say(Suggest(5), Suggest(2))
        await self.until(lambda: len(source.hints) == 2)
        self.assertEqual((list(source.hints), source.hints_only), ([5, 2], False))

    async def test_a_block_that_never_comes(self) -> None:
        _, _, source, peer = await self.link()
        sink = StoreSink()
        fetch = source.fetch(Span(0, DESCRIPTOR.layout.end), sink)
        await self.until(lambda: self.asked(peer))
        withheld = self.asked(peer)[0]
        for count in range(1, int(MOST_PATIENCE) + 1):
            self.assertFalse(fetch.called)
            await self.until(lambda: len(self.asked(peer)) > 1)
            request = next(request for request in self.asked(peer) if request != withheld)
            self.give(peer, request)
            await self.until(lambda count=count: len(sink.got) == count)  # type: ignore[misc]
            await self.pass_time(1)
        self.assertIn("owes a block for 30 seconds", await self.fails(fetch, SourceStalled))

    async def test_who_is_slow_owes_nothing_while_its_blocks_come_in_turn(self) -> None:
        _, _, source, peer = await self.link()
        sink = StoreSink()
        fetch = source.fetch(Span(0, DESCRIPTOR.layout.end), sink)
        for count in range(1, 16):
            await self.until(lambda: self.asked(peer))
            await self.pass_time(8)
            self.give(peer, self.asked(peer)[0])
            await self.until(lambda count=count: len(sink.got) == count)  # type: ignore[misc]
        self.assertFalse(fetch.called)
        await self.give_all(peer, fetch)

    async def test_time_in_which_we_did_nothing_is_not_counted(self) -> None:
        _, _, source, peer = await self.link()
        fetch = source.fetch(Span(0, PIECE), StoreSink())
        await self.until(lambda: self.asked(peer))
        self.time.advance(100)
        await self.turn(2)
        self.assertFalse(fetch.called)
        await self.give_all(peer, fetch)

    async def test_time_without_a_fetch_is_no_silence(self) -> None:
        _, _, source, peer = await self.link()
        first = source.fetch(Span(0, BLOCK), StoreSink())
        await self.give_all(peer, first)
        await self.pass_time(100, step=5)
        fetch = source.fetch(Span(0, PIECE), StoreSink())
        await self.until(lambda: self.asked(peer))
        await self.pass_time(1)
        self.assertFalse(fetch.called)
        await self.give_all(peer, fetch)

    async def test_a_sink_that_is_behind_holds_the_link(self) -> None:
        _, share, source, peer = await self.link()
        sink = StoreSink()
        fetch = source.fetch(Span(0, PIECE), sink)
        await self.until(lambda: len(self.asked(peer)) == PER_PIECE)
        assert sink.producer is not None
        sink.producer.pauseProducing()
        self.assertTrue(source.link.held)
        self.give(peer, self.asked(peer)[0])
        await self.turn(10)
        self.assertEqual(sink.got, {})
        # It is we who do not read: nobody is stalled.
        await self.pass_time(3 * SNUB)
        self.assertFalse(fetch.called)
        sink.producer.resumeProducing()
        await self.give_all(peer, fetch)
        self.check(sink, 0, PIECE)
        self.assertEqual(share.reasons, [])

    async def test_a_fetch_that_ends_lets_go_of_the_link(self) -> None:
        _, _, source, _ = await self.link()
        sink = StoreSink()
        fetch = source.fetch(Span(0, PIECE), sink)
        assert sink.producer is not None
        sink.producer.pauseProducing()
        sink.producer.stopProducing()
        await self.assertFailure(fetch, Exception)
        self.assertFalse(source.link.held)

    async def test_kind_and_label(self) -> None:
        _, share, source, _ = await self.link()
        host, port = share.links[0].address
        self.assertEqual((source.kind, source.label), (Kind.PEER, f"peer {host}:{port}"))

    async def test_an_error_in_a_fetch_is_for_its_owner_alone(self) -> None:
        _, _, source, peer = await self.link()
        good, bad = StoreSink(), StoreSink()
        first = source.fetch(Span(0, PIECE), bad)
        second = source.fetch(Span(PIECE, 2 * PIECE), good)
        errors: list[Failure] = []
        first.addErrback(errors.append)
        await self.until(lambda: len(self.asked(peer)) == FLOOR)
        assert peer.session is not None
        peer.session.refuse(self.asked(peer)[0])
        peer.flush()
        await self.until(lambda: errors)
        await self.give_all(peer, second)
        self.check(good, PIECE, 2 * PIECE)
