"""How is a set of pieces counted with, quickly? As one number: piece `p` is bit `p`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def of_bitfield(bitfield: bytes) -> int:
    """The pieces of a bitfield as it is on the wire, first piece in the highest bit (BEP 3)."""
    return int.from_bytes(bitfield.translate(_REVERSED), "little")


def run(first: int, stop: int) -> int:
    """The pieces [first, stop)."""
    return ((1 << stop - first) - 1) << first if first < stop else 0


def lowest(pieces: int) -> int:
    """The first piece of a set that is not empty."""
    return (pieces & -pieces).bit_length() - 1


def each(pieces: int) -> Iterator[int]:
    """The pieces of a set, in order."""
    while pieces:
        piece = lowest(pieces)
        yield piece
        pieces ^= 1 << piece


def anyone(pieces: int, rng: "Random") -> int:
    """One piece of a set that is not empty, each as likely as any other."""
    skip = int(rng.random() * pieces.bit_count())
    at = 0
    width = pieces.bit_length()
    while width > 1:
        half = width // 2
        low = pieces & ((1 << half) - 1)
        count = low.bit_count()
        if skip < count:
            pieces, width = low, half
        else:
            skip -= count
            pieces >>= half
            at += half
            width -= half
    return at


class Copies:
    """How many nodes have each piece: a set of pieces for every number of copies."""

    def __init__(self) -> None:
        self._levels: list[int] = []
        self.known = 0
        """The pieces of which there is a copy at all."""

    def change(self, before: int, after: int) -> None:
        """One node had `before`, and has `after`."""
        if gained := after & ~before:
            self._rise(gained)
        if lost := before & ~after:
            self._fall(lost)

    def rarest(self, among: int) -> int:
        """Of these pieces those with the fewest copies."""
        if none := among & ~self.known:
            return none
        return next((found for level in self._levels if (found := level & among)), 0)

    def of(self, piece: int) -> int:
        """How many copies there are of a piece."""
        return next((count for count, level in enumerate(self._levels, 1) if level >> piece & 1), 0)

    def _rise(self, pieces: int) -> None:
        levels = self._levels
        left = pieces & self.known
        for at in range(len(levels) - 1, -1, -1):
            if not left:
                break
            if moved := levels[at] & left:
                left ^= moved
                levels[at] ^= moved
                if at + 1 == len(levels):
                    levels.append(moved)
                else:
                    levels[at + 1] |= moved
        if fresh := pieces & ~self.known:
            self.known |= fresh
            if levels:
                levels[0] |= fresh
            else:
                levels.append(fresh)

    def _fall(self, pieces: int) -> None:
        levels = self._levels
        self.known &= ~(levels[0] & pieces)
        left = pieces
        for at, level in enumerate(levels):
            if moved := level & left:
                left ^= moved
                levels[at] ^= moved
                if at:
                    levels[at - 1] |= moved
        while levels and not levels[-1]:
            levels.pop()
