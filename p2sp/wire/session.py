"""What do the messages of one connection add up to, and which may follow which?

One state machine for both ends of a link (BEP 3, 6, 10, 52): bytes and our own wishes go in, bytes and the messages
that passed every rule come out. Both sides must speak the fast extension (BEP 6) and extension messages (BEP 10).
"""

from collections.abc import Iterator
from typing import Final

from p2sp.resource.merkle import BLOCK
from p2sp.wire.codec import Decoder, Limits
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
from p2sp.wire.extensions import (
    DONT_HAVE,
    METADATA,
    OURS,
    PEX,
    Abilities,
    DontHave,
    MetadataPart,
    MetadataReject,
    MetadataRequest,
    decode_abilities,
    decode_dont_have,
    decode_metadata,
    decode_pex,
    metadata_parts,
)
from p2sp.wire.messages import (
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
from p2sp.wire.pex import Neighbours
from p2sp.wire.speaking import REQQ, Speaking

Event = Message | Abilities | DontHave | MetadataRequest | MetadataPart | MetadataReject | Neighbours

MAX_HINTS: Final = 64
"""Pieces suggested to us, and pieces allowed fast, that are kept of one side; more are passed over."""


class Session(Speaking):
    """One connection: bytes and our own wishes go in, bytes and the messages that passed every rule come out.

    What `receive` gives out has changed the state already.
    """

    def __init__(self, *, reqq: int = REQQ, limits: Limits | None = None) -> None:
        super().__init__(reqq)
        self._decoder = Decoder(limits)

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the other side says with these bytes. Raises RemoteProtocolError when it breaks a rule."""
        for message in self._decoder.feed(data):
            match message:
                case Piece(piece, begin, block):
                    self._require_pieces_said(message)
                    if self.outstanding.arrived(piece, begin, len(block)):
                        yield message
                case Request():
                    self._require_pieces_said(message)
                    if self._take_request(message):
                        yield message
                case Handshake():
                    yield from self._handshake(message)
                case Extended():
                    yield from self._extended(message)
                case Bitfield() | HaveAll() | HaveNone():
                    self._first_pieces(message)
                    yield message
                case KeepAlive():
                    pass
                case _:
                    self._require_pieces_said(message)
                    if self._apply(message):
                        yield message

    def _handshake(self, message: Handshake) -> Iterator[Event]:
        if self._hash is not None and message.info_hash not in self._names:
            raise RemoteProtocolError("Handshake for another resource")
        if not message.fast:
            raise RemoteProtocolError("Handshake without the fast extension (BEP 6)")
        if not message.extended:
            raise RemoteProtocolError("Handshake without extension messages (BEP 10)")
        self.remote = message
        if self._hash is not None:
            self._greet()
        yield message
        if self._hash is None:
            raise LocalProtocolError("the connection was not opened on the handshake")

    def _require_pieces_said(self, message: Message) -> None:
        if not self._pieces_said:
            raise RemoteProtocolError(f"{type(message).__name__} before Bitfield, HaveAll or HaveNone")

    def _first_pieces(self, message: Bitfield | HaveAll | HaveNone) -> None:
        if self._pieces_said:
            raise RemoteProtocolError(f"{type(message).__name__} is only allowed first")
        self._pieces_said = True
        if isinstance(message, HaveAll):
            self.pieces.fill()
        elif isinstance(message, Bitfield):
            try:
                self.pieces.load(message.bits)
            except ValueError as error:
                raise RemoteProtocolError(f"Bitfield: {error}") from error
        if self.layout is not None:
            self._useful = self.pieces.beyond(self.ours)
        self._show_interest()

    def _apply(self, message: Message) -> bool:
        """Change the state as the message says; whether anybody else need hear of it."""
        match message:
            case Have(piece):
                return self._remote_has(piece)
            case Choke() | Unchoke():
                changed = self.choked != isinstance(message, Choke)
                self.choked = isinstance(message, Choke)
                return changed
            case Interested() | NotInterested():
                changed = self.remote_interested != isinstance(message, Interested)
                self.remote_interested = isinstance(message, Interested)
                return changed
            case Cancel(piece, begin, length):
                if not self.pending.done(piece, begin, length):
                    return False
                self._say(Reject(piece, begin, length))
                return True
            case Reject(piece, begin, length):
                return self.outstanding.rejected((piece, begin, length))
            case Hashes() | HashReject():
                if message.request not in self.hashes_asked:
                    raise RemoteProtocolError(f"{type(message).__name__} that was not requested")
                self.hashes_asked.remove(message.request)
                return True
            case Suggest(piece):
                return self._hinted(message, piece, self.suggested)
            case AllowedFast(piece):
                return self._hinted(message, piece, self.allowed)
        return isinstance(message, HashRequest)

    def _hinted(self, message: Suggest | AllowedFast, piece: int, hints: dict[int, None]) -> bool:
        self._check_piece(message, piece)
        if piece in hints or piece in self.ours or len(hints) >= MAX_HINTS:
            return False
        hints[piece] = None
        return True

    def _check_piece(self, message: Message | DontHave, piece: int) -> None:
        if self.layout is not None and piece >= self.layout.piece_count:
            raise RemoteProtocolError(
                f"{type(message).__name__} of piece {piece}; there are {self.layout.piece_count} pieces"
            )

    def _remote_has(self, piece: int) -> bool:
        try:
            new = self.pieces.add(piece)
        except ValueError as error:
            raise RemoteProtocolError(f"Have: {error}") from error
        if new:
            self._useful += piece not in self.ours
            self._show_interest()
        return new

    def _take_request(self, request: Request) -> bool:
        if self.layout is not None:
            self._check_piece(request, request.piece)
            size = self.layout.asked_size(request.piece)
            if not 0 < request.length <= BLOCK or request.begin + request.length > size:
                raise RemoteProtocolError(
                    f"Request for {request.length} bytes at {request.begin} of piece {request.piece}, which has {size}"
                )
        if not self._serves(request) or not self.pending.take(request):
            self._say(Reject(request.piece, request.begin, request.length))
            return False
        return True

    def _serves(self, request: Request) -> bool:
        """Whether a request may be taken: while we choke, only out of what was allowed all the same, and once."""
        if request.piece not in self.ours:
            return False
        if self.choking:
            if request.piece not in self.granted or request.length > self._grant:
                return False
            self._grant -= request.length
        return True

    def _extended(self, message: Extended) -> Iterator[Event]:
        if message.extension == 0:
            self.abilities = decode_abilities(message.payload, self.abilities or Abilities())
            # What was let go before it was known how to say so.
            for piece in sorted(self._withdrawn):
                self._withdraw(piece)
            self._withdrawn.clear()
            yield self.abilities
        elif message.extension == OURS[METADATA]:
            yield from self._metadata(message.payload)
        elif message.extension == OURS[DONT_HAVE]:
            self._require_pieces_said(message)
            lost = decode_dont_have(message.payload)
            self._check_piece(lost, lost.piece)
            try:
                removed = self.pieces.remove(lost.piece)
            except ValueError as error:
                raise RemoteProtocolError(f"DontHave: {error}") from error
            if removed:
                self._useful -= lost.piece not in self.ours
                self._show_interest()
                yield lost
        elif message.extension == OURS[PEX] and self._pex:
            yield decode_pex(message.payload)

    def _metadata(self, payload: bytes) -> Iterator[Event]:
        offered = self.abilities.metadata_size if self.abilities else None
        decoded = decode_metadata(payload, offered)
        match decoded:
            case MetadataRequest(part):
                if self._metadata_size is None or part >= metadata_parts(self._metadata_size):
                    self._say_metadata(MetadataReject(part))
                else:
                    yield decoded
            case MetadataPart(part) | MetadataReject(part):
                if part not in self.parts_asked:
                    raise RemoteProtocolError(f"{type(decoded).__name__} {part} that was not requested")
                self.parts_asked.remove(part)
                yield decoded
