"""What do the tests of single choices share: sources of which it is known what they can do, and fetches that flow?"""

from collections.abc import Collection
from typing import Any

from p2sp.resource.layout import Layout
from p2sp.resource.merkle import BLOCK
from p2sp.schedule.spans import Kind
from tests.schedule.play import Fetch, Play

MIB = 1024 * 1024
PIECE = 256 * 1024


def play_of(length: int = 64 * MIB, **options: Any) -> Play:
    return Play.of(Layout([length], PIECE), **options)


def known(play: Play, key: str, rate: float, kind: Kind = Kind.SERVER, pieces: Collection[int] | None = None) -> None:
    """A source joins of which it is known what it can do."""
    play.join(key, kind, pieces)
    estimate = play.scheduler._sources[key].rate
    for i in range(200):
        estimate.add(round(rate * 0.1), i * 0.1)
    estimate.rest(20.0)
    play.now = max(play.now, 20.0)


def the_rest(play: Play, start: int, stop: int) -> None:
    """Only this is left to be fetched."""
    play.scheduler.free.remove(0, start)
    play.scheduler.free.remove(stop, play.layout.end)


def given(fetch: Fetch | None) -> Fetch:
    """A fetch that there must be."""
    assert fetch is not None, "nothing to do"
    return fetch


def flow(play: Play, fetch: Fetch, rate: float, seconds: float) -> None:
    """A fetch runs steadily for some time."""
    credit = 0.0
    for _ in range(round(seconds / 0.1)):
        play.now += 0.1
        credit += rate * 0.1
        credit -= play.deliver(fetch, int(credit) // BLOCK)


def length_of(fetch: Fetch) -> int:
    return fetch.stop - fetch.span.start


def long_fetch(play: Play, key: str, rate: float, seconds: float = 2.0) -> Fetch:
    """A source that owns all the rest of a file, at a pace that is known."""
    known(play, key, rate)
    # Alone it gets all there is; beside others only its share.
    everybody = play.scheduler._sources
    play.scheduler._sources = {key: everybody[key]}
    fetch = given(play.ask(key))
    play.scheduler._sources = everybody
    assert not play.scheduler.free
    flow(play, fetch, rate, seconds)
    return fetch
