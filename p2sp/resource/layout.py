"""Where does a byte of a resource lie: in which piece, in which file, at which place?

A resource is one row of bytes in which every file begins at a piece's boundary (BEP 52: pieces never cross files).
Offsets in that row are *positions*. For a single file a position is simply the offset in the file; in a tree the last
piece of each file is short and the positions behind it, up to the next piece, belong to nobody.

In a *joined* row, that of BitTorrent v1 (BEP 3), each file begins where the one before it ends: a piece may hold the
end of one file and the beginning of others.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import attrs

from p2sp.resource.merkle import BLOCK, blocks_in

MIN_PIECE = 256 * 1024
MAX_PIECE = 16 * 1024 * 1024
LARGEST_PIECE = 256 * 1024 * 1024
"""The longest piece that is read in the descriptors of others: its leaf hashes take half a megabyte."""

MAX_PIECES = 1 << 22
"""Pieces of the largest resource we take: 64 TiB at the largest piece."""


def piece_length_for(length: int) -> int:
    """The piece length of the canonical descriptor: a power of two that gives at most 2,048 pieces to 32 GiB."""
    wanted = max(-(-length // 2048), 1)
    return min(max(1 << (wanted - 1).bit_length(), MIN_PIECE), MAX_PIECE)


@attrs.frozen
class Segment:
    """A run of bytes inside one file: `length` bytes at `offset` of file `file`, `position` in the resource."""

    file: int
    offset: int
    length: int
    position: int


@attrs.frozen
class Block:
    """One wire request: `length` bytes at `begin` of piece `piece` (BEP 3, request)."""

    piece: int
    begin: int
    length: int


class Layout:
    """Files of the given lengths, in order, cut into pieces of `piece_length` bytes; `joined` as BitTorrent v1 does.

    `padded` says that v1 knows the same pieces with zeros behind each file's end, as in a hybrid (BEP 52, 47).

    Raises ValueError for a piece length that is no power of two between a block and LARGEST_PIECE (in a joined row any
    number of whole blocks will do), and for too many pieces.
    """

    def __init__(
        self, lengths: Sequence[int], piece_length: int, *, joined: bool = False, padded: bool = False
    ) -> None:
        if piece_length < BLOCK or (piece_length % BLOCK if joined else piece_length & (piece_length - 1)):
            kind = f"multiple of {BLOCK}" if joined else f"power of two of at least {BLOCK}"
            raise ValueError(f"piece length {piece_length} is no {kind} bytes")
        if piece_length > LARGEST_PIECE:
            raise ValueError(f"piece length {piece_length} is more than {LARGEST_PIECE} bytes")
        if any(length < 0 for length in lengths):
            raise ValueError("a file cannot have a negative length")
        self.lengths = tuple(lengths)
        self.piece_length = piece_length
        self.joined = joined
        self.padded = padded
        self.length = sum(lengths)
        self._file_starts: list[int] = []
        at = 0
        for length in lengths:
            self._file_starts.append(at)
            at += length if joined else -(-length // piece_length) * piece_length
        self.piece_count = -(-at // piece_length)
        if self.piece_count > MAX_PIECES:
            raise ValueError(f"{self.piece_count} pieces are more than the {MAX_PIECES} allowed")
        self._files = [i for i, length in enumerate(lengths) if length]
        self._starts = [self._file_starts[i] for i in self._files]

    @property
    def end(self) -> int:
        """The position behind the last byte."""
        return self._starts[-1] + self.lengths[self._files[-1]] if self._files else 0

    def file_start(self, file: int) -> int:
        """Position of the first byte of a file."""
        return self._file_starts[file]

    def pieces_of(self, file: int) -> range:
        """The pieces that hold a file; in a joined row others may share the first and the last of them."""
        start, length = self._file_starts[file], self.lengths[file]
        return self.pieces_in(start, start + length) if length else range(0)

    def file_of(self, piece: int) -> int:
        """The file in which a piece begins. Raises IndexError for a piece that does not exist."""
        if not 0 <= piece < self.piece_count:
            raise IndexError(f"piece {piece} of {self.piece_count}")
        return self._files[bisect_right(self._starts, piece * self.piece_length) - 1]

    def files_of(self, piece: int) -> list[int]:
        """The files that have bytes in a piece; more than one only in a joined row."""
        self.file_of(piece)
        return [part.file for part in self.segments(self.piece_start(piece), self.piece_end(piece))]

    def piece_size(self, piece: int) -> int:
        """Bytes of a piece; the last one of each file, or of a joined row, may be short."""
        file = self.file_of(piece)
        end = self.end if self.joined else self._file_starts[file] + self.lengths[file]
        return min(self.piece_length, end - piece * self.piece_length)

    def asked_size(self, piece: int) -> int:
        """Bytes of a piece that others may ask for: in a hybrid also those that only fill it."""
        return self.piece_length if self.padded else self.piece_size(piece)

    def piece_start(self, piece: int) -> int:
        """Position of the first byte of a piece."""
        return piece * self.piece_length

    def piece_end(self, piece: int) -> int:
        """Position behind the last byte of a piece."""
        return piece * self.piece_length + self.piece_size(piece)

    def piece_at(self, position: int) -> int:
        """The piece that holds a position."""
        return position // self.piece_length

    def pieces_in(self, start: int, stop: int) -> range:
        """The pieces that a run of positions touches."""
        return range(start // self.piece_length, min(-(-stop // self.piece_length), self.piece_count))

    def blocks_of(self, piece: int) -> int:
        """How many blocks a piece has."""
        return blocks_in(self.piece_size(piece))

    def segments(self, start: int, stop: int) -> Iterator[Segment]:
        """The parts of files that lie in a run of positions, in order, none beyond its piece.

        What belongs to nobody is left out.
        """
        for piece in self.pieces_in(start, stop):
            begin = max(start, self.piece_start(piece))
            end = min(stop, self.piece_start(piece + 1))
            at = bisect_right(self._starts, begin) - 1
            while begin < end and at < len(self._files):
                file = self._files[at]
                first = self._file_starts[file]
                here = min(end, first + self.lengths[file])
                if here > begin:
                    yield Segment(file, begin - first, here - begin, begin)
                    begin = here
                if not self.joined:
                    break
                at += 1

    def whole(self, start: int, stop: int) -> Segment | None:
        """A run of positions as one segment, which in a joined row may go on in the files that follow.

        None where bytes are missing in it.
        """
        parts = self.file_segments(start, stop)
        if not parts or sum(part.length for part in parts) != stop - start or (len(parts) > 1 and not self.joined):
            return None
        return attrs.evolve(parts[0], length=stop - start)

    def file_segments(self, start: int, stop: int) -> list[Segment]:
        """Like `segments`, with neighbouring parts of one file joined: one read or one HTTP request each."""
        joined: list[Segment] = []
        for part in self.segments(start, stop):
            if joined and joined[-1].file == part.file:
                last = joined[-1]
                joined[-1] = attrs.evolve(last, length=last.length + part.length)
            else:
                joined.append(part)
        return joined

    def size_of(self, start: int, stop: int) -> int:
        """Bytes that really lie in a run of positions."""
        return sum(part.length for part in self.segments(start, stop))

    def blocks(self, start: int, stop: int) -> Iterator[Block]:
        """The wire requests that fetch a run of positions which starts at a block's boundary."""
        for piece in self.pieces_in(start, stop):
            base = self.piece_start(piece)
            end = min(stop, self.piece_end(piece)) - base
            for at in range(max(start - base, 0), end, BLOCK):
                yield Block(piece, at, min(BLOCK, end - at))
