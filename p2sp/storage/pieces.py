"""Which blocks of which pieces are there, who gave them, and who gave wrong ones? Pure."""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence

import attrs

from p2sp.resource.layout import Layout, Segment
from p2sp.resource.merkle import BLOCK, blocks_in
from p2sp.resource.verification import Content, Evidence
from p2sp.storage.interfaces import Examined, Verdict

FAILED_KEPT = 2
"""Failed attempts remembered per piece."""

PIECES_REMEMBERED = 256
"""Pieces whose failed attempts are remembered at the same time; the oldest is forgotten first."""

_FREE, _CLAIMED, _DOOMED, _DONE = range(4)
"""A block on its way to the disk is doomed when its giver is disowned meanwhile: once landed, it is free again."""


_READ_RUN = 64 * BLOCK


def parts_of(read: Callable[[Segment], bytes], layout: Layout, piece: int) -> Iterator[bytes]:
    """The bytes of a piece, part by part; each is whole blocks. Errors of `read` go through."""
    stop = layout.piece_end(piece)
    for start in range(layout.piece_start(piece), stop, _READ_RUN):
        where = layout.whole(start, min(start + _READ_RUN, stop))
        assert where is not None
        yield read(where)


@attrs.frozen
class Failed:
    """An attempt at a piece that did not verify: the leaf hash of every block and its giver."""

    leaves: tuple[bytes, ...]
    sources: tuple[str, ...]


@attrs.define
class _Attempt:
    """A piece in progress, block by block."""

    state: bytearray
    leaves: list[bytes]
    sources: list[str]


class PieceBook:
    """The books of one content: a piece goes from free, by blocks claimed and landed, to verified or free again.

    A block is *claimed* from the moment somebody is about to write it, so that no two writes of one block run at the
    same time: whichever ended last would decide what is on disk, and the other's hash what is believed.
    For the same reason a claimed block whose giver is `disown`ed stays taken until it has landed.
    """

    def __init__(self, content: Content) -> None:
        self._layout: Layout = content.layout
        self._verification = content.verification
        self.verified: list[bool] = [False] * content.layout.piece_count
        self.bits = bytearray(-(-content.layout.piece_count // 8))
        """The same, as the bitfield of BEP 3 (first piece in the highest bit)."""
        self._wanted = content.layout.piece_count - len(content.unwanted)
        self._unwanted = content.unwanted
        self.count = 0
        self.bytes_verified = 0
        self._attempts: dict[int, _Attempt] = {}
        self._failed: OrderedDict[int, deque[Failed]] = OrderedDict()
        self._doomed: Counter[str] = Counter()
        self._untouched: set[int] = set()
        """Pieces that failed and of which nothing was written since: the bytes of the attempt are still there."""

    @property
    def complete(self) -> bool:
        """Whether every piece that is wanted is verified."""
        return self.count == self._wanted

    def remaining(self) -> list[tuple[int, int]]:
        """Runs of positions of the pieces that are wanted and not verified, in order, neighbours joined."""
        runs: list[tuple[int, int]] = []
        previous = -2
        for piece, good in enumerate(self.verified):
            if good or piece in self._unwanted:
                continue
            start, stop = self._layout.piece_start(piece), self._layout.piece_end(piece)
            if previous == piece - 1:
                runs[-1] = (runs[-1][0], stop)
            else:
                runs.append((start, stop))
            previous = piece
        return runs

    def mark(self, piece: int) -> None:
        """This piece is known to be good."""
        if self.verified[piece] or piece in self._unwanted:
            return
        self.verified[piece] = True
        self.bits[piece >> 3] |= 0x80 >> (piece & 7)
        self.count += 1
        self.bytes_verified += self._layout.piece_size(piece)

    def forget(self, piece: int) -> bool:
        """This piece is to be had anew; whether it was verified at all."""
        if not self.verified[piece]:
            return False
        self.verified[piece] = False
        self.bits[piece >> 3] &= ~(0x80 >> (piece & 7)) & 0xFF
        self.count -= 1
        self.bytes_verified -= self._layout.piece_size(piece)
        return True

    def claim(self, piece: int, blocks: range, source: str) -> list[range]:
        """Those runs of `blocks` that nobody has written or is writing; they are now to be written for `source`."""
        if self.verified[piece] or piece in self._unwanted:
            return []
        self._untouched.discard(piece)
        attempt = self._attempts.get(piece) or self._begin(piece)
        runs: list[range] = []
        for block in blocks:
            if attempt.state[block] != _FREE:
                continue
            attempt.state[block] = _CLAIMED
            attempt.sources[block] = source
            if runs and runs[-1].stop == block:
                runs[-1] = range(runs[-1].start, block + 1)
            else:
                runs.append(range(block, block + 1))
        return runs

    def _begin(self, piece: int) -> _Attempt:
        count = blocks_in(self._layout.piece_size(piece))
        attempt = self._attempts[piece] = _Attempt(bytearray(count), [b""] * count, [""] * count)
        return attempt

    def release(self, piece: int, runs: Sequence[range]) -> None:
        """The write of claimed blocks failed: they are free again."""
        attempt = self._attempts[piece]
        for run in runs:
            for block in run:
                self._free(attempt, block)
        self._drop_if_empty(piece, attempt)

    def landed(self, piece: int, runs: Sequence[range], leaves: Sequence[bytes]) -> Verdict | None:
        """Claimed blocks are on disk, with these leaf hashes in the runs' order; the verdict if that filled the piece.

        On a bad verdict all blocks of the piece are free again. Of content that is judged by bytes there is no verdict
        here: once the piece is `full`, somebody must look at them and call `judged`, or `dismiss` what cannot be read.
        """
        attempt = self._attempts[piece]
        hashes = iter(leaves)
        for run in runs:
            for block in run:
                leaf = next(hashes)
                if attempt.state[block] == _DOOMED:
                    self._free(attempt, block)
                else:
                    attempt.state[block] = _DONE
                    attempt.leaves[block] = leaf
        self._drop_if_empty(piece, attempt)
        if self._verification.evidence is Evidence.BYTES or not self.full(piece):
            return None
        return self.judged(piece, self._verification.check(piece, attempt.leaves), attempt.leaves)

    def _free(self, attempt: _Attempt, block: int) -> None:
        if attempt.state[block] == _DOOMED:
            self._doomed[attempt.sources[block]] -= 1
        attempt.state[block] = _FREE
        attempt.sources[block] = ""

    def _drop_if_empty(self, piece: int, attempt: _Attempt) -> None:
        if not any(attempt.state):
            del self._attempts[piece]

    def disown(self, source: str) -> list[tuple[int, int]]:
        """Believe nothing that a source gave for unfinished pieces; the runs of positions that are to be had anew.

        They are free now, but for those still on their way to the disk: these once the source is no longer `awaited`.
        A piece that is full, or on its way as a whole from this source, is left alone: its verdict comes and says more.
        """
        runs: list[tuple[int, int]] = []
        for piece, attempt in sorted(self._attempts.items()):
            coming = _FREE not in attempt.state and _DOOMED not in attempt.state
            alone = coming and set(attempt.sources) == {source}
            if alone or self.full(piece):
                continue
            for block, giver in enumerate(attempt.sources):
                if giver != source or attempt.state[block] == _DOOMED:
                    continue
                if attempt.state[block] == _CLAIMED:
                    attempt.state[block] = _DOOMED
                    self._doomed[source] += 1
                else:
                    self._free(attempt, block)
                self._add_block(runs, piece, block)
            self._drop_if_empty(piece, attempt)
        return runs

    def awaited(self, source: str) -> bool:
        """Whether blocks of a source that was disowned are still on their way to the disk."""
        return self._doomed[source] > 0

    def full(self, piece: int) -> bool:
        """Whether every block of a piece has landed and no verdict was given yet."""
        attempt = self._attempts.get(piece)
        return attempt is not None and attempt.state.count(_DONE) == len(attempt.state)

    def failed(self, piece: int) -> bool:
        """Whether earlier attempts at a piece are remembered: leaf hashes then tell who was wrong."""
        return piece in self._failed

    def dismiss(self, piece: int) -> None:
        """The blocks of a full piece are free again, without a verdict."""
        del self._attempts[piece]

    def judged(self, piece: int, good: bool, leaves: Sequence[bytes]) -> Verdict:
        """What a full piece turned out to be; `leaves` may be empty of a good one of which no attempt failed."""
        attempt = self._attempts.pop(piece)
        if good:
            self.mark(piece)
            return Verdict(piece, True, self._blamed(piece, leaves))
        self._remember(piece, Failed(tuple(leaves), tuple(attempt.sources)))
        return Verdict(piece, False, frozenset(attempt.sources) - {""})

    def examine(self, piece: int, right: Sequence[bytes]) -> Examined | None:
        """Keep the blocks of a piece that failed which have the right leaf hashes: nobody answers for them any more.

        None when the bytes of that attempt are not there any more.
        """
        if piece not in self._untouched:
            return None
        failed = self._failed[piece][-1]
        guilty = self._blamed(piece, right)
        attempt = self._begin(piece)
        bad: list[tuple[int, int]] = []
        for block, leaf in enumerate(failed.leaves):
            if leaf == right[block]:
                attempt.state[block] = _DONE
                attempt.leaves[block] = leaf
            else:
                self._add_block(bad, piece, block)
        self._drop_if_empty(piece, attempt)
        return Examined(tuple(bad), guilty)

    def _add_block(self, runs: list[tuple[int, int]], piece: int, block: int) -> None:
        """Put the positions of a block into a row of runs, neighbours joined."""
        start = self._layout.piece_start(piece) + block * BLOCK
        stop = min(start + BLOCK, self._layout.piece_end(piece))
        if runs and runs[-1][1] == start:
            runs[-1] = runs[-1][0], stop
        else:
            runs.append((start, stop))

    def _remember(self, piece: int, failed: Failed) -> None:
        self._failed.setdefault(piece, deque(maxlen=FAILED_KEPT)).append(failed)
        self._failed.move_to_end(piece)
        self._untouched.add(piece)
        if len(self._failed) > PIECES_REMEMBERED:
            oldest, _ = self._failed.popitem(last=False)
            self._untouched.discard(oldest)

    def _blamed(self, piece: int, good: Sequence[bytes]) -> frozenset[str]:
        """Who gave other bytes than the good ones in the attempts that failed."""
        self._untouched.discard(piece)
        return frozenset(
            source
            for failed in self._failed.pop(piece, ())
            for leaf, source, right in zip(failed.leaves, failed.sources, good, strict=True)
            if leaf != right and source
        )
