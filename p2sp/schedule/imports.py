"""Which node of a group brings which piece into it, agreed without a word between them?

Rendezvous hashing: of everybody in the group each node makes out the same order for a piece, and the first in it is the
piece's *bringer*. Who joins or leaves changes the bringer of its share alone. A node knows only those it is linked
with, so that in a large group a piece may have several bringers; by the time the second begins it has mostly spread.
"""

from array import array
from collections.abc import Iterable
from functools import lru_cache
from hashlib import shake_128
from sys import byteorder

import attrs

from p2sp.schedule.bits import each

WIDTH = 4096
"""Pieces whose order is worked out; further ones have that of the piece so many before."""

HELP = 4.0
"""Another's pieces may be taken once they would take so many times the time that one takes us, or takes on average."""

SLACK = 3.0
"""Seconds on top of that: what is on its way and what is told of it take a moment."""

DESPAIR = 3.0
"""So many times that long after which anybody may take them, whoever is next in the order."""

LOST = 20.0
PIECES_LATE = 3.0
"""Anybody may also take them when nothing was brought for so many seconds, and for as long as so many pieces take."""


@lru_cache(maxsize=4096)
def _scores(resource: bytes, node: str, width: int) -> "array[int]":
    scores = array("I", shake_128(resource + node.encode()).digest(4 * width))
    if byteorder == "big":
        scores.byteswap()
    return scores


@attrs.define(eq=False)
class _Member:
    """A node of the group: since when it is known, how many of its pieces came to be there, and when the last did."""

    scores: "array[int]"
    own: int
    since: float
    last: float
    brought: int = 0

    def pace(self, now: float, others: float) -> float:
        """Seconds it takes for a piece; `others`: what the group does, for one that has not shown anything yet."""
        usual = (self.last - self.since) / self.brought if self.brought else others
        return max(usual, now - self.last)


class Roster:
    """Who brings what into a group of nodes that all want the same resource.

    `me` is ourselves, and always in. A node is named by what all others name it, too: its node id. `temper` between 0
    and 1 makes us wait longer than others before we take what is another's duty.
    """

    def __init__(self, me: str, resource: bytes, pieces: int, *, temper: float) -> None:
        self._me = me
        self._resource = resource
        self._pieces = pieces
        self._width = min(pieces, WIDTH)
        self._temper = 1.0 + temper
        self._members: dict[str, _Member] = {}
        self._bringers: list[str] = [me] * self._width
        self._turns: tuple[frozenset[str], dict[int, str]] = (frozenset(), {})
        self._members[me] = _Member(_scores(resource, me, self._width), (1 << self._width) - 1, 0.0, 0.0)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, node: str) -> bool:
        return node in self._members

    def start(self, now: float) -> None:
        """We ourselves begin now."""
        mine = self._members[self._me]
        mine.since = mine.last = now

    def join(self, node: str, now: float) -> None:
        """A node takes part from now on."""
        if node in self._members:
            return
        scores = _scores(self._resource, node, self._width)
        taken: dict[str, int] = {}
        for at, bringer in enumerate(self._bringers):
            if (scores[at], node) > (self._members[bringer].scores[at], bringer):
                taken[bringer] = taken.get(bringer, 0) | 1 << at
                self._bringers[at] = node
        for bringer, pieces in taken.items():
            self._members[bringer].own ^= pieces
        self._members[node] = _Member(scores, sum(taken.values()), now, now)
        self._turns = (frozenset(), {})

    def leave(self, node: str) -> None:
        """A node is gone; what it was to bring falls to the next in the order, piece by piece."""
        gone = self._members.pop(node, None) if node != self._me else None
        if gone is None:
            return
        for at in each(gone.own):
            bringer = self._first(self._members, at)
            self._bringers[at] = bringer
            self._members[bringer].own |= 1 << at
        self._turns = (frozenset(), {})

    @property
    def usual(self) -> float:
        """Seconds in which a node of the group brings a piece, on average; 0.0 while nobody did."""
        seconds = [(m.last - m.since) / m.brought for m in self._members.values() if m.brought]
        return sum(seconds) / len(seconds) if seconds else 0.0

    def arrived(self, pieces: int, now: float) -> None:
        """These pieces have come to be in the group: whoever was to bring them moves."""
        for at in each(self._fold(pieces)):
            member = self._members[self._bringers[at]]
            member.brought += 1
            member.last = now

    def mine(self, lacking: int) -> int:
        """What of the pieces that the group lacks is ours to bring."""
        return lacking & self._unfold(self._members[self._me].own)

    def help(self, lacking: int, mine: float, now: float) -> int:
        """What of others' pieces we may bring, if all of ours are there: of those who would take too long.

        `mine` is how many seconds a piece takes us. Of those who have nothing left to bring either the next in the
        order helps; whoever it is, once that took too long as well.
        """
        folded = self._fold(lacking)
        usual = self.usual
        idle = frozenset(node for node, member in self._members.items() if not member.own & folded)
        if self._me not in idle:
            return 0
        if self._turns[0] != idle:
            self._turns = (idle, {})
        turns = self._turns[1]
        taken = 0
        enough = HELP * max(mine, usual) + SLACK
        for node, member in self._members.items():
            undone = member.own & folded
            if not undone or node == self._me:
                continue
            needed = undone.bit_count() * member.pace(now, usual)
            lost = now - member.last > self._temper * max(LOST, PIECES_LATE * usual)
            if lost or needed > DESPAIR * self._temper * enough:
                taken |= undone
            elif needed > enough:
                for at in each(undone):
                    if at not in turns:
                        turns[at] = self._first(idle, at)
                    if turns[at] == self._me:
                        taken |= 1 << at
        return lacking & self._unfold(taken)

    def next(self, pieces: int) -> int:
        """Of these pieces one of ours: those who help begin at the other end."""
        scores = self._members[self._me].scores
        return 1 << max(each(pieces), key=lambda piece: scores[piece % self._width])

    def last(self, pieces: int) -> int:
        """Of these pieces of others the one that its bringer comes to last."""

        def score(piece: int) -> int:
            at = piece % self._width
            return self._members[self._bringers[at]].scores[at]

        return 1 << min(each(pieces), key=score)

    def _first(self, nodes: Iterable[str], piece: int) -> str:
        return max(nodes, key=lambda node: (self._members[node].scores[piece], node))

    def _fold(self, pieces: int) -> int:
        """By the pieces whose order counts for them."""
        if self._pieces <= self._width:
            return pieces
        folded = 0
        while pieces:
            folded |= pieces & ((1 << self._width) - 1)
            pieces >>= self._width
        return folded

    def _unfold(self, folded: int) -> int:
        if self._pieces <= self._width:
            return folded
        times = -(-self._pieces // self._width)
        return folded * (((1 << self._width * times) - 1) // ((1 << self._width) - 1))
