"""Do two servers hold the same bytes, where no piece hashes tell? Only then may one file be made of both."""

from collections.abc import Mapping
from random import Random
from typing import Protocol

from twisted.internet.defer import Deferred, FirstError, gatherResults

from p2sp.sources.http_facts import Version
from p2sp.sources.http_parts import read_part
from p2sp.sources.http_probe import Connect, Probe, probe
from p2sp.sources.interfaces import SourceError, SourceGone, SourceRefused

SAMPLE = 64 * 1024
"""Bytes of one place that are compared."""

RANDOM_SAMPLES = 2
"""Places compared besides the beginning and the end."""


class Differs(SourceGone):
    """A server was looked at, and holds something else."""


class NotCompared(SourceRefused):
    """One of two servers could not be looked at; where that is for a while only (not `fatal`), a later try may."""

    def __init__(self, message: str, cause: SourceError) -> None:
        super().__init__(message, cause.retry_after if isinstance(cause, SourceRefused) else None)
        self.fatal = cause.fatal


class Claim(Protocol):
    """What a server says of the file, as far as two servers can be compared by it."""

    @property
    def length(self) -> int | None: ...

    @property
    def version(self) -> Version: ...

    @property
    def digests(self) -> Mapping[str, bytes]: ...


def sample_spans(length: int, rng: Random) -> list[tuple[int, int]]:
    """The places to compare: the beginning, the end and some between; all of it where it is short."""
    if length <= SAMPLE * (2 + RANDOM_SAMPLES):
        return [(start, min(start + SAMPLE, length)) for start in range(0, length, SAMPLE)]
    between = sorted(rng.randrange(SAMPLE, length - 2 * SAMPLE + 1) for _ in range(RANDOM_SAMPLES))
    starts = [0, *dict.fromkeys(between), length - SAMPLE]
    return [(start, start + SAMPLE) for start in starts]


def judge(first: Claim, other: Claim) -> str | bool:
    """True when what both say shows that they hold the same, False when it does not tell; else why not, in words."""
    if other.length != first.length:
        return f"it has {'an unknown number of' if other.length is None else other.length} bytes, not {first.length}"
    for algorithm in sorted(set(first.digests) & set(other.digests)):
        if first.digests[algorithm] != other.digests[algorithm]:
            return f"its {algorithm} digest is another one"
    if set(first.digests) & set(other.digests):
        return True
    return bool(first.version.etag) and first.version.etag == other.version.etag


async def agree(connect: Connect, first: Probe, url: str, rng: Random) -> Probe:
    """The probe of `url`, once it is shown that it has the same bytes as `first` (RFC 9110, 15.3.7.3, across servers).

    Shown by: equal digests of the whole; else equal length and the same strong ETag; else equal length and the same
    bytes at the beginning, the end and two places between. Raises SourceError with the reason, fit for a user: Differs
    when that is shown, NotCompared and what else is not fatal when a later try may tell.
    """
    other = await probe(connect, url)
    try:
        verdict = judge(first, other)
        if verdict is False:
            try:
                verdict = await _compared(connect, first, other, rng)
            except SourceError as error:
                raise NotCompared(
                    f"{url} is left out: nothing shows that it holds the same file ({error})", error
                ) from None
        if verdict is not True:
            raise Differs(f"{url} is left out: {verdict}")
    except BaseException:
        other.close()
        raise
    return other


async def _compared(connect: Connect, first: Probe, other: Probe, rng: Random) -> str | bool:
    """True when the samples are the same on both servers, else the reason in words. Raises SourceError."""
    assert first.length is not None
    lanes = [connect.lane(each.url) for each in (first, other)]
    try:
        for start, stop in sample_spans(first.length, rng):
            reads = [
                Deferred.fromCoroutine(read_part(lane, each.url, start, stop, total=first.length, version=each.version))
                for lane, each in zip(lanes, (first, other), strict=True)
            ]
            try:
                ours, theirs = await gatherResults(reads, consumeErrors=True)
            except FirstError as error:
                error.subFailure.raiseException()
            if ours != theirs:
                return f"its bytes {start} to {stop - 1} differ from those of {first.url}"
    finally:
        for lane in lanes:
            lane.close()
    return True
