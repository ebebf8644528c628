"""Do two sides that keep the rules understand each other, however their bytes are cut and however long they travel?"""

from collections import Counter
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2sp.resource.layout import Block, Layout
from p2sp.resource.merkle import BLOCK
from p2sp.wire.errors import LocalProtocolError
from p2sp.wire.extensions import MetadataPart, MetadataReject, MetadataRequest
from p2sp.wire.messages import Hashes, HashReject, HashRequest, Piece, Reject, Request
from p2sp.wire.pex import Neighbour, Neighbours
from p2sp.wire.session import Event, Session
from p2sp.wire.speaking import REQQ
from tests.wire.support import ALICE, BOB, HASH, take

LAYOUT = Layout([5 * 2 * BLOCK - 7, 2 * BLOCK], 2 * BLOCK)
PIECES = LAYOUT.piece_count
INFO = 2 * BLOCK + 9
sides = st.sampled_from([0, 1])
pieces = st.integers(0, PIECES - 1)
blocks = st.sampled_from(list(LAYOUT.blocks(0, LAYOUT.end)))


class Side:
    """One end: its session, what is on the way from it, and what it has asked for and not taken back."""

    def __init__(self, name: bytes, *, described: bool, have: set[int]) -> None:
        self.session = Session()
        self.have = have if described else set()
        self.described = described
        self.sent = b""
        self.wanted: set[Block] = set()
        self.answered: Counter[str] = Counter()
        self.questions: Counter[str] = Counter()
        self.session.open(
            HASH,
            name,
            layout=LAYOUT if described else None,
            have=self.have,
            metadata_size=INFO if described else None,
            host="192.0.2.1",
            port=6881,
        )

    def heard(self, event: Event) -> None:
        """What came from the other side must have been wanted; a question is answered here and now, or later."""
        match event:
            case Piece(piece, begin, data):
                self.wanted.remove(Block(piece, begin, len(data)))
            case Reject(piece, begin, length):
                self.wanted.remove(Block(piece, begin, length))
            case MetadataRequest(part):
                self.session.give_metadata(part, bytes(min(BLOCK, INFO - part * BLOCK)) if part != 1 else None)
            case HashRequest():
                self.session.give_hashes(event, bytes(64) if event.index % 4 else None)
            case MetadataPart() | MetadataReject():
                self.answered["parts"] += 1
            case Hashes() | HashReject():
                self.answered["hashes"] += 1
            case Request():
                assert event in self.session.pending


class TwoSides(RuleBasedStateMachine):
    """Two sessions and the bytes between them."""

    @initialize(one=st.sets(pieces), other=st.sets(pieces), described=st.booleans())
    def begin(self, one: set[int], other: set[int], described: bool) -> None:
        """Both open and join; one of them may lack the descriptor."""
        self.ends = [Side(ALICE, described=True, have=one), Side(BOB, described=described, have=other)]
        self.all_bytes_arrive()

    def carry(self, side: int, count: int) -> None:
        """Some of the bytes that are on the way arrive."""
        sender, receiver = self.ends[side], self.ends[1 - side]
        sender.sent += take(sender.session)
        part, sender.sent = sender.sent[:count], sender.sent[count:]
        for event in receiver.session.receive(part):
            receiver.heard(event)

    @rule(side=sides, count=st.one_of(st.integers(1, 100), st.integers(1, 3 * BLOCK)))
    def some_bytes_arrive(self, side: int, count: int) -> None:
        self.carry(side, count)

    @rule()
    def all_bytes_arrive(self) -> None:
        while any(end.sent or self._more(end) for end in self.ends):
            for side in (0, 1):
                self.carry(side, 1 << 30)

    def _more(self, end: Side) -> bool:
        end.sent += take(end.session)
        return bool(end.sent)

    @rule(side=sides, block=blocks)
    def ask(self, side: int, block: Block) -> None:
        end = self.ends[side]
        if end.described:
            with suppress(LocalProtocolError):
                end.session.request(block)
                end.wanted.add(block)

    @rule(side=sides, block=blocks)
    def take_back(self, side: int, block: Block) -> None:
        if self.ends[side].session.cancel(block):
            self.ends[side].wanted.remove(block)

    @rule(side=sides, served=st.booleans(), count=st.integers(1, 5))
    def answer(self, side: int, served: bool, count: int) -> None:
        session = self.ends[side].session
        for request in list(session.pending)[:count]:
            session.answer(request, bytes(request.length)) if served else session.refuse(request)

    @rule(side=sides, choke=st.booleans())
    def change_mind(self, side: int, choke: bool) -> None:
        session = self.ends[side].session
        session.choke() if choke else session.unchoke()

    @rule(side=sides, piece=pieces)
    def gain(self, side: int, piece: int) -> None:
        if self.ends[side].described:
            self.ends[side].session.have(piece)
            self.ends[side].have.add(piece)

    @rule(side=sides, piece=pieces)
    def lose(self, side: int, piece: int) -> None:
        if self.ends[side].described:
            self.ends[side].session.forget(piece)
            self.ends[side].have.discard(piece)

    @rule(have=st.sets(pieces))
    def learn(self, have: set[int]) -> None:
        end = self.ends[1]
        if not end.described:
            end.session.describe(LAYOUT, INFO, have)
            end.described, end.have = True, set(have)

    @rule(side=sides, part=st.integers(0, 3))
    def ask_for_metadata(self, side: int, part: int) -> None:
        with suppress(LocalProtocolError):
            self.ends[side].session.ask_metadata(part)
            self.ends[side].questions["parts"] += 1

    @rule(side=sides, index=st.integers(0, 9))
    def ask_for_hashes(self, side: int, index: int) -> None:
        session = self.ends[side].session
        if session.abilities is not None:
            with suppress(LocalProtocolError):
                session.ask_hashes(HashRequest(b"r" * 32, 1, index, 2, 0))
                self.ends[side].questions["hashes"] += 1

    @rule(side=sides, seeking=st.booleans())
    def seek(self, side: int, seeking: bool) -> None:
        self.ends[side].session.seek(seeking)

    @rule(side=sides, port=st.integers(1, 9))
    def talk_of_others(self, side: int, port: int) -> None:
        self.ends[side].session.tell_of_others(Neighbours((Neighbour("192.0.2.9", port, "ab" * 32),)), {})

    @invariant()
    def bounds_hold(self) -> None:
        for end in getattr(self, "ends", ()):
            assert len(end.session.outstanding) <= REQQ
            assert len(end.session.pending) <= REQQ

    def teardown(self) -> None:
        """At the end everything was answered, and both sides believe the same."""
        if not hasattr(self, "ends"):
            return
        self.all_bytes_arrive()
        for end in self.ends:
            for request in end.session.pending:
                end.session.refuse(request)
        self.all_bytes_arrive()
        for end, other in (self.ends, self.ends[::-1]):
            assert not end.wanted
            assert len(end.session.outstanding) == len(end.session.pending) == 0
            assert end.answered == end.questions
            assert end.session.choked == other.session.choking
            assert end.session.interested == other.session.remote_interested
            if end.described and other.described:
                assert {piece for piece in range(PIECES) if piece in end.session.pieces} == other.have


TwoSides.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_two_sides = TwoSides.TestCase
