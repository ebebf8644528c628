"""Does a session keep every rule of the peer protocol, and hold the other side to them?"""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.resource.layout import Block, Layout
from p2sp.resource.merkle import BLOCK
from p2sp.wire.codec import encode
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
from p2sp.wire.extensions import (
    DONT_HAVE,
    METADATA,
    OURS,
    Abilities,
    DontHave,
    MetadataPart,
    MetadataReject,
    MetadataRequest,
    encode_abilities,
    encode_dont_have,
    encode_metadata,
)
from p2sp.wire.messages import (
    RESERVED,
    AllowedFast,
    Bitfield,
    Cancel,
    Choke,
    Extended,
    Handshake,
    Hashes,
    HashReject,
    HashRequest,
    Have,
    HaveAll,
    HaveNone,
    Interested,
    KeepAlive,
    Message,
    NotInterested,
    Piece,
    Reject,
    Request,
    Suggest,
    Unchoke,
)
from p2sp.wire.pex import Neighbour, Neighbours
from p2sp.wire.session import Event, Session
from p2sp.wire.speaking import REQQ
from tests.wire.support import ALICE, BOB, HASH, PIECE, exchange, pair, said, take

LAYOUT = Layout([5 * PIECE + 100], PIECE)
FIRST = Block(0, 0, BLOCK)
HELLO = Handshake(HASH, BOB, RESERVED)
RUN = HashRequest(b"r" * 32, 2, 0, 2, 0)


def heard(session: Session, *messages: Message) -> list[Event]:
    return [event for message in messages for event in said(session, message)]


def fresh(*messages: Message, layout: Layout | None = LAYOUT, have: list[int] | None = None) -> Session:
    """A session whose other side is the test, and has said its handshakes and these messages."""
    session = Session()
    session.open(HASH, ALICE, layout=layout, have=have or [])
    heard(session, HELLO, Extended(0, encode_abilities(Abilities(OURS, 100, 10, "test"))), *messages)
    take(session)
    return session


def sends(*messages: Message) -> bytes:
    return b"".join(part for message in messages for part in encode(message))


# Beginning.


def test_the_listener_opens_on_the_handshake() -> None:
    one, other = Session(), Session()
    one.open(HASH, ALICE, layout=LAYOUT, have=range(6), metadata_size=123)
    hello = other.receive(take(one))
    assert next(hello) == Handshake(HASH, ALICE, RESERVED)
    other.open(HASH, BOB, layout=LAYOUT, have=[1, 5])
    assert list(hello) == []
    to_one, to_other = exchange(one, other)
    assert to_one == [HELLO, Abilities(OURS, None, REQQ, "p2sp"), Bitfield(b"\x44"), Interested()]
    assert to_other == [Abilities(OURS, 123, REQQ, "p2sp"), HaveAll()]
    assert (set(one.pieces), set(other.pieces)) == ({1, 5}, set(range(6)))
    assert (one.interested, other.interested, one.remote_interested) == (False, True, True)


def test_an_incoming_connection_that_is_not_opened_cannot_go_on() -> None:
    with pytest.raises(LocalProtocolError, match="not opened"):
        heard(Session(), HELLO)


@pytest.mark.parametrize(
    ("hello", "fault"),
    [
        (Handshake(b"x" * 20, BOB, RESERVED), "for another resource"),
        (Handshake(HASH, BOB, b"\0\0\0\0\0\x10\0\0"), "fast extension"),
        (Handshake(HASH, BOB, b"\0\0\0\0\0\0\0\x04"), "BEP 10"),
    ],
)
def test_handshakes_refused(hello: Handshake, fault: str) -> None:
    session = Session()
    session.open(HASH, ALICE, layout=LAYOUT)
    with pytest.raises(RemoteProtocolError, match=fault):
        heard(session, hello)


@pytest.mark.parametrize(
    ("have", "first"), [([], HaveNone()), (range(6), HaveAll()), ([0], Bitfield(b"\x80")), ([5], Bitfield(b"\x04"))]
)
def test_what_we_have_is_said_first(have: list[int], first: Message) -> None:
    session = Session()
    session.open(HASH, ALICE, layout=LAYOUT, have=have)
    take(session)
    heard(session, HELLO)
    assert take(session).endswith(sends(first))


# What the other side must not do.

ABILITIES = Extended(0, encode_abilities(Abilities()))


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([Have(0)], "Have before Bitfield"),
        ([Unchoke()], "Unchoke before Bitfield"),
        ([Request(0, 0, BLOCK)], "Request before Bitfield"),
        ([Piece(0, 0, b"x")], "Piece before Bitfield"),
        ([RUN], "HashRequest before Bitfield"),
        ([Extended(OURS[DONT_HAVE], encode_dont_have(0))], "Extended before Bitfield"),
        ([HaveNone(), HaveAll()], "HaveAll is only allowed first"),
        ([HaveNone(), Have(1), Bitfield(b"\x80")], "Bitfield is only allowed first"),
        ([Bitfield(b"\x80\x00")], "bitfield of 2 bytes for 6 pieces"),
        ([Bitfield(b"\x81")], "beyond the 6"),
        ([HaveNone(), Have(6)], "Have: piece 6 of 6"),
        ([HaveNone(), Suggest(6)], "Suggest of piece 6; there are 6"),
        ([HaveNone(), AllowedFast(99)], "AllowedFast of piece 99"),
        ([HaveNone(), Request(6, 0, BLOCK)], "Request of piece 6"),
        ([HaveNone(), Request(0, 0, 0)], "Request for 0 bytes"),
        ([HaveNone(), Request(0, 0, BLOCK + 1)], "Request for 16385 bytes"),
        ([HaveNone(), Request(0, PIECE - 1, 2)], "Request for 2 bytes at 65535 of piece 0, which has 65536"),
        ([HaveNone(), Request(5, 0, 101)], "of piece 5, which has 100"),
        ([HaveNone(), Request(0, 2**32 - 1, BLOCK)], "Request for 16384 bytes at 4294967295"),
        ([HaveNone(), Piece(0, 0, bytes(BLOCK))], "16384 bytes at 0 of piece 0, which was not requested"),
        ([HaveNone(), Reject(0, 0, BLOCK)], "Reject of 16384 bytes at 0 of piece 0, which was not requested"),
        ([HaveNone(), Hashes(b"r" * 32, 2, 0, 2, 0, b"")], "Hashes that was not requested"),
        ([HaveNone(), HashReject(b"r" * 32, 2, 0, 2, 0)], "HashReject that was not requested"),
        ([Extended(OURS[METADATA], encode_metadata(MetadataPart(0, 100, bytes(100))))], "MetadataPart 0 that was not"),
        ([Extended(OURS[METADATA], encode_metadata(MetadataReject(0)))], "MetadataReject 0 that was not"),
        ([Extended(OURS[METADATA], b"rubbish")], "holds no part"),
        ([Extended(0, b"rubbish")], "no bencoded dictionary"),
        ([HaveNone(), Extended(OURS[DONT_HAVE], b"abc")], "lt_donthave of 3 bytes"),
        ([HaveNone(), Extended(OURS[DONT_HAVE], encode_dont_have(6))], "DontHave of piece 6"),
    ],
)
def test_rules(messages: list[Message], fault: str) -> None:
    session = fresh()
    with pytest.raises(RemoteProtocolError, match=fault):
        heard(session, *messages)


def test_asking_twice_for_a_block_not_answered_yet() -> None:
    session = fresh(HaveNone(), have=[0])
    session.unchoke()
    heard(session, Request(0, 0, BLOCK))
    with pytest.raises(RemoteProtocolError, match="Request for 16384 bytes at 0 of piece 0 twice"):
        heard(session, Request(0, 0, BLOCK))


def test_what_does_not_matter_is_passed_over() -> None:
    session = fresh(HaveAll())
    assert heard(session, KeepAlive(), Extended(77, b"?"), Have(1), Cancel(0, 0, 1)) == []
    assert heard(session, Choke(), NotInterested()) == []


# Requests that we make.


def test_a_block_is_asked_for_and_comes() -> None:
    one, other = pair(LAYOUT, [], range(6))
    one.request(FIRST)
    assert FIRST in one.outstanding
    _, to_other = exchange(one, other)
    assert to_other == [Request(0, 0, BLOCK)]
    assert other.answer(Request(0, 0, BLOCK), bytes(BLOCK))
    assert not other.answer(Request(0, 0, BLOCK), bytes(BLOCK))
    assert exchange(one, other)[0] == [Piece(0, 0, bytes(BLOCK))]
    assert (len(one.outstanding), len(other.pending)) == (0, 0)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1])
def test_a_block_of_another_size(size: int) -> None:
    session = fresh(HaveAll(), Unchoke())
    session.request(FIRST)
    with pytest.raises(RemoteProtocolError, match=f"Piece with {size} bytes at 0 of piece 0; 16384 were requested"):
        heard(session, Piece(0, 0, bytes(size)))


def test_a_block_for_another_place() -> None:
    session = fresh(HaveAll(), Unchoke())
    session.request(FIRST)
    with pytest.raises(RemoteProtocolError, match="16384 bytes at 16384 of piece 0, which was not requested"):
        heard(session, Piece(0, BLOCK, bytes(BLOCK)))


def test_a_block_comes_only_once() -> None:
    session = fresh(HaveAll(), Unchoke())
    session.request(FIRST)
    heard(session, Piece(0, 0, bytes(BLOCK)))
    with pytest.raises(RemoteProtocolError, match="not requested"):
        heard(session, Piece(0, 0, bytes(BLOCK)))


@pytest.mark.parametrize("answer", [Piece(0, 0, bytes(BLOCK)), Reject(0, 0, BLOCK)])
def test_a_cancelled_request_is_still_answered_but_not_heard_of(answer: Message) -> None:
    session = fresh(HaveAll(), Unchoke())
    session.request(FIRST)
    take(session)
    assert session.cancel(FIRST)
    assert not session.cancel(FIRST)
    assert take(session) == sends(Cancel(0, 0, BLOCK))
    assert session.room == 9
    assert heard(session, answer) == []
    assert session.room == 10
    with pytest.raises(RemoteProtocolError, match="not requested"):
        heard(session, answer)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([Reject(0, 0, BLOCK), Piece(0, 0, bytes(BLOCK))], Piece(0, 0, bytes(BLOCK))),
        ([Piece(0, 0, bytes(BLOCK)), Reject(0, 0, BLOCK)], Piece(0, 0, bytes(BLOCK))),
        ([Piece(0, 0, bytes(BLOCK)), Piece(0, 0, bytes(BLOCK))], Piece(0, 0, bytes(BLOCK))),
        ([Reject(0, 0, BLOCK), Reject(0, 0, BLOCK)], Reject(0, 0, BLOCK)),
    ],
)
def test_a_block_asked_for_again_after_its_cancellation(answers: list[Message], outcome: Message) -> None:
    session = fresh(HaveAll(), Unchoke())
    session.request(FIRST)
    session.cancel(FIRST)
    session.request(FIRST)
    assert heard(session, *answers) == [outcome]
    assert len(session.outstanding) == 0


def test_while_choked_nothing_is_asked_for_and_nothing_cancelled_aloud() -> None:
    session = fresh(HaveAll(), Unchoke())
    session.request(FIRST)
    assert heard(session, Choke()) == [Choke()]
    with pytest.raises(LocalProtocolError, match="while choked"):
        session.request(Block(1, 0, BLOCK))
    take(session)
    assert session.cancel(FIRST)
    assert take(session) == b""
    assert heard(session, Reject(0, 0, BLOCK)) == []


def test_requests_that_must_not_be_made() -> None:
    session = fresh(Bitfield(b"\x80"), Unchoke())
    with pytest.raises(LocalProtocolError, match="piece 1, which the other side does not have"):
        session.request(Block(1, 0, BLOCK))
    session.request(FIRST)
    with pytest.raises(LocalProtocolError, match="twice"):
        session.request(FIRST)
    full = fresh(HaveAll(), Unchoke())
    for number in range(10):
        full.request(Block(number // 4, number % 4 * BLOCK, BLOCK))
    assert full.room == 0
    with pytest.raises(LocalProtocolError, match="queue"):
        full.request(Block(4, 0, BLOCK))


# Requests that we answer.


def serving(have: list[int] | None = None) -> Session:
    session = fresh(HaveNone(), have=[0, 1] if have is None else have)
    session.unchoke()
    take(session)
    return session


def test_what_we_cannot_or_will_not_give_is_rejected_at_once() -> None:
    session = serving()
    assert heard(session, Request(2, 0, BLOCK)) == []
    assert take(session) == sends(Reject(2, 0, BLOCK))
    choking = fresh(HaveNone(), have=[0])
    assert heard(choking, Request(0, 0, BLOCK)) == []
    assert take(choking) == sends(Reject(0, 0, BLOCK))
    unknown = fresh(HaveNone(), layout=None)
    unknown.unchoke()
    take(unknown)
    assert heard(unknown, Request(9, 1, 2**31)) == []
    assert take(unknown) == sends(Reject(9, 1, 2**31))


def test_requests_beyond_the_queue_are_rejected() -> None:
    session = Session(reqq=2)
    session.open(HASH, ALICE, layout=LAYOUT, have=[0])
    heard(session, HELLO, HaveNone())
    session.unchoke()
    take(session)
    wanted = [Request(0, at * BLOCK, BLOCK) for at in range(3)]
    assert heard(session, *wanted) == wanted[:2]
    assert take(session) == sends(Reject(0, 2 * BLOCK, BLOCK))


def test_cancelled_requests_are_rejected_once() -> None:
    session = serving()
    request = Request(0, 0, BLOCK)
    heard(session, request)
    assert heard(session, Cancel(0, 0, BLOCK)) == [Cancel(0, 0, BLOCK)]
    assert take(session) == sends(Reject(0, 0, BLOCK))
    assert not session.answer(request, bytes(BLOCK))
    assert not session.refuse(request)
    assert take(session) == b""


def test_choking_rejects_what_is_pending() -> None:
    session = serving()
    heard(session, Request(0, 0, BLOCK), Request(1, 0, BLOCK))
    session.choke()
    session.choke()
    assert take(session) == sends(Choke(), Reject(0, 0, BLOCK), Reject(1, 0, BLOCK))


def test_a_forgotten_piece_is_withdrawn_and_its_requests_rejected() -> None:
    session = serving()
    heard(session, Request(0, 0, BLOCK), Request(1, 0, BLOCK))
    session.forget(0)
    session.forget(0)
    expected = sends(Extended(OURS[DONT_HAVE], encode_dont_have(0)), Reject(0, 0, BLOCK))
    assert take(session) == expected
    assert Request(1, 0, BLOCK) in session.pending


def test_what_is_forgotten_before_the_other_side_says_what_it_speaks_is_withdrawn_then() -> None:
    one, other = Session(), Session()
    one.open(HASH, ALICE, layout=LAYOUT, have=range(6))
    heard(one, HELLO)
    one.forget(2)
    one.forget(4)
    one.have(4)
    other.open(HASH, BOB, layout=LAYOUT)
    list(other.receive(take(one)))
    heard(one, Extended(0, encode_abilities(Abilities(OURS))))
    assert list(other.receive(take(one))) == [DontHave(2)]
    assert set(other.pieces) == {0, 1, 3, 4, 5}


def test_an_answer_of_the_wrong_size_is_our_fault() -> None:
    session = serving()
    heard(session, Request(0, 0, BLOCK))
    with pytest.raises(LocalProtocolError, match="1 bytes for a request of 16384"):
        session.answer(Request(0, 0, BLOCK), b"x")


# Pieces and interest.


def test_interest_follows_what_the_other_side_has() -> None:
    one, other = pair(LAYOUT, [0], [0])
    assert not one.interested
    other.have(3)
    other.have(3)
    assert exchange(one, other) == ([Have(3)], [Interested()])
    one.have(3)
    assert set(exchange(one, other)[1]) == {NotInterested(), Have(3)}
    assert not one.interested
    assert not other.interested
    one.have(4)
    exchange(one, other)
    assert other.interested
    one.forget(4)
    to_one, to_other = exchange(one, other)
    assert to_other == [DontHave(4)]
    assert to_one == [NotInterested()]
    assert 4 not in other.pieces


def test_who_does_not_seek_is_not_interested() -> None:
    one, other = pair(LAYOUT, [], range(6))
    assert one.interested
    one.seek(False)
    assert exchange(one, other)[1] == [NotInterested()]
    one.seek(True)
    assert exchange(one, other)[1] == [Interested()]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["have", "forget"]), st.booleans(), st.integers(0, 5)), max_size=30))
def test_interest_is_always_right(steps: list[tuple[str, bool, int]]) -> None:
    one, other = pair(LAYOUT)
    for what, at_one, piece in steps:
        side = one if at_one else other
        (side.have if what == "have" else side.forget)(piece)
        exchange(one, other)
        assert set(one.pieces) == set(other.ours)
        assert one.interested == bool(set(other.ours) - set(one.ours)) == other.remote_interested
        assert other.interested == bool(set(one.ours) - set(other.ours)) == one.remote_interested


# Before the descriptor is known.


def test_pieces_announced_before_the_descriptor() -> None:
    one, other = pair(None)
    assert not one.interested
    early = fresh(Bitfield(b"\x80"), layout=None)
    assert early.interested
    heard(early, Have(4))
    early.describe(LAYOUT, 100)
    assert set(early.pieces) == {0, 4}
    assert not early.pieces.full
    early.have(0)
    early.have(4)
    assert not early.interested
    assert other.layout is None


def test_describing_announces_metadata_and_pieces() -> None:
    session = fresh(HaveAll(), layout=None)
    session.describe(LAYOUT, 100, have=[2])
    assert take(session) == sends(Extended(0, encode_abilities(Abilities(OURS, 100, REQQ, "p2sp"))), Have(2))
    assert session.pieces.full
    with pytest.raises(LocalProtocolError, match="already"):
        session.describe(LAYOUT, 100)


def test_claims_that_do_not_fit_the_descriptor() -> None:
    session = fresh(HaveNone(), Have(6), layout=None)
    with pytest.raises(RemoteProtocolError, match="do not exist"):
        session.describe(LAYOUT, 100)


# Metadata and hashes.


def test_metadata_is_asked_for_and_given() -> None:
    one, other = Session(), Session()
    one.open(HASH, ALICE)
    other.open(HASH, BOB, layout=LAYOUT, metadata_size=BLOCK + 5)
    exchange(one, other)
    assert one.metadata_offered == BLOCK + 5
    assert other.metadata_offered is None
    one.ask_metadata(1)
    assert exchange(one, other)[1] == [MetadataRequest(1)]
    other.give_metadata(1, b"12345")
    assert exchange(one, other)[0] == [MetadataPart(1, BLOCK + 5, b"12345")]
    one.ask_metadata(0)
    with pytest.raises(LocalProtocolError, match="twice"):
        one.ask_metadata(0)
    exchange(one, other)
    other.give_metadata(0, None)
    assert exchange(one, other)[0] == [MetadataReject(0)]
    for part in (2, -1):
        with pytest.raises(LocalProtocolError, match="cannot be asked for"):
            one.ask_metadata(part)
    with pytest.raises(LocalProtocolError, match="cannot be asked for"):
        other.ask_metadata(0)


def test_metadata_we_do_not_have_is_rejected() -> None:
    session = fresh(HaveNone())
    assert heard(session, Extended(OURS[METADATA], encode_metadata(MetadataRequest(0)))) == []
    assert take(session) == sends(Extended(OURS[METADATA], encode_metadata(MetadataReject(0))))


def test_hashes_are_asked_for_and_given() -> None:
    one, other = pair(LAYOUT)
    one.ask_hashes(RUN)
    with pytest.raises(LocalProtocolError, match="twice"):
        one.ask_hashes(RUN)
    assert exchange(one, other)[1] == [RUN]
    other.give_hashes(RUN, b"x" * 64)
    (answer,) = exchange(one, other)[0]
    assert isinstance(answer, Hashes)
    assert answer.request == RUN
    one.ask_hashes(RUN)
    exchange(one, other)
    other.give_hashes(RUN, None)
    (refusal,) = exchange(one, other)[0]
    assert isinstance(refusal, HashReject)
    assert refusal.request == RUN


# All together.

ACTIONS: list[Callable[[Session, int], object]] = [
    lambda session, n: session.have(n % 6),
    lambda session, n: session.forget(n % 6),
    lambda session, n: session.choke(),
    lambda session, n: session.unchoke(),
    lambda session, n: session.request(Block(n % 5, n % 4 * BLOCK, BLOCK)),
    lambda session, n: session.cancel(Block(n % 5, n % 4 * BLOCK, BLOCK)),
    lambda session, n: [session.answer(request, bytes(request.length)) for request in session.pending],
    lambda session, n: session.keep_alive(),
    lambda session, n: session.tell_of_others(Neighbours((Neighbour("10.0.0.1", n + 1),)), {}),
    lambda session, n: session.seek(bool(n % 2)),
    lambda session, n: session.ask_hashes(HashRequest(b"r" * 32, 2, n, 2, 0)),
]


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, len(ACTIONS) - 1), st.integers(0, 40), st.booleans()), max_size=60)
)
def test_two_sides_that_keep_the_rules_never_quarrel(steps: list[tuple[bool, int, int, bool]]) -> None:
    """Whatever they do, and however long their bytes are under way: no RemoteProtocolError."""
    one, other = pair(LAYOUT, [0, 1], [2, 3], host="10.0.0.2")
    for at_one, action, number, carry in steps:
        try:
            ACTIONS[action](one if at_one else other, number)
        except LocalProtocolError:
            continue
        if carry:
            sender, receiver = (one, other) if at_one else (other, one)
            list(receiver.receive(take(sender)))
    exchange(one, other)
    for session in (one, other):
        for request in session.pending:
            session.refuse(request)
    exchange(one, other)
    assert (len(one.outstanding), len(other.outstanding), len(one.pending), len(other.pending)) == (0, 0, 0, 0)
    assert (one.choked, other.choked) == (other.choking, one.choking)
