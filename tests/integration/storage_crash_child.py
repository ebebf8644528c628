"""A download that never ends of itself: writes pieces as fast as it can, for its parent to kill.

Arguments: path, seed. Some pieces come spoiled, some are let go again, some rounds finish with an orderly close; a line
is printed when the store is open.
"""

import sys
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred

from p2sp.resource.merkle import BLOCK
from p2sp.storage import disk
from p2sp.storage.disk import open_store
from p2sp.storage.pool import DiskPool
from tests.storage.kit import PIECE, noise, sample_file, spoiled

SAMPLE = sample_file(noise(64 * PIECE + 3 * BLOCK + 1))


async def download(path: Path, rng: Random, reactor: Any) -> None:
    disk.JOURNAL_BYTES = 3 * PIECE
    disk.JOURNAL_SECONDS = 0.002
    pool = DiskPool(reactor)
    pool.start()
    store = await open_store(path, SAMPLE.content, pool, reactor)
    sys.stdout.write(f"open {store.pieces_verified}\n")
    sys.stdout.flush()
    while True:
        missing = [piece for piece, good in enumerate(store.verified()) if not good]
        if len(missing) < 10:
            for piece in rng.sample(range(64), 12):
                store.forget(piece)
            continue
        writes = []
        for piece in rng.sample(missing, 6):
            data = SAMPLE.piece(piece)
            if rng.random() < 0.3:
                data = spoiled(data, rng.randrange(len(data)))
            cut = rng.randrange(1, len(data) // BLOCK) * BLOCK
            writes.append(store.write(SAMPLE.start(piece), [data[:cut]], "a"))
            writes.append(store.write(SAMPLE.start(piece) + cut, [data[cut:]], "b"))
        for write in writes:
            await write


def run(work: Coroutine[Deferred[Any], Any, None], reactor: Any) -> None:
    ended = Deferred.fromCoroutine(work)
    ended.addErrback(lambda failure: failure.printTraceback())
    ended.addBoth(lambda _: reactor.callWhenRunning(reactor.stop))
    reactor.run()


if __name__ == "__main__":
    run(download(Path(sys.argv[1]), Random(int(sys.argv[2])), installed), installed)
