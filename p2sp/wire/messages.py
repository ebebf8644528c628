"""What can one side of the peer protocol say to the other?

Wire forms and rules: BEP 3 (ids 0-8), BEP 6 (13-17), BEP 10 (20) and BEP 52 (21-23).
All integers are unsigned, of 32 bits.
"""

from typing import ClassVar

import msgspec

from p2sp.resource.layout import Block


class Handshake(msgspec.Struct, frozen=True, gc=False):
    """The first 68 bytes: which resource, who, and what else is spoken (BEP 3, BEP 52).

    `info_hash` is the resource id cut to 20 bytes, `reserved` the 8 bytes of capability bits.
    """

    info_hash: bytes
    peer_id: bytes
    reserved: bytes

    @property
    def fast(self) -> bool:
        """Whether the fast extension is spoken (BEP 6)."""
        return bool(self.reserved[7] & 0x04)

    @property
    def extended(self) -> bool:
        """Whether extension messages are spoken (BEP 10)."""
        return bool(self.reserved[5] & 0x10)


RESERVED = bytes((0, 0, 0, 0, 0, 0x10, 0, 0x14))
RESERVED_V1 = bytes((0, 0, 0, 0, 0, 0x10, 0, 0x04))
"""The same for a resource that only BitTorrent v1 describes."""
"""What we speak: extensions (BEP 10), fast (BEP 6) and v2 (BEP 52)."""


class KeepAlive(msgspec.Struct, frozen=True, gc=False):
    """Nothing to say, still here."""


class Choke(msgspec.Struct, frozen=True, gc=False):
    """No more requests of yours will be served."""

    id: ClassVar[int] = 0


class Unchoke(msgspec.Struct, frozen=True, gc=False):
    """Requests are welcome."""

    id: ClassVar[int] = 1


class Interested(msgspec.Struct, frozen=True, gc=False):
    """You have something that I lack."""

    id: ClassVar[int] = 2


class NotInterested(msgspec.Struct, frozen=True, gc=False):
    """You have nothing that I lack."""

    id: ClassVar[int] = 3


class Have(msgspec.Struct, frozen=True, gc=False):
    """One more piece can be had from me."""

    id: ClassVar[int] = 4
    piece: int


class Bitfield(msgspec.Struct, frozen=True, gc=False):
    """The pieces that can be had from me, first piece in the highest bit of the first byte."""

    id: ClassVar[int] = 5
    bits: bytes


class Request(msgspec.Struct, frozen=True, gc=False):
    """Give me this block."""

    id: ClassVar[int] = 6
    piece: int
    begin: int
    length: int

    @property
    def block(self) -> Block:
        """The block asked for."""
        return Block(self.piece, self.begin, self.length)


class Piece(msgspec.Struct, frozen=True, gc=False):
    """The bytes of one block."""

    id: ClassVar[int] = 7
    piece: int
    begin: int
    data: bytes | memoryview


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """That block is not needed any more; the request is still to be answered (BEP 6)."""

    id: ClassVar[int] = 8
    piece: int
    begin: int
    length: int


class Suggest(msgspec.Struct, frozen=True, gc=False):
    """This piece would be cheap for me to serve."""

    id: ClassVar[int] = 13
    piece: int


class HaveAll(msgspec.Struct, frozen=True, gc=False):
    """Every piece can be had from me."""

    id: ClassVar[int] = 14


class HaveNone(msgspec.Struct, frozen=True, gc=False):
    """No piece can be had from me yet."""

    id: ClassVar[int] = 15


class Reject(msgspec.Struct, frozen=True, gc=False):
    """That request will not be served."""

    id: ClassVar[int] = 16
    piece: int
    begin: int
    length: int


class AllowedFast(msgspec.Struct, frozen=True, gc=False):
    """This piece may be requested even while choked."""

    id: ClassVar[int] = 17
    piece: int


class Extended(msgspec.Struct, frozen=True, gc=False):
    """A message of an extension: `extension` 0 is the extension handshake (BEP 10)."""

    id: ClassVar[int] = 20
    extension: int
    payload: bytes


class HashRequest(msgspec.Struct, frozen=True, gc=False):
    """Give me hashes of a file's Merkle tree (BEP 52).

    `length` hashes at `index` of the layer that stands `base` levels above the leaves of the file with this root, and
    the uncles needed to check them, counted in `proof` layers.
    """

    id: ClassVar[int] = 21
    root: bytes
    base: int
    index: int
    length: int
    proof: int


class Hashes(msgspec.Struct, frozen=True, gc=False):
    """The answer to a hash request, whose fields it repeats: first the layer's hashes, then the uncles."""

    id: ClassVar[int] = 22
    root: bytes
    base: int
    index: int
    length: int
    proof: int
    hashes: bytes

    @property
    def request(self) -> HashRequest:
        """The request this answers."""
        return HashRequest(self.root, self.base, self.index, self.length, self.proof)


class HashReject(msgspec.Struct, frozen=True, gc=False):
    """The hash request with these fields will not be served."""

    id: ClassVar[int] = 23
    root: bytes
    base: int
    index: int
    length: int
    proof: int

    @property
    def request(self) -> HashRequest:
        """The request this answers."""
        return HashRequest(self.root, self.base, self.index, self.length, self.proof)


Bare = Choke | Unchoke | Interested | NotInterested | HaveAll | HaveNone
OfPiece = Have | Suggest | AllowedFast
OfBlock = Request | Cancel | Reject
OfHashes = HashRequest | HashReject
Message = Handshake | KeepAlive | Bare | OfPiece | OfBlock | Bitfield | Piece | Extended | OfHashes | Hashes
