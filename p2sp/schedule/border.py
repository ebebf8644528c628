"""What may a source outside of our ISP be asked for, so that a piece crosses the border once, and nobody waits long?"""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import attrs

from p2sp.schedule.bits import Copies
from p2sp.schedule.expected import Expected
from p2sp.schedule.imports import Roster
from p2sp.schedule.rescue import GRACE, SETTLE
from p2sp.schedule.spans import Kind, Mode
from p2sp.schedule.standing import SourceState

if TYPE_CHECKING:
    from random import Random

CLEARLY = 0.5
"""What is in the ISP is fetched from outside by who brings this part of all that sources inside bring together."""

SAVED = 5.0
"""Seconds that this must save."""

WORTH_TRYING = 30.0
"""Seconds that the way inside must still take before one outside of which nothing is known is tried beside it."""


@attrs.frozen
class Myself:
    """Who we are among those that want a resource: our node id and the resource's id, for the order of bringers."""

    node: str
    resource: bytes


WARMING = 5.0
"""Seconds after the first byte from inside before which nobody can tell how fast that way is."""

AT_ONCE = 4
AHEAD = 2.0
"""Pieces that are being brought into the ISP by us at a time: so many, and those that come in so many seconds."""


class Border:
    """Tells what may cross, of the pieces still wanted.

    Sources are *inside* our ISP or *outside*; resource servers are outside. What nobody inside has is brought by its
    bringer in the ISP; in mode OFFLOAD a server gives what no node has at all, and only to its bringer among all we
    know. With nobody inside mode FAST knows no border.
    """

    def __init__(
        self, myself: Myself, pieces: int, *, mode: Mode, in_order: bool, floor_rate: float, rng: "Random"
    ) -> None:
        self._mode = mode
        self._in_order = in_order
        self._floor_rate = floor_rate
        self._inside = Copies()
        self._outside = Copies()
        self._isp = Roster(myself.node, myself.resource, pieces, temper=rng.random())
        self._swarm = Roster(myself.node, myself.resource, pieces, temper=rng.random())
        self._joined: set[str] = set()
        self.expected = Expected()
        self._insiders = 0
        self._others = 0
        self._since_inside: float | None = None
        self._moved_inside: float | None = None
        self._moved: float | None = None

    # -- who is where, and has what --------------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """The download begins."""
        self._isp.start(now)
        self._swarm.start(now)

    def joined(self, source: SourceState, now: float) -> None:
        """A peer or super node takes part."""
        self._others += 1
        self._insiders += source.inside
        if source.node:
            self._joined.add(source.node)
            if source.pieces or not self.expected.is_whole(source.node):
                self.expected.drop(source.node)
            self._swarm.join(source.node, now)
            if source.inside:
                self._isp.join(source.node, now)
            else:
                self._isp.leave(source.node)
        self._note(source, 0, source.pieces, now)

    def left(self, source: SourceState) -> None:
        """It is gone, with what it had."""
        self._copies_of(source).change(source.pieces, 0)
        self._others -= 1
        self._insiders -= source.inside
        self._joined.discard(source.node)
        self.expected.drop(source.node)
        self._swarm.leave(source.node)
        self._isp.leave(source.node)

    def gained(self, source: SourceState, before: int, now: float) -> None:
        """What it has has changed."""
        inside, anywhere = self._inside.known, self._inside.known | self._outside.known
        self.expected.drop(source.node)
        self._note(source, before, source.pieces, now)
        self._isp.arrived(self._inside.known & ~inside, now)
        self._swarm.arrived((self._inside.known | self._outside.known) & ~anywhere, now)

    def verified(self, piece: int, now: float) -> None:
        """We have a piece."""
        fresh = 1 << piece & ~self._inside.known
        self._isp.arrived(fresh, now)
        self._swarm.arrived(fresh & ~self._outside.known, now)

    def delivered(self, source: SourceState, now: float) -> None:
        """Bytes came from a peer or super node."""
        self._moved = now
        if source.inside:
            self._moved_inside = now
            if self._since_inside is None:
                self._since_inside = now

    # -- who is about to come --------------------------------------------------------------------------------

    def listens(self, now: float) -> bool:
        """Whether we still do not know if there is anybody else."""
        return not self._others and self.expected.listens(now)

    def expect(self, node: str, now: float, until: float, *, whole: bool) -> None:
        """A node of our ISP is being called: it counts as one of those who bring, until it is there or `until`."""
        if node not in self._joined and node not in self.expected:
            self.expected.add(node, until, whole=whole)
            self._isp.join(node, now)
            self._swarm.join(node, now)

    def expect_no_more(self, node: str) -> None:
        """It does not come."""
        if self.expected.drop(node) and node not in self._joined:
            self._isp.leave(node)
            self._swarm.leave(node)

    def _copies_of(self, source: SourceState) -> Copies:
        return self._inside if source.inside else self._outside

    def _note(self, source: SourceState, before: int, after: int, now: float) -> None:
        self._copies_of(source).change(before, after)
        if after and self._moved is None:
            self._moved = now
        if after and source.inside and self._moved_inside is None:
            self._moved_inside = now

    # -- what that means -------------------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """Whether others in our ISP bring a part of what is wanted."""
        return (self._insiders > 0 or bool(self.expected)) and not self._in_order

    @property
    def guarded(self) -> bool:
        """Whether there is a border at all."""
        return self.shared or (self._mode is Mode.OFFLOAD and self._others > 0)

    @property
    def unheard(self) -> int:
        """What no peer or super node has."""
        return ~(self._inside.known | self._outside.known)

    def rarest(self, source: SourceState, among: int) -> int:
        """Of these pieces the rarest: inside for a source inside, anywhere for others; of those of a bringer one."""
        rare = self._inside.rarest(among)
        if source.inside:
            return rare
        rare = self._outside.rarest(rare)
        if not self.guarded or rare & self._inside.known:
            return rare
        mine = self._isp.mine(rare)
        return self._isp.next(mine) if mine else self._isp.last(rare)

    def tiers(
        self, source: SourceState, sources: Collection[SourceState], wanted: int, free: int, piece: int, now: float
    ) -> Iterator[int]:
        """Sets of the `wanted` pieces that a source may be asked for, the better ones first.

        `free` are those nobody fetches yet, `piece` is the length of one.
        """
        for node in self.expected.overdue(now):
            self.expect_no_more(node)
        if self.expected.whole and not source.inside and not self._in_order:
            return
        spared = self._mode is Mode.OFFLOAD and source.kind is Kind.SERVER
        if source.inside or not self.guarded or (self._in_order and not spared):
            yield wanted
            return
        rate = source.expects(now)
        pace = piece / rate if rate > 0 else 0.0
        lacking = wanted & ~self._inside.known
        unheard = lacking & ~self._outside.known
        mine = self._isp.mine(lacking)
        first = self._swarm.mine(unheard) & mine
        if source.kind is Kind.SERVER:
            yield first
            if spared:
                if self._in_order:
                    # What comes first cannot wait for others.
                    yield unheard
                elif not first & free:
                    yield self._swarm.help(unheard, pace, now) & mine
                if self._lags(sources, now):
                    yield wanted
                return
            yield mine & unheard
        yield mine
        given = any(each.kind is Kind.SERVER for each in sources)
        to_be_had = lacking if given else lacking & self._outside.known
        if not mine & free & to_be_had:
            yield self._isp.help(lacking, pace, now)
        # As long as the ISP lacks anything, what crosses the border is to be that.
        if self._is_worth_it(source, sources, wanted.bit_count() * piece, now, idle=not to_be_had):
            yield wanted & self._inside.known

    def has_enough(self, source: SourceState, sources: Collection[SourceState], piece: int, now: float) -> bool:
        """Whether so much is on its way into the ISP already that a source outside is not to be asked for more.

        What is asked for of many at once comes late from all of them, and others take it for forgotten.
        """
        if source.inside or not self.shared:
            return False
        outside = [each for each in sources if not each.inside and not each.silent(now)]
        return sum(each.running for each in outside) >= AT_ONCE + AHEAD * _rate_of(outside, now) / piece

    def _lags(self, sources: Collection[SourceState], now: float) -> bool:
        """Whether servers are to give, in mode OFFLOAD, also what nodes could."""
        rate = _rate_of([each for each in sources if each.kind is not Kind.SERVER], now)
        return rate < self._floor_rate or (rate <= 0 and self._moved is not None and now - self._moved >= GRACE)

    def _is_worth_it(
        self, source: SourceState, sources: Collection[SourceState], left: int, now: float, *, idle: bool
    ) -> bool:
        """Whether a source outside is asked also for what is inside; `left` bytes are to be had still."""
        if self._moved_inside is None:
            return False
        rate = _rate_of([each for each in sources if each.inside], now)
        if rate <= 0:
            return now - self._moved_inside >= GRACE + self._isp.usual
        if self._mode is Mode.OFFLOAD:
            return rate < self._floor_rate
        if not idle or self._since_inside is None or now - self._since_inside < WARMING:
            return False
        if source.rate.age(now) >= SETTLE:
            more = source.expects(now)
            return more >= CLEARLY * rate and left / rate - left / (rate + more) >= SAVED
        trying = any(each.running and each.rate.age(now) < SETTLE for each in sources if not each.inside)
        return not trying and left / rate >= WORTH_TRYING


def _rate_of(sources: Collection[SourceState], now: float) -> float:
    """What sources bring together; who is not asked, or keeps silent, brings nothing."""
    return sum(each.rate.rate(now) for each in sources if each.running and now - each.heard < GRACE)
