"""What may we say on a connection, and what state does it leave?

The half of `p2sp.wire.session` that puts messages out.
"""

from collections.abc import Collection, Iterable
from typing import Final

from p2sp.resource.layout import Block, Layout
from p2sp.wire.allowance import MOST, allowed_fast
from p2sp.wire.codec import encode
from p2sp.wire.errors import LocalProtocolError, RemoteProtocolError
from p2sp.wire.extensions import (
    DONT_HAVE,
    METADATA,
    OURS,
    PEX,
    Abilities,
    MetadataPart,
    MetadataReject,
    MetadataRequest,
    encode_abilities,
    encode_dont_have,
    encode_metadata,
    metadata_parts,
)
from p2sp.wire.messages import (
    RESERVED,
    RESERVED_V1,
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
    Unchoke,
)
from p2sp.wire.pex import Neighbour, Neighbours, encode_neighbours
from p2sp.wire.pieces import PieceSet
from p2sp.wire.requests import Outstanding, Pending

REQQ: Final = 500
"""Requests we let one link have outstanding at us, and have outstanding at most ourselves."""

VERSION: Final = "p2sp"


class Speaking:
    """The state of one connection, and everything we say on it. Bytes to be sent gather until `take_outgoing`.

    Public attributes are to be read only. Methods that say something raise LocalProtocolError when it must not be said
    now.
    """

    def __init__(self, reqq: int = REQQ) -> None:
        self.layout: Layout | None = None
        self.remote: Handshake | None = None
        self.abilities: Abilities | None = None
        self.choked = True
        self.choking = True
        self.interested = False
        self.remote_interested = False
        self.pieces = PieceSet()
        self.ours = PieceSet()
        self.outstanding = Outstanding()
        self.pending = Pending(reqq)
        self.suggested: dict[int, None] = {}
        self.allowed: dict[int, None] = {}
        self.granted: frozenset[int] = frozenset()
        self._withdrawn: set[int] = set()
        self._reqq = reqq
        self._outgoing: list[bytes | memoryview] = []
        self._hash: bytes | None = None
        self._names: set[bytes] = set()
        self._greeted = False
        self._pieces_said = False
        self._seeking = True
        self._useful = 0
        self._metadata_size: int | None = None
        self._host = ""
        self._port = 0
        self._pex = True
        self._grant = 0
        self.parts_asked: set[int] = set()
        self.hashes_asked: set[HashRequest] = set()

    def open(
        self,
        info_hash: bytes,
        peer_id: bytes,
        *,
        layout: Layout | None = None,
        have: Iterable[int] = (),
        metadata_size: int | None = None,
        host: str = "",
        port: int = 0,
        pex: bool = True,
        other_names: Collection[bytes] = (),
        v2: bool = True,
    ) -> None:
        """Say which resource this connection is for: before anything comes in, or on the other side's handshake.

        `host` is the other side's address, if pieces may be allowed to it while it is choked; `port` is where we listen
        (0: nowhere); `pex` whether other nodes are talked about; `other_names` what the other side may call
        the resource as well; `v2` whether BEP 52 describes it.
        """
        self._hash = info_hash
        self._names = {info_hash, *other_names}
        self._host, self._port, self._pex = host, port, pex
        self.layout = layout
        self._metadata_size = metadata_size
        count = layout.piece_count if layout else None
        self.ours = PieceSet(count, have)
        self.pieces = PieceSet(count)
        self._say(Handshake(info_hash, peer_id, RESERVED if v2 else RESERVED_V1))
        if self.remote is not None:
            self._greet()

    def take_outgoing(self) -> list[bytes | memoryview]:
        """The bytes to send now, given out once."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def keep_alive(self) -> None:
        """Show that we are still here."""
        self._say(KeepAlive())

    def describe(self, layout: Layout, metadata_size: int, have: Iterable[int] = (), *, pex: bool = True) -> None:
        """Take up what was learnt of the resource meanwhile; without `pex` other nodes are talked about no more.

        Raises RemoteProtocolError if the other side's claims do not fit it.
        """
        if self.layout is not None:
            raise LocalProtocolError("the resource of this link is described already")
        self.layout = layout
        self._metadata_size = metadata_size
        self._pex = self._pex and pex
        self.ours = PieceSet(layout.piece_count)
        try:
            self.pieces.describe(layout.piece_count)
        except ValueError as error:
            raise RemoteProtocolError(f"pieces announced before the descriptor came do not exist: {error}") from error
        self._useful = len(self.pieces)
        for hints in (self.suggested, self.allowed):
            for piece in [piece for piece in hints if piece >= layout.piece_count]:
                del hints[piece]
        if self._greeted:
            self._say_abilities()
        for piece in have:
            self.have(piece)
        self._show_interest()

    def have(self, piece: int) -> None:
        """Announce one more piece of ours."""
        if self.ours.add(piece):
            self._withdrawn.discard(piece)
            self.suggested.pop(piece, None)
            self.allowed.pop(piece, None)
            self._useful -= piece in self.pieces
            if self._greeted:
                self._say(Have(piece))
                self._show_interest()

    def forget(self, piece: int) -> None:
        """Withdraw a piece: requests for it that are pending are rejected."""
        if not self.ours.remove(piece):
            return
        self._useful += piece in self.pieces
        if self._greeted and self.abilities is None:
            self._withdrawn.add(piece)
        elif self._greeted:
            self._withdraw(piece)
        for request in self.pending:
            if request.piece == piece:
                self.refuse(request)
        self._show_interest()

    def _withdraw(self, piece: int) -> None:
        if extension := self._extension(DONT_HAVE):
            self._say(Extended(extension, encode_dont_have(piece)))

    def seek(self, seeking: bool) -> None:
        """Whether we want to be interested in what the other side has."""
        self._seeking = seeking
        self._show_interest()

    def choke(self) -> None:
        """Serve no more requests; those pending are rejected (BEP 6).

        A newcomer that waits for us is told which pieces it may have all the same.
        """
        if not self.choking:
            self.choking = True
            self._say(Choke())
            for request in self.pending:
                self.refuse(request)
        if self.remote_interested:
            self._allow()

    def _allow(self) -> None:
        if self._hash is None or self.layout is None or self.granted or len(self.pieces) >= MOST:
            return
        usual = allowed_fast(self._host, self._hash, self.layout)
        self.granted = frozenset(piece for piece in usual if piece in self.ours and piece not in self.pieces)
        self._grant = sum(map(self.layout.piece_size, self.granted))
        for piece in usual:
            if piece in self.granted:
                self._say(AllowedFast(piece))

    def unchoke(self) -> None:
        """Let requests in."""
        if self.choking:
            self.choking = False
            self._say(Unchoke())

    @property
    def room(self) -> int:
        """How many more requests the other side's queue takes."""
        reqq = self.abilities.reqq if self.abilities else 0
        return min(reqq, REQQ) - len(self.outstanding)

    def may_ask(self, piece: int) -> bool:
        """Whether the other side serves this piece now: it has it, and does not choke us or allows it all the same."""
        return piece in self.pieces and (not self.choked or piece in self.allowed)

    def request(self, block: Block) -> None:
        """Ask for a block that the other side has and serves us now, while its queue has room."""
        if self.choked and block.piece not in self.allowed:
            raise LocalProtocolError("Request while choked")
        if block.piece not in self.pieces:
            raise LocalProtocolError(f"Request for piece {block.piece}, which the other side does not have")
        if self.room <= 0:
            raise LocalProtocolError("Request beyond the other side's queue")
        self.outstanding.ask(block)
        self._say(Request(block.piece, block.begin, block.length))

    def cancel(self, block: Block) -> bool:
        """Take a request back; whether there was one. Its block will not be heard of."""
        if not self.outstanding.cancel(block):
            return False
        if not self.choked or block.piece in self.allowed:
            # A side that chokes us has rejected everything else already (BEP 6); those answers are on their way.
            self._say(Cancel(block.piece, block.begin, block.length))
        return True

    def answer(self, request: Request, data: bytes | memoryview) -> bool:
        """Give a block; False, and nothing sent, when the request was cancelled or rejected meanwhile."""
        if len(data) != request.length:
            raise LocalProtocolError(f"Piece of {len(data)} bytes for a request of {request.length}")
        if not self.pending.done(request.piece, request.begin, request.length):
            return False
        self._say(Piece(request.piece, request.begin, data))
        return True

    def refuse(self, request: Request) -> bool:
        """Reject a request; False when it was answered already."""
        if not self.pending.done(request.piece, request.begin, request.length):
            return False
        self._say(Reject(request.piece, request.begin, request.length))
        return True

    @property
    def metadata_offered(self) -> int | None:
        """Bytes of the info dict that the other side would send us."""
        if self.abilities is None or not self._extension(METADATA):
            return None
        return self.abilities.metadata_size

    def ask_metadata(self, part: int) -> None:
        """Ask for a part of the info dict, of the size the other side offers."""
        size = self.metadata_offered
        if size is None or not 0 <= part < metadata_parts(size):
            raise LocalProtocolError(f"part {part} of metadata of {size} bytes cannot be asked for")
        if part in self.parts_asked:
            raise LocalProtocolError(f"part {part} of metadata twice")
        self.parts_asked.add(part)
        self._say_metadata(MetadataRequest(part))

    def give_metadata(self, part: int, data: bytes | None) -> None:
        """Answer a request for a part of the info dict; None rejects it."""
        if data is None or self._metadata_size is None:
            self._say_metadata(MetadataReject(part))
        else:
            self._say_metadata(MetadataPart(part, self._metadata_size, data))

    def ask_hashes(self, request: HashRequest) -> None:
        """Ask for hashes; each run once at a time."""
        if request in self.hashes_asked:
            raise LocalProtocolError("HashRequest twice")
        self.hashes_asked.add(request)
        self._say(request)

    def give_hashes(self, request: HashRequest, hashes: bytes | None) -> None:
        """Answer a request for hashes; None rejects it."""
        fields = (request.root, request.base, request.index, request.length, request.proof)
        self._say(HashReject(*fields) if hashes is None else Hashes(*fields, hashes))

    @property
    def talks_of_others(self) -> bool:
        """Whether the other side wants to hear of nodes, and may."""
        return self._pex and self._extension(PEX) is not None

    def tell_of_others(self, news: Neighbours, flags: dict[Neighbour, int]) -> None:
        """Tell of other nodes (BEP 11), if that is wanted."""
        if self._pex and (extension := self._extension(PEX)):
            self._say(Extended(extension, encode_neighbours(news, flags)))

    def _say(self, message: Message) -> None:
        self._outgoing += encode(message)

    def _say_metadata(self, message: MetadataRequest | MetadataPart | MetadataReject) -> None:
        if extension := self._extension(METADATA):
            self._say(Extended(extension, encode_metadata(message)))

    def _say_abilities(self) -> None:
        ids = OURS if self._pex else {**OURS, PEX: 0}
        said = Abilities(ids, self._metadata_size, self._reqq, VERSION, self._port)
        self._say(Extended(0, encode_abilities(said)))

    def _extension(self, name: bytes) -> int | None:
        return self.abilities.ids.get(name) if self.abilities else None

    def _greet(self) -> None:
        self._greeted = True
        self._say_abilities()
        if self.ours.full and self.ours:
            self._say(HaveAll())
        elif self.ours:
            self._say(Bitfield(self.ours.bits()))
        else:
            self._say(HaveNone())

    def _show_interest(self) -> None:
        wanted = self._seeking and (self._useful > 0 or (self.layout is None and bool(self.pieces)))
        if self._greeted and wanted != self.interested:
            self.interested = wanted
            self._say(Interested() if wanted else NotInterested())
