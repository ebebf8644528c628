"""What is there to download at present? Resources that come, stay for a while, and go."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

import attrs

from benchmarks.soak.site import PATIENCE, Site
from tests.integration.lab import MIB, make_file

SMALLEST: Final = 5 * MIB
LARGEST: Final = 40 * MIB
ON_OFFER: Final = 5
"""Resources at a time; with those that somebody still fetches all that the origin has on its disk."""

_TRIES: Final = 30


@attrs.define(eq=False)
class Ware:
    """A resource on offer; `users` fetch it now."""

    id: str
    name: str
    size: int
    sha256: str
    users: int = 0


class Shelf:
    """The resources on offer, the newest the most popular."""

    def __init__(self, site: Site, rng: Random) -> None:
        self._site = site
        self._rng = rng
        self._lock = threading.Lock()
        self._offered: list[Ware] = []
        self._withdrawn: list[Ware] = []
        self.published = 0
        self.publishing_again = 0

    def publish(self) -> None:
        """Make a new resource known, and withdraw the oldest. The index may be dead: then again in a moment."""
        self.published += 1
        size = self._rng.randrange(SMALLEST, LARGEST)
        file = make_file(self._site.wares / f"ware-{self.published}.bin", size, self._rng.getrandbits(32))
        for _ in range(_TRIES):
            process = self._site.run(
                "publish",
                *("p2sp.cli", "publish", str(file.path), "--site", "site.toml"),
                *("--mirror", self._site.url_of(file.path.name)),
            )
            code = process.wait(PATIENCE)
            self._site.forget(process, "publish")
            if code == 0:
                found = next(line for line in process.log.splitlines() if len(line) == 64)
                with self._lock:
                    self._offered.append(Ware(found, file.path.name, size, file.sha256))
                self._tidy()
                return
            self.publishing_again += 1
            time.sleep(1)
        raise AssertionError(f"publishing failed {_TRIES} times:\n{process.log[-2000:]}")

    def seed_newest(self) -> None:
        """Let the peer daemon have the newest, if the index can be asked for it just now."""
        with suppress(OSError, AssertionError):
            self._site.seed("seed", self._offered[-1].id, None)

    @contextmanager
    def one(self, rng: Random) -> Iterator[Ware]:
        """Something to fetch, which stays at the origin meanwhile."""
        with self._lock:
            weights = [1 + place for place in range(len(self._offered))]
            ware = rng.choices(self._offered, weights)[0]
            ware.users += 1
        try:
            yield ware
        finally:
            with self._lock:
                ware.users -= 1
            self._tidy()

    def _tidy(self) -> None:
        seed = self._site.folder / "seed"
        with self._lock:
            while len(self._offered) > ON_OFFER:
                old = self._offered.pop(0)
                self._withdrawn.append(old)
                (seed / f"{old.id[:8]}.torrent").unlink(missing_ok=True)
            for ware in [each for each in self._withdrawn if not each.users]:
                self._withdrawn.remove(ware)
                (self._site.wares / ware.name).unlink(missing_ok=True)
                for left in _of(seed, ware.name):
                    left.unlink(missing_ok=True)


def _of(folder: Path, name: str) -> list[Path]:
    return [path for path in folder.iterdir() if name in path.name]
