"""Which free run suits this source? Long ones in a row for servers, the rarest pieces for peers."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from p2sp.resource.layout import Layout
from p2sp.schedule import bits
from p2sp.schedule.spans import IntervalSet

if TYPE_CHECKING:
    from random import Random


def free_pieces(free: IntervalSet, layout: Layout) -> tuple[int, int]:
    """The pieces all of which is free, and those of which only some is (see `p2sp.schedule.bits`)."""
    whole = touched = 0
    for start, stop in free:
        pieces = layout.pieces_in(start, stop)
        first, last = pieces.start, pieces.stop - 1
        touched |= bits.run(first, last + 1)
        first += start > layout.piece_start(first)
        last -= stop < layout.piece_end(last)
        whole |= bits.run(first, last + 1)
    return whole, touched & ~whole


def _extend(free: IntervalSet, layout: Layout, start: int, size: int, allowed: Callable[[int], bool]) -> int:
    """The end of the run that begins at `start`, ends with a piece, and goes on to about `size` bytes if it can."""
    limit = next(stop for low, stop in free.overlap(start, layout.end) if low <= start)
    piece = layout.piece_at(start)
    stop = min(layout.piece_end(piece), limit)
    while stop < limit and stop - start < size and allowed(piece + 1):
        piece += 1
        stop = min(layout.piece_end(piece), limit)
    return stop


def _first_allowed(layout: Layout, start: int, stop: int, allowed: Callable[[int], bool]) -> int | None:
    for piece in layout.pieces_in(start, stop):
        if allowed(piece):
            return max(start, layout.piece_start(piece))
    return None


def largest_gap(
    free: IntervalSet,
    layout: Layout,
    size: int,
    *,
    allowed: Callable[[int], bool],
    in_order: bool,
    resume_at: int,
    busy_ends: Collection[int],
) -> tuple[int, int] | None:
    """A run for a server: where its last one ended if that is free, else in the largest gap (BEP 19).

    A gap that begins where somebody is about to arrive is entered in its middle, so that the other can go on.
    """
    candidates = [
        (stop - first, first, stop)
        for low, stop in free
        if (first := _first_allowed(layout, low, stop, allowed)) is not None
    ]
    if not candidates:
        return None
    if in_order:
        start = min(first for _, first, _ in candidates)
        return start, _extend(free, layout, start, size, allowed)
    if resume_at in free and allowed(layout.piece_at(resume_at)):
        return resume_at, _extend(free, layout, resume_at, size, allowed)
    length, start, stop = max(candidates, key=lambda item: (item[0], -item[1]))
    if start in busy_ends and length > 2 * layout.piece_length:
        middle = layout.piece_start(layout.piece_at(start + length // 2))
        start = _first_allowed(layout, max(middle, start), stop, allowed) or start
    return start, _extend(free, layout, start, size, allowed)


def rarest_run(
    free: IntervalSet,
    layout: Layout,
    size: int,
    *,
    whole: int,
    begun: int,
    in_order: bool,
    rarest: Callable[[int], int],
    rng: "Random",
) -> tuple[int, int] | None:
    """A run for a peer: the rest of a piece begun by others first, else one of the rarest pieces and what follows it.

    `whole` are the free pieces it may be given, `begun` those of which only some is free.
    """

    def allowed(piece: int) -> bool:
        return bool((whole | begun) >> piece & 1)

    def first_of(piece: int) -> tuple[int, int]:
        return free.overlap(layout.piece_start(piece), layout.piece_end(piece))[0]

    if in_order and whole | begun:
        start = first_of(bits.lowest(whole | begun))[0]
        return start, _extend(free, layout, start, size, allowed)
    if begun:
        return first_of(bits.lowest(begun))
    if not whole:
        return None
    start = layout.piece_start(bits.anyone(rarest(whole), rng))
    return start, _extend(free, layout, start, size, allowed)
