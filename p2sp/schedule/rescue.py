"""What may an idle source take over from a running fetch, or fetch a second time?"""

from collections.abc import Callable, Iterator

import attrs

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.ledger import Ledger, Running
from p2sp.schedule.spans import IntervalSet

SETTLE = 0.5
"""Seconds after which the pace of a fetch or of its source is known well enough to act upon it."""

GRACE = 3.0
"""Seconds without a byte after which a fetch counts as silent, and all that it owes may be taken."""

WORTH = 0.75
"""A tail is taken when the taker is through with it in at most this part of the time its owner needs for all."""

MIN_SAVED = 0.25
"""Seconds that must be saved: a request more costs a round trip."""

MIN_SAVED_OF_NODE = 0.5
"""The same where a peer or super node owns the fetch: what it has written to its socket comes all the same."""

KEEP = 256 * 1024
KEEP_SECONDS = 0.5
"""What stays with the owner whose tail is taken, because it may be under way: the smaller of both."""

FIRST = 1024 * 1024
"""Bytes given to a source of which nothing is known yet."""

COPY_WORTH = 1.5
"""A second copy is fetched by who is so much faster than the owner."""


@attrs.frozen
class Helper:
    """The idle source: the rate it may expect (0.0: unknown), what it may be given, and whose fetches are its own."""

    key: str
    rate: float
    allowed: Callable[[int], bool]


@attrs.frozen
class Pace:
    """How a running fetch moves: bytes a second, seconds to its end, and whether nothing comes at all.

    `known`: it can be relied on. `spare`: its owner is to be spared where the helper can take over. `least` are the
    seconds that taking something over must save.
    """

    rate: float
    eta: float
    silent: bool
    known: bool
    spare: bool = False
    least: float = MIN_SAVED


@attrs.frozen
class Tail:
    """A run [start, stop) to take from a fetch, which shall end at `start`."""

    fetch: Running
    start: int
    stop: int

    def last_piece(self, layout: Layout) -> "Tail":
        """What of it lies in its last piece."""
        return attrs.evolve(self, start=max(self.start, layout.piece_start(layout.piece_at(self.stop - 1))))


def aligned(position: int) -> int:
    """The next block's boundary at or behind a position."""
    return -(-position // BLOCK) * BLOCK


def best_tail(ledger: Ledger, layout: Layout, helper: Helper, pace: Callable[[Running], Pace]) -> Tail | None:
    """The tail of the fetch that would take longest, if the helper is better for it or its owner is to be spared."""
    best: tuple[float, Tail] | None = None
    for fetch in ledger.running.values():
        its = pace(fetch)
        if not its.silent and (fetch.single or its.rate <= 0 or not its.known):
            continue
        if (
            not fetch.missing
            or (its.silent and fetch.source == helper.key)
            or (best is not None and its.eta <= best[0])
        ):
            continue
        cut = _cut(fetch, helper.rate, its)
        run = max(_runs(fetch.missing, layout, cut, fetch.stop, helper.allowed), key=_length, default=None)
        if run is not None and _worth(_length(run), helper.rate, its) and not _helped(ledger, fetch, pace):
            # Who is spared is rid of all behind the cut: what the helper does not take now becomes free.
            best = its.eta, Tail(fetch, run[0], min(run[1], run[0] + FIRST) if its.spare else run[1])
    return best[1] if best is not None else None


def _helped(ledger: Ledger, fetch: Running, pace: Callable[[Running], Pace]) -> bool:
    """Whether somebody shares a fetch already: of two that are both silent, another may take the place of one."""
    sharers = ledger.sharers(fetch)
    return not all(pace(each).silent for each in (fetch, *sharers)) if sharers else False


def _length(run: tuple[int, int]) -> int:
    return run[1] - run[0]


def _cut(fetch: Running, mine: float, its: Pace) -> int:
    """Where to cut so that both end together; a silent fetch loses all it owes, to a stranger only a little."""
    first = next(iter(fetch.missing))[0]
    if its.silent:
        return first if mine > 0 else max(first, aligned(fetch.stop - FIRST))
    keep = min(KEEP, int(its.rate * KEEP_SECONDS))
    if its.spare:
        return aligned(fetch.frontier + keep)
    share = int(fetch.left * mine / (mine + its.rate)) if mine > 0 else min(FIRST, fetch.left // 2)
    return aligned(max(fetch.stop - share, fetch.frontier + keep))


def _runs(
    missing: IntervalSet, layout: Layout, start: int, stop: int, allowed: Callable[[int], bool]
) -> Iterator[tuple[int, int]]:
    """The runs in [start, stop) that are owed and that the helper may be given."""
    for low, high in missing.overlap(start, stop):
        begin = low
        for piece in layout.pieces_in(low, high):
            if not allowed(piece):
                if begin < layout.piece_start(piece):
                    yield begin, layout.piece_start(piece)
                begin = layout.piece_start(piece + 1)
        if begin < high:
            yield begin, high


def _worth(size: int, mine: float, its: Pace) -> bool:
    if its.silent or its.spare:
        return True
    # A stranger is taken to be as fast as the owner: it gets little, and what it cannot do is taken back.
    needed = size / (mine or its.rate)
    return needed <= its.eta * WORTH and size / its.rate >= its.least


def best_copy(
    ledger: Ledger, layout: Layout, helper: Helper, pace: Callable[[Running], Pace], budget: int
) -> tuple[int, int] | None:
    """A run to fetch a second time, of at most `budget` bytes, from the fetch that would take longest."""
    best: tuple[float, int, int] | None = None
    for fetch in ledger.running.values():
        its = pace(fetch)
        eta = its.eta
        if fetch.source == helper.key or fetch.single or not its.known or (best is not None and eta <= best[0]):
            continue
        for start, stop in fetch.missing:
            # The owner works from the front: what the budget does not cover is left to it.
            start = max(start, aligned(stop - budget))
            needed = (stop - start) / helper.rate if helper.rate > 0 else GRACE
            worth = start < stop and needed * COPY_WORTH < eta and eta - needed >= its.least
            if worth and all(map(helper.allowed, layout.pieces_in(start, stop))) and not ledger.sharers(fetch):
                best = eta, start, stop
                break
    return best[1:] if best is not None else None
