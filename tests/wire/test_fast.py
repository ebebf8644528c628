"""Are suggestions kept, and pieces that may be had while choked given and asked for as BEP 6 says?"""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.layout import Block, Layout
from p2sp.resource.merkle import BLOCK
from p2sp.wire.allowance import BYTES, MOST, allowed_fast
from p2sp.wire.errors import LocalProtocolError
from p2sp.wire.messages import AllowedFast, Cancel, Choke, Piece, Reject, Request, Suggest, Unchoke
from p2sp.wire.session import MAX_HINTS, Session
from tests.wire.support import ALICE, BOB, HASH, PIECE, exchange, said, take

LAYOUT = Layout([40 * PIECE], PIECE)
HOST = "80.4.4.200"


def newcomer(have: list[int] | None = None, *, host: str = HOST) -> tuple[Session, Session]:
    """A seed that chokes, and one that waits for it and has little."""
    seed, young = Session(), Session()
    seed.open(HASH, ALICE, layout=LAYOUT, have=range(40), host=host)
    young.open(HASH, BOB, layout=LAYOUT, have=have or [])
    exchange(seed, young)
    assert seed.remote_interested
    return seed, young


def test_the_set_is_the_one_of_the_specification() -> None:
    """The example of BEP 6: 1313 pieces, an info-hash of 0xaa, seven pieces and then nine."""
    layout = Layout([1313 * BLOCK], BLOCK)
    found = allowed_fast(HOST, b"\xaa" * 20, layout)
    assert found[:9] == [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]
    assert allowed_fast("80.4.4.1", b"\xaa" * 20, layout) == found


@given(
    st.ip_addresses(v=4), st.binary(min_size=20, max_size=20), st.integers(1, 60), st.sampled_from([1, 16, 64, 1024])
)
def test_a_set_is_bounded_and_exists(host: object, info_hash: bytes, pieces: int, blocks: int) -> None:
    layout = Layout([pieces * blocks * BLOCK], blocks * BLOCK)
    found = allowed_fast(str(host), info_hash, layout)
    assert 1 <= len(found) == len(set(found)) <= min(MOST, pieces)
    assert all(0 <= piece < pieces for piece in found)
    assert len(found) * blocks * BLOCK <= max(BYTES, blocks * BLOCK)


@pytest.mark.parametrize("host", ["::1", "2001:db8::7", "", "somewhere"])
def test_there_is_no_set_for_others(host: str) -> None:
    assert allowed_fast(host, HASH, LAYOUT) == []


def test_who_waits_is_allowed_a_few_pieces_and_gets_each_block_once() -> None:
    seed, young = newcomer()
    seed.choke()
    heard, _ = exchange(young, seed)
    expected = allowed_fast(HOST, HASH, LAYOUT)
    assert heard == [AllowedFast(piece) for piece in expected]
    assert list(young.allowed) == expected
    seed.choke()
    assert take(seed) == b""
    assert young.choked
    for piece in expected:
        assert young.may_ask(piece)
        for begin in range(0, PIECE, BLOCK):
            young.request(Block(piece, begin, BLOCK))
    _, asked = exchange(young, seed)
    assert len(asked) == MOST * PIECE // BLOCK
    for request in list(seed.pending):
        seed.answer(request, bytes(BLOCK))
    answers, _ = exchange(young, seed)
    assert Counter(map(type, answers)) == {Piece: MOST * PIECE // BLOCK}
    # What was granted is used up.
    young.request(Block(expected[0], 0, BLOCK))
    assert exchange(young, seed)[0] == [Reject(expected[0], 0, BLOCK)]


def test_other_pieces_are_not_served_to_who_is_choked() -> None:
    seed, young = newcomer()
    seed.choke()
    exchange(seed, young)
    other = next(piece for piece in range(40) if piece not in young.allowed)
    assert not young.may_ask(other)
    with pytest.raises(LocalProtocolError, match="while choked"):
        young.request(Block(other, 0, BLOCK))
    assert said(seed, Request(other, 0, BLOCK)) == []
    assert take(seed).endswith(b"\x10" + bytes(3) + bytes((other,)) + bytes(4) + BLOCK.to_bytes(4, "big"))


def test_a_request_that_is_allowed_can_be_taken_back_while_choked() -> None:
    seed, young = newcomer()
    seed.choke()
    exchange(seed, young)
    block = Block(next(iter(young.allowed)), 0, BLOCK)
    young.request(block)
    exchange(seed, young)
    assert young.cancel(block)
    to_seed, _ = exchange(seed, young)
    assert to_seed == [Cancel(block.piece, 0, BLOCK)]
    assert (len(young.outstanding), len(seed.pending)) == (0, 0)


def test_choking_rejects_what_was_pending_and_allows_nothing_to_who_has_enough() -> None:
    seed, young = newcomer(list(range(MOST)))
    seed.unchoke()
    exchange(seed, young)
    young.request(Block(20, 0, BLOCK))
    exchange(seed, young)
    seed.choke()
    assert exchange(young, seed)[0] == [Choke(), Reject(20, 0, BLOCK)]
    assert not seed.granted


def test_only_what_we_have_and_they_lack_is_allowed() -> None:
    usual = allowed_fast(HOST, HASH, LAYOUT)
    half, young = Session(), Session()
    half.open(HASH, ALICE, layout=LAYOUT, have=usual[:5], host=HOST)
    young.open(HASH, BOB, layout=LAYOUT, have=usual[:1])
    exchange(half, young)
    half.choke()
    exchange(half, young)
    assert list(young.allowed) == usual[1:5]
    young.have(usual[1])
    assert list(young.allowed) == usual[2:5]


def test_suggestions_are_kept_within_bounds_and_until_we_have_the_piece() -> None:
    layout = Layout([200 * PIECE], PIECE)
    seed, young = Session(), Session()
    seed.open(HASH, ALICE, layout=layout, have=range(200))
    young.open(HASH, BOB, layout=layout, have=[7])
    exchange(seed, young)
    assert said(young, Suggest(7)) == []
    assert said(young, Suggest(9)) == [Suggest(9)]
    assert said(young, Suggest(9)) == []
    for piece in range(10, 200):
        said(young, Suggest(piece))
    assert list(young.suggested) == list(range(9, 9 + MAX_HINTS))
    young.have(9)
    assert 9 not in young.suggested


def test_hints_of_pieces_that_do_not_exist_go_when_the_descriptor_comes() -> None:
    seed, young = Session(), Session()
    seed.open(HASH, ALICE, layout=LAYOUT, have=range(40))
    young.open(HASH, BOB)
    exchange(seed, young)
    for message in (Suggest(39), Suggest(40), AllowedFast(5), AllowedFast(2**31)):
        assert said(young, message) == [message]
    young.describe(LAYOUT, 100)
    assert (list(young.suggested), list(young.allowed)) == ([39], [5])


def test_unchoking_lets_everything_in() -> None:
    seed, young = newcomer()
    seed.choke()
    exchange(seed, young)
    seed.unchoke()
    assert exchange(young, seed)[0] == [Unchoke()]
    assert all(map(young.may_ask, range(40)))
