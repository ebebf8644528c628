"""How is a scheduler driven by hand, with books of one's own beside it?"""

from collections.abc import Collection
from random import Random
from typing import Any

import attrs

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.scheduler import Scheduler
from p2sp.schedule.spans import Assignment, Kind, Span

PIECE = 4 * BLOCK


@attrs.define(eq=False)
class Fetch:
    """What the test knows of a running fetch. `at` is where its source is."""

    span: Span
    source: str
    at: int
    stop: int
    heard: float


@attrs.define(eq=False)
class Play:
    """A scheduler, a clock, and which blocks were delivered; `check` compares them."""

    layout: Layout
    scheduler: Scheduler
    now: float = 0.0
    holdings: dict[str, set[int]] = attrs.field(factory=dict)
    kinds: dict[str, Kind] = attrs.field(factory=dict)
    fetches: list[Fetch] = attrs.field(factory=list)
    delivered: set[int] = attrs.field(factory=set)
    givers: dict[int, str] = attrs.field(factory=dict)
    verified: set[int] = attrs.field(factory=set)
    twice: int = 0

    @classmethod
    def of(cls, layout: Layout, seed: int = 0, verified: Collection[int] = (), **options: Any) -> "Play":
        """A fresh game."""
        play = cls(layout, Scheduler(layout, verified, rng=Random(seed), **options))
        play.verified.update(verified)
        return play

    # -- moves -----------------------------------------------------------------------------------------------

    def join(
        self, key: str, kind: Kind = Kind.SERVER, pieces: Collection[int] | None = None, *, inside: bool = False
    ) -> None:
        """A source appears; it has everything unless told otherwise."""
        held = self.holdings[key] = set(range(self.layout.piece_count)) if pieces is None else set(pieces)
        self.kinds[key] = kind
        node = key if inside and kind is not Kind.SERVER else ""
        self.scheduler.add_source(key, kind, as_bits(held), self.now, inside=inside and bool(node), node=node)
        for span, stop in self.scheduler.recalled():
            (fetch,) = [fetch for fetch in self.fetches if fetch.span is span]
            assert fetch.at <= stop < fetch.stop
            fetch.stop = stop

    def leave(self, key: str) -> None:
        """A source vanishes in the midst of what it does."""
        for fetch in [fetch for fetch in self.fetches if fetch.source == key]:
            if fetch in self.fetches:
                self.end(fetch)
        self.scheduler.remove_source(key)
        del self.holdings[key], self.kinds[key]

    def ask(self, key: str) -> Fetch | None:
        """An idle source asks what to do."""
        owed = {id(fetch): self.owed(fetch) for fetch in self.fetches}
        assignment = self.scheduler.next_span(key, self.now)
        if assignment is None:
            return None
        self._check_assignment(key, assignment, owed)
        fetch = Fetch(assignment.span, key, assignment.span.start, assignment.span.stop, self.now)
        self.twice += sum(self.layout.size_of(*run) for other in self.fetches for run in self._common(fetch, other))
        self.fetches.append(fetch)
        return fetch

    def deliver(self, fetch: Fetch, blocks: int) -> int:
        """Blocks of a fetch arrive, in order; how many bytes that were."""
        start = fetch.at
        for _ in range(blocks):
            if fetch.at >= fetch.stop:
                break
            end = min(fetch.at + BLOCK, self.layout.piece_end(self.layout.piece_at(fetch.at)))
            if fetch.at // BLOCK not in self.delivered:
                self.delivered.add(fetch.at // BLOCK)
                self.givers[fetch.at // BLOCK] = fetch.source
            fetch.at = end if end % BLOCK == 0 else self.layout.piece_start(self.layout.piece_at(fetch.at) + 1)
            fetch.at = min(fetch.at, fetch.stop)
            fetch.heard = self.now
            self.scheduler.delivered(fetch.span, end - ((end - 1) % BLOCK + 1), end, self.now)
        return fetch.at - start

    def end(self, fetch: Fetch) -> None:
        """A fetch ends, wherever it is; who became redundant by that is ended too."""
        self.fetches.remove(fetch)
        redundant = self.scheduler.end(fetch.span, self.now)
        for other in list(self.fetches):
            if other.span in redundant and other in self.fetches:
                assert not self.owed(other)
                assert all(map(self._is_settled, self.blocks(other.at, other.stop)))
                self.end(other)

    def disown(self, key: str) -> None:
        """What a source gave is not believed, but for pieces that are there and about to be judged."""
        for fetch in [fetch for fetch in self.fetches if fetch.source == key]:
            if fetch in self.fetches:
                self.end(fetch)
        self.scheduler.distrust(key)
        judged = {block for piece in self.filled() for block in self._piece_blocks(piece)}
        for block in sorted(self.delivered - judged):
            if self.givers[block] == key and not self._is_good(block):
                self.delivered.remove(block)
                self.scheduler.disowned(
                    block * BLOCK, min((block + 1) * BLOCK, self.layout.piece_end(self.layout.piece_at(block * BLOCK)))
                )

    def judge(self, piece: int, *, good: bool, suspects: Collection[str] = ()) -> None:
        """The store has all of a piece and says what it is worth."""
        if good:
            self.verified.add(piece)
            self.scheduler.piece_verified(piece, self.now)
        else:
            self.delivered -= set(self._piece_blocks(piece))
            self.scheduler.piece_failed(piece, frozenset(suspects), self.now)

    # -- looks -----------------------------------------------------------------------------------------------

    def blocks(self, start: int, stop: int) -> list[int]:
        """The blocks that exist in a run of positions, by number."""
        return [
            (self.layout.piece_start(block.piece) + block.begin) // BLOCK for block in self.layout.blocks(start, stop)
        ]

    def _piece_blocks(self, piece: int) -> list[int]:
        return self.blocks(self.layout.piece_start(piece), self.layout.piece_end(piece))

    def _is_good(self, block: int) -> bool:
        return self.layout.piece_at(block * BLOCK) in self.verified

    def _is_settled(self, block: int) -> bool:
        """Whether a block is not lost: it is here, or, as its piece failed, to be given out anew, or given already."""
        if block in self.delivered or self._is_good(block) or block * BLOCK in self.scheduler.free:
            return True
        return any(block in self.owed(fetch) for fetch in self.fetches)

    def filled(self) -> list[int]:
        """Pieces the store has all of and has not judged well yet."""
        return [
            piece
            for piece in range(self.layout.piece_count)
            if piece not in self.verified and self.delivered.issuperset(self._piece_blocks(piece))
        ]

    def owed(self, fetch: Fetch) -> set[int]:
        """The blocks the scheduler counts on this fetch for."""
        missing = self.scheduler._ledger.running[fetch.span].missing
        return {block for start, stop in missing for block in self.blocks(start, stop)}

    def _common(self, one: Fetch, other: Fetch) -> list[tuple[int, int]]:
        running = self.scheduler._ledger.running
        return [
            run for low, high in running[one.span].missing for run in running[other.span].missing.overlap(low, high)
        ]

    def _check_assignment(self, key: str, assignment: Assignment, owed: dict[int, set[int]]) -> None:
        span = assignment.span
        assert span.start < span.stop
        assert span.start % BLOCK == 0
        lacking = set(self.layout.pieces_in(span.start, span.stop)) - self.holdings[key]
        assert not lacking, f"{key} was given pieces {lacking} it does not have"
        done = [at for at in self.blocks(span.start, span.stop) if at in self.delivered or self._is_good(at)]
        assert not done, f"blocks {done} are to be fetched although they are here"
        if assignment.victim is None:
            return
        (victim,) = [fetch for fetch in self.fetches if fetch.span is assignment.victim]
        cut = assignment.victim_stop
        assert cut == span.start
        assert cut % BLOCK == 0
        assert set(self.blocks(*attrs.astuple(span))) <= owed[id(victim)]
        # In order, as here, a source is never cut before where it is.
        assert victim.at <= cut < victim.stop
        victim.stop = cut

    def check(self) -> None:
        """Every block is free, or owed by one fetch or two, or delivered; never two of these."""
        owners: dict[int, int] = {}
        for fetch in self.fetches:
            for block in self.owed(fetch):
                owners[block] = owners.get(block, 0) + 1
        free = {block for start, stop in self.scheduler.free for block in self.blocks(start, stop)}
        for block in self.blocks(0, self.layout.end):
            count = owners.get(block, 0)
            if block in self.delivered or self._is_good(block):
                assert count == 0, f"block {block} is here and still owed by {count}"
                assert block not in free, f"block {block} is here and free"
            else:
                assert count <= 2, f"block {block} is fetched by {count}"
                assert (block in free) != (count > 0), f"block {block}: free {block in free}, owed by {count}"
        assert len(free) == sum(len(self.blocks(*run)) for run in self.scheduler.free)


def as_bits(pieces: Collection[int]) -> int:
    """Pieces as the scheduler counts with them."""
    return sum(1 << piece for piece in pieces)
