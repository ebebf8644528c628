"""Which pieces does one side have?"""

from collections.abc import Iterable, Iterator

from p2sp.resource.layout import MAX_PIECES
from p2sp.schedule.bits import of_bitfield


class PieceSet:
    """Pieces as one bit each, first piece in the highest bit (BEP 3, bitfield).

    How many pieces there are may become known only later (a resource wanted by magnet); until then the set grows with
    what is put in, up to the limit of all resources. Every method raises ValueError for a piece that cannot exist.
    """

    def __init__(self, count: int | None = None, members: Iterable[int] = ()) -> None:
        self.count = count
        self._bits = bytearray(-(-count // 8) if count is not None else 0)
        self._all = False
        self._size = 0
        for piece in members:
            self.add(piece)

    def __len__(self) -> int:
        return self._size

    def __bool__(self) -> bool:
        return self._size > 0 or self._all

    def __contains__(self, piece: int) -> bool:
        if self._all:
            return self.count is None or 0 <= piece < self.count
        at = piece >> 3
        return 0 <= at < len(self._bits) and bool(self._bits[at] & 0x80 >> (piece & 7))

    def __iter__(self) -> Iterator[int]:
        for at, byte in enumerate(self._bits):
            if byte:
                yield from (at * 8 + bit for bit in range(8) if byte & 0x80 >> bit)

    @property
    def full(self) -> bool:
        """Whether every piece is in; never true before their number is known."""
        return self.count is not None and self._size == self.count

    def add(self, piece: int) -> bool:
        """Put a piece in; whether it was not there."""
        self._check(piece)
        if piece in self:
            return False
        at = piece >> 3
        if at >= len(self._bits):
            self._bits.extend(bytes(at + 1 - len(self._bits)))
        self._bits[at] |= 0x80 >> (piece & 7)
        self._size += 1
        return True

    def remove(self, piece: int) -> bool:
        """Take a piece out; whether it was there.

        Out of a set that is full and of unknown size nothing can be taken: it stays full.
        """
        self._check(piece)
        if piece not in self or (self._all and self.count is None):
            return False
        self._bits[piece >> 3] &= ~(0x80 >> (piece & 7)) & 0xFF
        self._size -= 1
        return True

    def fill(self) -> None:
        """Put every piece in."""
        if self.count is None:
            self._all = True
            return
        self._bits = bytearray(b"\xff" * (self.count // 8))
        if self.count % 8:
            self._bits.append(0xFF << (8 - self.count % 8) & 0xFF)
        self._size = self.count

    def load(self, bits: bytes) -> None:
        """Take the members from a bitfield, whose spare bits must be zero."""
        if len(bits) > -(-MAX_PIECES // 8):
            raise ValueError(f"a bitfield of {len(bits)} bytes")
        self._bits = bytearray(bits)
        self._size = int.from_bytes(bits, "big").bit_count()
        if self.count is not None:
            self._fit(self.count, exact=True)

    def describe(self, count: int) -> None:
        """Learn how many pieces there are."""
        self.count = count
        if self._all:
            self._all = False
            self.fill()
        else:
            self._fit(count, exact=False)

    def bits(self) -> bytes:
        """The bitfield."""
        return bytes(self._bits)

    def number(self) -> int:
        """The members as a number, bit `p` for piece `p`; -1 for all of an unknown count."""
        return -1 if self._all else of_bitfield(bytes(self._bits))

    def beyond(self, other: "PieceSet") -> int:
        """How many members `other` lacks; both must know the number of pieces."""
        mine = int.from_bytes(self._bits, "big")
        return (mine & ~int.from_bytes(other._bits, "big")).bit_count()

    def _fit(self, count: int, *, exact: bool) -> None:
        size = -(-count // 8)
        if exact and len(self._bits) != size:
            raise ValueError(f"a bitfield of {len(self._bits)} bytes for {count} pieces")
        if any(self._bits[size:]) or (
            count % 8 and len(self._bits) >= size and self._bits[size - 1] & 0xFF >> count % 8
        ):
            raise ValueError(f"a bitfield with pieces beyond the {count} that exist")
        del self._bits[size:]
        self._bits.extend(bytes(size - len(self._bits)))

    def _check(self, piece: int) -> None:
        if not 0 <= piece < (MAX_PIECES if self.count is None else self.count):
            raise ValueError(f"piece {piece} of {MAX_PIECES if self.count is None else self.count}")
