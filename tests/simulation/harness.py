"""How is a whole download run in virtual time?"""

import hashlib
from functools import cache
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from p2sp.download.conductor import Conductor
from p2sp.download.errors import DownloadError
from p2sp.download.report import Report
from p2sp.schedule.spans import Kind
from p2sp.storage.interfaces import IPieceStore
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.simulation.sources import Script, ScriptedSource
from tests.storage.kit import Sample, noise, now, sample_file

MIB = 1024 * 1024
PIECE = 256 * 1024
SEED = 1

SAMPLE_8 = sample_file(noise(8 * MIB + 12345), piece_length=PIECE)
SAMPLE_48 = sample_file(noise(48 * MIB), piece_length=PIECE)


@cache
def _digest(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def run_until(clock: Clock, fired: list[Any], limit: float) -> None:
    """Let virtual time pass, from one event to the next, until something was put into `fired`."""
    while not fired:
        calls = clock.getDelayedCalls()
        assert calls, "nothing will ever happen again"
        at = min(call.getTime() for call in calls)
        assert at <= limit, f"not over after {limit} s of virtual time"
        clock.advance(max(at - clock.seconds(), 0.0))


class Run:
    """One download by a real Conductor from scripted sources into memory, on a clock of its own.

    Everything random comes from `seed`, which a failing assertion shows.
    """

    def __init__(
        self, sample: Sample = SAMPLE_48, *, seed: int = SEED, store: IPieceStore | None = None, **options: Any
    ) -> None:
        self.clock = Clock()
        self.sample = sample
        self.seed = seed
        self.report = Report(0.0)
        self.store = store or MemoryStore(sample.content, InlinePool())
        self.needed = sample.content.layout.length - self.store.bytes_verified
        self.bans: list[str] = []
        self.sources: dict[str, ScriptedSource] = {}
        self.conductor = Conductor(
            self.clock,
            self.store,
            self.report,
            rng=Random(seed),
            banned=lambda label, reason: self.bans.append(label),
            **options,
        )

    def add(self, label: str, kind: Kind = Kind.SERVER, **script: Any) -> ScriptedSource:
        """A source joins now."""
        source = self.sources[label] = ScriptedSource(self.clock, self.sample, label, kind, Script(**script))
        self.conductor.add(source)
        return source

    def add_at(self, at: float, label: str, kind: Kind = Kind.SERVER, **script: Any) -> None:
        """A source joins at a time."""
        self.clock.callLater(at, lambda: self.add(label, kind, **script))

    def start(self) -> "Deferred[None]":
        """Begin."""
        return self.conductor.run()

    def finish(self, limit: float = 600.0) -> float:
        """Run to the end; the virtual seconds it took. Raises what the download failed with."""
        over: list[object] = []
        self.start().addBoth(over.append)
        run_until(self.clock, over, limit)
        if isinstance(over[0], Failure):
            over[0].raiseException()
        self.check()
        return self.clock.seconds()

    def error(self, limit: float = 600.0) -> DownloadError:
        """Run to the error that must come."""
        try:
            self.finish(limit)
        except DownloadError as error:
            return error
        raise AssertionError(f"the download ended well (seed {self.seed})")

    def check(self) -> None:
        """The bytes are right, nobody is asked any more, and no timer is left."""
        assert self.store.complete
        assert now(self.store.digest("sha1")) == _digest(self.sample.files[0])
        assert self.wasted >= 0, f"{self.report.received} of {self.needed} bytes accounted (seed {self.seed})"
        assert self.conductor.sources == 0
        assert all(source.closed for source in self.sources.values())

    @property
    def wasted(self) -> int:
        """Bytes that were fetched and not needed."""
        return self.report.received - self.needed

    def given(self, label: str) -> int:
        """Bytes accounted to a source."""
        return self.report.accounts[label].bytes
