"""How do the bytes of one input become a life of a session: messages of a stranger, and wishes of our own?"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from p2sp.resource.layout import Block, Layout
from p2sp.resource.merkle import BLOCK
from p2sp.wire.codec import Decoder, encode
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
from p2sp.wire.extensions import OURS, PEX, Abilities, encode_abilities
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
from p2sp.wire.session import Session
from p2sp.wire.speaking import REQQ
from tests.wire.support import ALICE, BOB, HASH

LAYOUT: Final = Layout([4 * BLOCK + 100, 3 * 2 * BLOCK], 2 * BLOCK)
ROOT: Final = b"r" * 32


class Reader:
    """An input that never ends: behind its last byte there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def more(self) -> bool:
        """Whether there is more than zeros."""
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self, size: int) -> int:
        """The next number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def take(self, size: int) -> bytes:
        """The next bytes, fewer at the end."""
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        """All that is left."""
        at, self._at = self._at, len(self._data)
        return self._data[at:]


def _block(reader: Reader) -> tuple[int, int, int]:
    """Piece, begin and length: mostly such as exist."""
    way = reader.byte()
    if way == 255:
        return reader.number(4), reader.number(4), reader.number(4)
    piece = way % 8
    at = reader.byte()
    length = BLOCK if at & 0x80 else 100 if at & 0x40 else at & 0x3F
    return piece, (at & 1) * BLOCK, length


def _piece(piece: int, begin: int, length: int) -> Piece:
    return Piece(piece, begin, bytes(min(length, BLOCK)))


def _run(reader: Reader) -> HashRequest:
    return HashRequest(ROOT, reader.byte() % 3, reader.byte(), 2, reader.byte() % 4)


STRANGER: Final[list[Callable[[Reader], Message]]] = [
    lambda reader: Request(*_block(reader)),
    lambda reader: Cancel(*_block(reader)),
    lambda reader: Reject(*_block(reader)),
    lambda reader: _piece(*_block(reader)),
    lambda reader: Have(reader.byte()),
    lambda reader: Suggest(reader.byte()),
    lambda reader: AllowedFast(reader.byte()),
    lambda reader: Choke(),
    lambda reader: Unchoke(),
    lambda reader: Interested(),
    lambda reader: NotInterested(),
    lambda reader: HaveAll(),
    lambda reader: HaveNone(),
    lambda reader: Bitfield(reader.take(reader.byte() % 3)),
    lambda reader: KeepAlive(),
    lambda reader: Extended(reader.byte() % 8, reader.take(reader.byte())),
    lambda reader: Extended(
        0, encode_abilities(Abilities(OURS, reader.number(2) or None, reader.number(2) or 1, "fuzz"))
    ),
    lambda reader: _run(reader),
    lambda reader: HashReject(*_fields(_run(reader))),
    lambda reader: Hashes(*_fields(_run(reader)), reader.take(64)),
    lambda reader: Handshake(HASH, BOB, RESERVED),
    lambda reader: Extended(OURS[PEX], b"d5:added6:" + reader.take(6) + b"e"),
]


def _fields(run: HashRequest) -> tuple[bytes, int, int, int, int]:
    return run.root, run.base, run.index, run.length, run.proof


WISHES: Final[list[Callable[[Session, Reader], object]]] = [
    lambda session, reader: session.request(Block(*_block(reader))),
    lambda session, reader: session.cancel(Block(*_block(reader))),
    lambda session, reader: session.have(reader.byte() % 6),
    lambda session, reader: session.forget(reader.byte() % 6),
    lambda session, reader: session.choke(),
    lambda session, reader: session.unchoke(),
    lambda session, reader: [session.answer(each, bytes(each.length)) for each in session.pending],
    lambda session, reader: [session.refuse(each) for each in session.pending],
    lambda session, reader: session.seek(bool(reader.byte() & 1)),
    lambda session, reader: session.keep_alive(),
    lambda session, reader: session.ask_metadata(reader.byte() % 4),
    lambda session, reader: session.give_metadata(reader.byte() % 4, reader.take(4)),
    lambda session, reader: session.ask_hashes(_run(reader)),
    lambda session, reader: session.give_hashes(_run(reader), bytes(64)),
    lambda session, reader: session.describe(LAYOUT, 312, [0, 1]),
    lambda session, reader: session.tell_of_others(Neighbours((Neighbour("127.0.0.1", 1 + reader.byte()),)), {}),
]


class Books:
    """What was asked for in both directions, to be compared with the answers."""

    def __init__(self) -> None:
        self.theirs: Counter[tuple[int, int, int]] = Counter()
        self.ours: set[tuple[int, int, int]] = set()
        self._into, self._out = Decoder(), Decoder()

    def fed(self, data: bytes) -> None:
        """What the session is about to hear, as far as it can be read."""
        try:
            for message in self._into.feed(data):
                if isinstance(message, Request):
                    self.theirs[message.piece, message.begin, message.length] += 1
        except RemoteProtocolError:
            return

    def heard(self, event: object) -> None:
        """Something the session gave out: a block must have been wanted."""
        match event:
            case Piece(piece, begin, data):
                self.ours.remove((piece, begin, len(data)))
            case Reject(piece, begin, length):
                self.ours.remove((piece, begin, length))

    def said(self, session: Session) -> None:
        """Read what the session says as the other side would: every request is answered at most once."""
        for part in session.take_outgoing():
            for message in self._out.feed(bytes(part)):
                match message:
                    case Piece(piece, begin, data):
                        self._answered((piece, begin, len(data)))
                    case Reject(piece, begin, length):
                        self._answered((piece, begin, length))
                    case Request(piece, begin, length):
                        self.ours.add((piece, begin, length))
                    case Cancel(piece, begin, length):
                        self.ours.discard((piece, begin, length))
        assert len(session.pending) <= REQQ
        assert len(session.outstanding) <= REQQ

    def _answered(self, key: tuple[int, int, int]) -> None:
        self.theirs[key] -= 1
        assert self.theirs[key] >= 0, f"{key} is answered more often than asked for"


def run_script(data: bytes) -> None:
    """Let a session live through an input.

    Nothing but RemoteProtocolError comes out of what a stranger says, every request of his is answered once, and no
    block comes out that was not asked for.
    """
    reader = Reader(data)
    way = reader.byte()
    known = bool(way & 1)
    session = Session()
    session.open(
        HASH,
        ALICE,
        layout=LAYOUT if known else None,
        have=[0, 1] if known else [],
        host="127.0.0.1",
        port=6881,
        pex=not way & 8,
    )
    books = Books()
    try:
        if way & 2:
            _hear(session, books, reader.rest())
            return
        _hear(session, books, b"".join(encode(Handshake(HASH, BOB, RESERVED))))
        if not way & 4:
            for message in (Extended(0, encode_abilities(Abilities(OURS, 20_000, 60, "fuzz"))), HaveAll(), Unchoke()):
                _hear(session, books, b"".join(encode(message)))
        while reader.more:
            step = reader.byte()
            if step & 1:
                _hear(session, books, b"".join(encode(STRANGER[(step >> 1) % len(STRANGER)](reader))))
            else:
                try:
                    WISHES[(step >> 1) % len(WISHES)](session, reader)
                except LocalProtocolError:
                    continue
                except ValueError:
                    # A piece of ours that cannot exist: the store's fault, told to whoever asks.
                    continue
                books.said(session)
    except RemoteProtocolError:
        books.said(session)
        return
    for request in session.pending:
        session.refuse(request)
    books.said(session)
    assert not +books.theirs, f"requests without an answer: {+books.theirs}"


def _hear(session: Session, books: Books, data: bytes) -> None:
    for at in range(0, len(data), 7000):
        books.fed(data[at : at + 7000])
        for event in session.receive(data[at : at + 7000]):
            books.heard(event)
        books.said(session)
