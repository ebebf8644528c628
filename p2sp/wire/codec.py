"""Which messages do these bytes hold, and which bytes stand for this message?"""

from collections import deque
from collections.abc import Iterator
from struct import Struct
from typing import Final

import attrs

from p2sp.resource.layout import MAX_PIECES
from p2sp.resource.merkle import BLOCK, HASH_SIZE
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
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

PROTOCOL: Final = b"\x13BitTorrent protocol"
HANDSHAKE_SIZE: Final = 68
MAX_HASHES: Final = 8192
"""Hashes of the longest run that a hash request may ask for."""

MAX_PROOF: Final = 64
_WORD = Struct(">I")
_WORD_ID = Struct(">IB")
_TWO_WORDS = Struct(">II")
_OF_PIECE = Struct(">IBI")
_OF_BLOCK = Struct(">IBIII")
_BLOCK_FIELDS = Struct(">III")
_PIECE_HEAD = Struct(">IBII")
_HASH_HEAD = Struct(">32sIIII")

_BARE: Final = {kind.id: kind for kind in (Choke, Unchoke, Interested, NotInterested, HaveAll, HaveNone)}
_OF_PIECES: Final = {kind.id: kind for kind in (Have, Suggest, AllowedFast)}
_OF_BLOCKS: Final = {kind.id: kind for kind in (Request, Cancel, Reject)}


@attrs.frozen
class Limits:
    """How many bytes a frame may have behind its length, by message; nothing larger is ever gathered."""

    bitfield: int = 1 + MAX_PIECES // 8
    extended: int = 64 * 1024
    unknown: int = 16 * 1024

    def of(self, message_id: int) -> int:
        """The largest frame of messages with that id."""
        match message_id:
            case Piece.id:
                return 9 + BLOCK
            case Bitfield.id:
                return self.bitfield
            case Extended.id:
                return self.extended
            case Hashes.id:
                return 1 + _HASH_HEAD.size + HASH_SIZE * (MAX_HASHES + MAX_PROOF)
            case _:
                return self.unknown


_FIXED: Final = (
    dict.fromkeys(_BARE, 1)
    | dict.fromkeys(_OF_PIECES, 5)
    | dict.fromkeys(_OF_BLOCKS, 13)
    | {HashRequest.id: 1 + _HASH_HEAD.size, HashReject.id: 1 + _HASH_HEAD.size}
)
_LEAST: Final = {Piece.id: 9, Extended.id: 2, Hashes.id: 1 + _HASH_HEAD.size, Bitfield.id: 1}
_NAMES: Final = {
    kind.id: kind.__name__
    for kind in (*_BARE.values(), *_OF_PIECES.values(), *_OF_BLOCKS.values(), Bitfield, Piece, Extended)
} | {HashRequest.id: "HashRequest", Hashes.id: "Hashes", HashReject.id: "HashReject"}


class Decoder:
    """Turns the bytes of one direction of a connection into messages, however they are cut.

    It never gathers more than one frame, and refuses a frame as soon as its length and id are known. The bytes of a
    block are a view of what was fed where they came in one, else copied once. After an error it stays broken.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._parts: deque[memoryview] = deque()
        self._held = 0
        self._shaken = False
        self._length: int | None = None
        self._id: int | None = None
        self._place: tuple[int, int] | None = None
        self._fault: RemoteProtocolError | None = None

    @property
    def buffered(self) -> int:
        """Bytes fed but not yet given out in a message."""
        return self._held

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises RemoteProtocolError, from the iteration, for what is none.

        `data` is kept when the iteration is given up; the next one goes on from there.
        """
        if data and self._fault is None:
            self._parts.append(memoryview(data))
            self._held += len(data)
        return self._messages()

    def _messages(self) -> Iterator[Message]:
        if self._fault is not None:
            raise self._fault
        try:
            while (message := self._next()) is not None:
                yield message
        except RemoteProtocolError as error:
            self._fault = error
            self._parts.clear()
            self._held = 0
            raise

    def _take(self, count: int) -> bytes | None:
        """The next `count` bytes as one, or None while they are not all there."""
        if self._held < count:
            return None
        self._held -= count
        if count == 0:
            return b""
        first = self._parts[0]
        if len(first) > count:
            self._parts[0] = first[count:]
            return bytes(first[:count])
        gathered = []
        while count:
            part = self._parts[0]
            if len(part) > count:
                gathered.append(part[:count])
                self._parts[0] = part[count:]
                break
            gathered.append(self._parts.popleft())
            count -= len(part)
        return b"".join(gathered)

    def _next(self) -> Message | None:
        if not self._shaken:
            return self._handshake()
        while True:
            if self._length is None:
                if self._parts and (common := self._whole(self._parts[0])) is not None:
                    return common
                word = self._take(4)
                if word is None:
                    return None
                length: int = _WORD.unpack(word)[0]
                if length == 0:
                    return KeepAlive()
                self._length = length
            if self._id is None:
                one = self._take(1)
                if one is None:
                    return None
                self._check(one[0], self._length)
                self._id = one[0]
            body = self._piece() if self._id == Piece.id else self._take(self._length - 1)
            if body is None:
                return None
            message_id = self._id
            self._length = self._id = None
            message = body if isinstance(body, Piece) else _parse(message_id, body)
            if message is not None:
                return message

    def _whole(self, first: memoryview) -> Message | None:
        """A block, or a request, that lies whole in the first part: nearly all there is, and quick to take."""
        if len(first) < _OF_BLOCK.size:
            return None
        length, message_id, piece, begin = _PIECE_HEAD.unpack_from(first)
        end = 4 + length
        message: Message
        if message_id == Piece.id and 9 <= length <= 9 + BLOCK and end <= len(first):
            message = Piece(piece, begin, first[_PIECE_HEAD.size : end])
        elif message_id == Request.id and length == _FIXED[Request.id]:
            message = Request(*_BLOCK_FIELDS.unpack_from(first, 5))
        else:
            return None
        self._held -= end
        if end == len(first):
            self._parts.popleft()
        else:
            self._parts[0] = first[end:]
        return message

    def _check(self, message_id: int, length: int) -> None:
        fixed = _FIXED.get(message_id)
        name = _NAMES.get(message_id, f"message {message_id}")
        if fixed is not None:
            if length != fixed:
                raise RemoteProtocolError(f"{name} of {length} bytes; it has {fixed}")
            return
        most = self._limits.of(message_id)
        if length > most:
            raise RemoteProtocolError(f"{name} of {length} bytes is larger than {most}")
        least = _LEAST.get(message_id, 1)
        if length < least:
            raise RemoteProtocolError(f"{name} of {length} bytes is shorter than {least}")

    def _handshake(self) -> Handshake | None:
        seen = 0
        for part in self._parts:
            if part[: len(PROTOCOL) - seen] != PROTOCOL[seen : seen + len(part)]:
                raise RemoteProtocolError("the connection does not begin with a BitTorrent handshake")
            seen += len(part)
            if seen >= len(PROTOCOL):
                break
        raw = self._take(HANDSHAKE_SIZE)
        if raw is None:
            return None
        self._shaken = True
        return Handshake(info_hash=raw[28:48], peer_id=raw[48:68], reserved=raw[20:28])

    def _piece(self) -> Piece | None:
        """A block is taken apart from its header, so that its bytes need no second copy."""
        assert self._length is not None
        if self._place is None:
            head = self._take(8)
            if head is None:
                return None
            self._place = _TWO_WORDS.unpack(head)
        data = self._take(self._length - 9)
        if data is None:
            return None
        piece, begin = self._place
        self._place = None
        return Piece(piece, begin, data)


def _parse(message_id: int, body: bytes) -> Message | None:
    """The message of a whole frame; None for one of an unknown kind."""
    if (block_kind := _OF_BLOCKS.get(message_id)) is not None:
        return block_kind(*_BLOCK_FIELDS.unpack(body))
    if (piece_kind := _OF_PIECES.get(message_id)) is not None:
        return piece_kind(_WORD.unpack(body)[0])
    if (bare_kind := _BARE.get(message_id)) is not None:
        return bare_kind()
    match message_id:
        case Bitfield.id:
            return Bitfield(body)
        case Extended.id:
            return Extended(body[0], body[1:])
        case HashRequest.id:
            return HashRequest(*_HASH_HEAD.unpack(body))
        case HashReject.id:
            return HashReject(*_HASH_HEAD.unpack(body))
        case Hashes.id:
            if (len(body) - _HASH_HEAD.size) % HASH_SIZE:
                raise RemoteProtocolError(f"Hashes with a row of {len(body) - _HASH_HEAD.size} bytes, not of hashes")
            root, base, index, length, proof = _HASH_HEAD.unpack_from(body)
            return Hashes(root, base, index, length, proof, body[_HASH_HEAD.size :])
    return None


def encode(message: Message) -> list[bytes | memoryview]:
    """The bytes of a message, in order: the data of a block stays a part of its own, uncopied.

    Raises LocalProtocolError for what the other side would have to refuse.
    """
    match message:
        case Piece(piece, begin, data):
            if len(data) > BLOCK:
                raise LocalProtocolError(f"Piece with a block of {len(data)} bytes; the most is {BLOCK}")
            return [_PIECE_HEAD.pack(9 + len(data), Piece.id, piece, begin), data]
        case Request(piece, begin, length) | Cancel(piece, begin, length) | Reject(piece, begin, length):
            return [_OF_BLOCK.pack(13, message.id, piece, begin, length)]
        case Have(piece) | Suggest(piece) | AllowedFast(piece):
            return [_OF_PIECE.pack(5, message.id, piece)]
        case Handshake(info_hash, peer_id, reserved):
            if len(info_hash) != 20 or len(peer_id) != 20 or len(reserved) != 8:
                raise LocalProtocolError("Handshake with a hash, peer id or reserved field of the wrong size")
            return [PROTOCOL + reserved + info_hash + peer_id]
        case KeepAlive():
            return [_WORD.pack(0)]
        case Bitfield(bits):
            return [_WORD_ID.pack(1 + len(bits), Bitfield.id), bits]
        case Extended(extension, payload):
            if not 0 <= extension <= 255:
                raise LocalProtocolError(f"Extended message of extension {extension}; 0 to 255 exist")
            return [_WORD_ID.pack(2 + len(payload), Extended.id) + bytes((extension,)), payload]
        case HashRequest(root, base, index, length, proof) | HashReject(root, base, index, length, proof):
            return [_hash_head(message.id, root, base, index, length, proof, 0)]
        case Hashes(root, base, index, length, proof, hashes):
            return [_hash_head(message.id, root, base, index, length, proof, len(hashes)), hashes]
        case _:
            return [_WORD_ID.pack(1, message.id)]


def _hash_head(message_id: int, root: bytes, base: int, index: int, length: int, proof: int, more: int) -> bytes:
    if len(root) != HASH_SIZE:
        raise LocalProtocolError(f"{_NAMES[message_id]} with a root of {len(root)} bytes")
    size = 1 + _HASH_HEAD.size + more
    return _WORD_ID.pack(size, message_id) + _HASH_HEAD.pack(root, base, index, length, proof)
