"""Does the scheduler keep its books whatever sources do, and does a download end while one honest source lives?"""

from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.border import Myself
from p2sp.schedule.rescue import FIRST
from p2sp.schedule.spans import Kind, Mode
from tests.schedule.play import PIECE, Fetch, Play, as_bits

LAYOUTS = [
    Layout([96 * BLOCK + 5], PIECE),
    Layout([BLOCK, 5, 0, 33 * BLOCK + 1, 40 * BLOCK, 3], PIECE),
    Layout([9], PIECE),
]
SILENCE = 30.0
"""Seconds after which the sources themselves give up a fetch."""


def end_well(play: Play) -> None:
    """A server with everything comes, all others fall silent: the download must end."""
    for piece in play.filled():
        play.judge(piece, good=True)
    play.join("honest")
    for _ in range(400):
        if len(play.verified) == play.layout.piece_count:
            break
        play.now += 0.5
        for fetch in list(play.fetches):
            if fetch in play.fetches and play.now - fetch.heard >= SILENCE:
                play.end(fetch)
        if (mine := play.ask("honest")) is not None:
            play.deliver(mine, 1000)
            play.end(mine)
        for piece in play.filled():
            play.judge(piece, good=True)
        play.check()
    assert len(play.verified) == play.layout.piece_count, "an honest source with everything could not end it"
    assert not play.scheduler.free


picks = st.integers(0, 1 << 30)


class SchedulerMachine(RuleBasedStateMachine):
    """Sources join and leave, deliver and stall; pieces turn out good or bad."""

    play: Play

    @initialize(
        layout=st.sampled_from(LAYOUTS),
        seed=st.integers(0, 9),
        mode=st.sampled_from(Mode),
        in_order=st.booleans(),
        trials=st.booleans(),
        floor=st.sampled_from([0.0, 1e5]),
        have=st.sets(st.integers(0, 10)),
        first=st.lists(st.sampled_from(Kind), max_size=4),
        alone=st.booleans(),
    )
    def begin(
        self,
        layout: Layout,
        seed: int,
        mode: Mode,
        in_order: bool,
        trials: bool,
        floor: float,
        have: set[int],
        first: list[Kind],
        alone: bool,
    ) -> None:
        have = {piece for piece in have if piece < layout.piece_count}
        myself = None if alone else Myself("me", b"resource")
        self.play = Play.of(
            layout, seed, have, mode=mode, in_order=in_order, trials=trials, floor_rate=floor, myself=myself
        )
        self.count = 0
        for kind in first:
            self.join(kind, None, inside=False)

    @rule(kind=st.sampled_from(Kind), pieces=st.none() | st.sets(st.integers(0, 30)), inside=st.booleans())
    def join(self, kind: Kind, pieces: set[int] | None, inside: bool) -> None:
        if len(self.play.holdings) < 6:
            self.count += 1
            self.play.join(f"{kind.value}{self.count}", kind, None if kind is Kind.SERVER else pieces, inside=inside)

    def source(self, pick: int) -> str:
        keys = sorted(self.play.holdings)
        return keys[pick % len(keys)]

    def fetch(self, pick: int) -> Fetch:
        return self.play.fetches[pick % len(self.play.fetches)]

    @precondition(lambda self: self.play.holdings)
    @rule(pick=picks, times=st.integers(1, 3))
    def ask(self, pick: int, times: int) -> None:
        key = self.source(pick)
        for _ in range(times):
            if sum(fetch.source == key for fetch in self.play.fetches) < 3:
                self.play.ask(key)

    @precondition(lambda self: self.play.fetches)
    @rule(pick=picks, blocks=st.integers(1, 40))
    def deliver(self, pick: int, blocks: int) -> None:
        fetch = self.fetch(pick)
        self.play.deliver(fetch, blocks)
        if fetch.at >= fetch.stop:
            self.play.end(fetch)

    @precondition(lambda self: self.play.fetches)
    @rule(pick=picks)
    def break_off(self, pick: int) -> None:
        self.play.end(self.fetch(pick))

    @precondition(lambda self: self.play.holdings)
    @rule(pick=picks)
    def leave(self, pick: int) -> None:
        self.play.leave(self.source(pick))

    @precondition(lambda self: self.play.holdings)
    @rule(pick=picks)
    def disown(self, pick: int) -> None:
        self.play.disown(self.source(pick))

    @precondition(lambda self: self.play.holdings)
    @rule(pick=picks, pieces=st.sets(st.integers(0, 30)))
    def gain(self, pick: int, pieces: set[int]) -> None:
        key = self.source(pick)
        self.play.holdings[key].update(pieces)
        self.play.scheduler.source_has(key, as_bits(self.play.holdings[key]), self.play.now)

    @rule(seconds=st.sampled_from([0.05, 0.3, 1.0, 3.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.play.now += seconds

    @precondition(lambda self: self.play.filled())
    @rule(pick=picks, good=st.booleans(), who=st.sets(picks, max_size=2))
    def judge(self, pick: int, good: bool, who: set[int]) -> None:
        pieces = self.play.filled()
        suspects = {self.source(each) for each in who} if self.play.holdings else set()
        self.play.judge(pieces[pick % len(pieces)], good=good, suspects=suspects)

    @invariant()
    def books(self) -> None:
        if hasattr(self, "play"):
            self.play.check()
            assert self.play.twice <= FIRST, "more was fetched twice than the budget allows"

    def teardown(self) -> None:
        if hasattr(self, "play"):
            end_well(self.play)


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def move(play: Play, rng: Random) -> None:
    """One step as it is likely in a real download: mostly sources ask and deliver, now and then something breaks."""
    chance = rng.random()
    if chance < 0.05 or not play.holdings:
        if rng.random() < 0.2 and play.holdings:
            play.disown(rng.choice(sorted(play.holdings)))
        elif len(play.holdings) < 7:
            kind = rng.choice(list(Kind))
            pieces = [piece for piece in range(play.layout.piece_count) if rng.random() < 0.7]
            inside = rng.random() < 0.5
            play.join(
                f"{kind.value}{rng.randrange(10**9)}", kind, None if kind is Kind.SERVER else pieces, inside=inside
            )
    elif chance < 0.07:
        play.leave(rng.choice(sorted(play.holdings)))
    elif chance < 0.10:
        rng.choice(list(play.holdings.values())).add(rng.randrange(play.layout.piece_count))
    elif chance < 0.45:
        key = rng.choice(sorted(play.holdings))
        if sum(fetch.source == key for fetch in play.fetches) < 2:
            play.ask(key)
    elif chance < 0.80 and play.fetches:
        fetch = rng.choice(play.fetches)
        # Some are slow, and some are silent.
        manner = int(fetch.source[-1]) % 4
        if manner:
            play.deliver(fetch, rng.randint(1, 12) if manner > 1 else 1)
            if fetch.at >= fetch.stop:
                play.end(fetch)
    elif chance < 0.83 and play.fetches:
        play.end(rng.choice(play.fetches))
    elif chance < 0.90:
        play.now += rng.choice([0.05, 0.2, 1.0, 4.0])
    else:
        for piece in play.filled():
            if rng.random() < 0.5:
                play.judge(piece, good=rng.random() < 0.6, suspects=rng.sample(sorted(play.holdings), 1))


@pytest.mark.parametrize("seed", range(40))
def test_long_plays(seed: int) -> None:
    rng = Random(seed)
    layout = Layout([200 * BLOCK + 5], PIECE) if seed % 3 else LAYOUTS[1]
    play = Play.of(layout, seed, mode=rng.choice(list(Mode)), in_order=rng.random() < 0.2, trials=seed % 2 == 0)
    for step in range(400):
        move(play, rng)
        if step % 4 == 0:
            play.check()
    assert play.twice <= FIRST
    end_well(play)
