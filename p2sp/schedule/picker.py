"""Which free run suits this source? Long ones in a row for servers, the rarest pieces for peers."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from p2sp.resource.layout import Layout
from p2sp.schedule.spans import IntervalSet

if TYPE_CHECKING:
    from random import Random

SAMPLE = 64
"""Free pieces compared when the rarest is sought: enough to find a rare one, few enough to ask at each choice."""


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
    allowed: Callable[[int], bool],
    in_order: bool,
    copies: Callable[[int], int],
    rng: "Random",
) -> tuple[int, int] | None:
    """A run for a peer: the rest of a piece begun by others first, else the rarest of a sample of free pieces."""
    begun: list[int] = []
    whole: list[int] = []
    for low, stop in free:
        for piece in layout.pieces_in(low, stop):
            start = max(low, layout.piece_start(piece))
            fits = low <= layout.piece_start(piece) and layout.piece_end(piece) <= stop
            if in_order and allowed(piece):
                return start, _extend(free, layout, start, size, allowed)
            (whole if fits else begun).append(start)
    for start in begun:
        piece = layout.piece_at(start)
        if allowed(piece):
            end = next(high for low, high in free.overlap(start, layout.piece_end(piece)) if low <= start)
            return start, end
    sample = whole if len(whole) <= SAMPLE else rng.sample(whole, SAMPLE)
    possible = [start for start in sample if allowed(layout.piece_at(start))]
    if not possible and len(whole) > SAMPLE:
        possible = [start for start in whole if allowed(layout.piece_at(start))][:SAMPLE]
    if not possible:
        return None
    rng.shuffle(possible)
    start = min(possible, key=lambda at: copies(layout.piece_at(at)))
    return start, _extend(free, layout, start, size, allowed)
