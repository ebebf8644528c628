"""Can anything that comes in over a connection do more harm than end that connection?"""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.wire.codec import encode
from p2sp.wire.errors import RemoteProtocolError
from p2sp.wire.extensions import OURS, Abilities, encode_abilities
from p2sp.wire.messages import RESERVED, Bitfield, Extended, Handshake, HaveAll, HaveNone, Message, Request, Unchoke
from p2sp.wire.session import Session
from p2sp.wire.speaking import REQQ
from tests.wire.support import ALICE, BOB, HASH, PIECE
from tests.wire.test_codec import messages

LAYOUT = Layout([5 * PIECE + 100], PIECE)
greeting: list[Message] = [
    Handshake(HASH, BOB, RESERVED),
    Extended(0, encode_abilities(Abilities(OURS, 20_000, 10, "hostile"))),
]
firsts: st.SearchStrategy[Message] = st.sampled_from([HaveAll(), HaveNone(), Bitfield(b"\xa0")])


def victim(known: bool) -> Session:
    session = Session()
    session.open(HASH, ALICE, layout=LAYOUT if known else None, have=[0, 1] if known else [])
    session.unchoke()
    return session


def attack(session: Session, data: bytes, seed: int) -> None:
    """Feed the bytes in pieces; only the one error may come out, and nothing may pile up."""
    rng = Random(seed)
    at = 0
    try:
        while at < len(data):
            size = rng.randint(1, 3000)
            for _ in session.receive(data[at : at + size]):
                pass
            at += size
            assert len(session.pending) <= REQQ
            session.take_outgoing()
    except RemoteProtocolError:
        return


@settings(max_examples=200)
@given(st.booleans(), firsts, st.lists(messages, max_size=12), st.integers(0, 2**32))
def test_any_messages(known: bool, first: Message, items: list[Message], seed: int) -> None:
    data = b"".join(part for message in (*greeting, first, Unchoke(), *items) for part in encode(message))
    attack(victim(known), data, seed)


@settings(max_examples=200)
@given(st.booleans(), firsts, st.lists(messages, max_size=4), st.integers(0, 2**32))
def test_damaged_messages(known: bool, first: Message, items: list[Message], seed: int) -> None:
    data = bytearray(b"".join(part for message in (*greeting, first, *items) for part in encode(message)))
    rng = Random(seed)
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    attack(victim(known), bytes(data), seed)


@given(st.booleans(), st.binary(max_size=300), st.sampled_from([0, 1, 2, 77]), st.integers(0, 2**32))
def test_extension_noise(known: bool, payload: bytes, extension: int, seed: int) -> None:
    data = b"".join(
        part for message in (*greeting, HaveNone(), Extended(extension, payload)) for part in encode(message)
    )
    attack(victim(known), data, seed)


def test_a_flood_of_requests_does_not_pile_up() -> None:
    session = victim(True)
    data = b"".join(part for message in (*greeting, HaveNone()) for part in encode(message))
    list(session.receive(data))
    session.take_outgoing()
    for begin in range(3000):
        request = Request(0, begin, BLOCK)
        list(session.receive(b"".join(encode(request))))
    assert len(session.pending) == REQQ
    assert sum(map(len, session.take_outgoing())) == 17 * 2500
