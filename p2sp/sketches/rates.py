"""At what rates did bytes move, told from a histogram that can be merged with others?"""

import math
import struct
from collections.abc import Iterable, Mapping
from typing import Final

PER_OCTAVE: Final = 3
"""Buckets for each doubling of the rate: a percentile is right within 13 %."""

LOWEST: Final = 1024.0
"""Bytes a second below which all rates are one bucket."""

BUCKETS: Final = 24 * PER_OCTAVE + 1
"""Up to 16 GiB/s; what is faster counts there."""

MOST: Final = 2**62
"""Bytes of one bucket; sums stop there."""

_ENTRY: Final = struct.Struct(">BQ")

MOST_BYTES: Final = BUCKETS * _ENTRY.size


def bucket_of(rate: float) -> int:
    """The bucket of a rate in bytes a second."""
    if rate < LOWEST:
        return 0
    return min(int(math.log2(rate / LOWEST) * PER_OCTAVE) + 1, BUCKETS - 1)


def rate_of(bucket: int) -> float:
    """The rate that stands for a bucket, bytes a second: the geometric middle of its two ends."""
    if bucket == 0:
        return LOWEST / 2
    return float(LOWEST * 2 ** ((bucket - 0.5) / PER_OCTAVE))


def merge(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """All bytes together, by bucket."""
    total: dict[int, int] = {}
    for histogram in histograms:
        for bucket, volume in histogram.items():
            total[bucket] = min(total.get(bucket, 0) + volume, MOST)
    return total


def percentile(histogram: Mapping[int, float], share: float) -> float:
    """The rate at or below which `share` (0 to 1) of the bytes moved, in bytes a second; 0 when nothing did."""
    wanted = share * sum(histogram.values())
    below = 0.0
    for bucket in sorted(histogram):
        below += histogram[bucket]
        if below and below >= wanted:
            return rate_of(bucket)
    return 0.0


def pack(histogram: Mapping[int, int]) -> bytes:
    """A histogram as bytes for a store, at most MOST_BYTES."""
    return b"".join(_ENTRY.pack(bucket, histogram[bucket]) for bucket in sorted(histogram))


def unpack(data: bytes) -> dict[int, int]:
    """What `pack` wrote; raises ValueError for anything else."""
    if len(data) % _ENTRY.size or len(data) > MOST_BYTES:
        raise ValueError(f"a histogram of rates has whole entries, at most {BUCKETS}; this has {len(data)} bytes")
    return dict(_ENTRY.iter_unpack(data))
