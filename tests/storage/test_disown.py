"""Is nothing believed of a source that was disowned, and is nothing lost of the others?"""

from random import Random

import pytest
from twisted.internet.defer import Deferred

from p2sp.resource.merkle import BLOCK
from p2sp.storage.interfaces import NoSpace, Verdict
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.storage.kit import PIECE, SAMPLE, Kit, Sample, noise, now, sample_flat, spoiled
from tests.storage.test_trouble import full_after

SAMPLES = pytest.mark.parametrize(
    "sample", [SAMPLE, sample_flat(noise(3 * PIECE + BLOCK + 1))], ids=["leaves", "bytes"]
)
BLOCKS = PIECE // BLOCK


def held_store(sample: Sample) -> tuple[MemoryStore, InlinePool]:
    pool = InlinePool()
    return MemoryStore(sample.content, pool), pool


def write(
    store: MemoryStore, sample: Sample, first: int, count: int, who: str, *, bad: bool = False
) -> Deferred[list[Verdict]]:
    data = sample.at(first * BLOCK, (first + count) * BLOCK)
    return store.write(first * BLOCK, [spoiled(data) if bad else data], who)


@SAMPLES
def test_what_it_gave_is_free_and_what_others_gave_is_not(sample: Sample) -> None:
    store, _ = held_store(sample)
    now(write(store, sample, 0, 1, "liar", bad=True))
    now(write(store, sample, 1, BLOCKS - 2, "good"))
    assert now(store.disown("liar")) == [(0, BLOCK)]
    assert now(store.disown("liar")) == []
    now(write(store, sample, 0, 1, "good"))
    assert now(write(store, sample, BLOCKS - 1, 1, "good")) == [Verdict(0, True, frozenset())]


@SAMPLES
def test_what_is_on_its_way_is_waited_for_and_not_believed(sample: Sample) -> None:
    store, pool = held_store(sample)
    pool.held = True
    coming = write(store, sample, 1, 1, "liar", bad=True)
    pool.held = False
    now(write(store, sample, 0, 1, "liar", bad=True))
    freed: list[list[tuple[int, int]]] = []
    store.disown("liar").addCallback(freed.append)
    assert freed == []
    assert now(write(store, sample, 1, 1, "good")) == [], "two writes of one block never run at the same time"
    pool.release()
    assert now(coming) == []
    assert freed == [[(0, 2 * BLOCK)]]
    assert now(write(store, sample, 0, BLOCKS, "good")) == [Verdict(0, True, frozenset())]


@SAMPLES
def test_what_it_gives_later_counts(sample: Sample) -> None:
    store, pool = held_store(sample)
    pool.held = True
    coming = write(store, sample, 0, 1, "s", bad=True)
    disowned = store.disown("s")
    more = write(store, sample, 1, BLOCKS - 1, "s")
    pool.held = False
    pool.release()
    assert now(coming) == now(more) == []
    assert now(disowned) == [(0, BLOCK)]
    assert now(write(store, sample, 0, 1, "s")) == [Verdict(0, True, frozenset())]


@SAMPLES
@pytest.mark.parametrize("bad", [False, True])
def test_a_piece_for_which_nothing_lacks_is_judged(sample: Sample, bad: bool) -> None:
    store, pool = held_store(sample)
    pool.held = True
    coming = write(store, sample, 0, BLOCKS, "s", bad=bad)
    assert now(store.disown("s")) == []
    pool.held = False
    pool.release()
    assert now(coming) == [Verdict(0, not bad, frozenset("s" if bad else ""))]


def test_a_piece_that_is_being_judged_is_left_alone() -> None:
    sample = sample_flat(noise(2 * PIECE))
    store, pool = held_store(sample)
    now(write(store, sample, 0, 1, "s"))
    pool.held = True
    last = write(store, sample, 1, BLOCKS - 1, "t")
    pool.release(1)
    assert pool.jobs == 1, "all is written, and is looked at"
    assert now(store.disown("s")) == []
    pool.release()
    assert now(last) == [Verdict(0, True, frozenset())]


def test_a_write_that_fails_is_no_longer_waited_for(kit: Kit) -> None:
    store = kit.open(pwrite=full_after(0))
    kit.pool.held = True
    coming = store.write(0, [SAMPLE.at(0, BLOCK)], "s")
    freed: list[list[tuple[int, int]]] = []
    store.disown("s").addCallback(freed.append)
    assert freed == []
    kit.pool.held = False
    kit.pool.release()
    with pytest.raises(NoSpace):
        now(coming)
    assert freed == [[(0, BLOCK)]]
    now(store.close())


@SAMPLES
@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_disowned_when_it_all_comes_together(sample: Sample, seed: int) -> None:
    """Blocks land in any order while sources are disowned; what is free is written anew, and in the end all is good."""
    rng = Random(seed)
    store, pool = held_store(sample)
    pool.held = True
    last = -(-sample.content.layout.end // BLOCK)
    freed: list[tuple[int, int]] = []
    for _ in range(60):
        chance = rng.random()
        if chance < 0.6:
            block = rng.randrange(last - 1)
            write(store, sample, block, 1, rng.choice(["liar", "good"]))
        elif chance < 0.9:
            pool.release(min(pool.jobs, 1), newest_first=rng.random() < 0.5)
        else:
            store.disown("liar").addCallback(freed.extend)
    store.disown("liar").addCallback(freed.extend)
    pool.held = False
    pool.release()
    assert all(start % BLOCK == 0 and start < stop for start, stop in freed)
    for start, stop in store.remaining():
        for at in range(start, stop, BLOCK):
            now(store.write(at, [sample.at(at, min(at + BLOCK, stop))], "good"))
    assert store.complete
