"""How many different names were there, told from a kilobyte that can be merged with others?"""

import hashlib
from collections.abc import Iterable
from typing import Final

SIZE: Final = 128
"""Names up to which the count is exact; beyond it the standard error is 9 %."""

WIDTH: Final = 8
MOST_BYTES: Final = SIZE * WIDTH

_SPACE: Final = 2 ** (8 * WIDTH)


def sketch_of(names: Iterable[str]) -> bytes:
    """The sketch of some names: the smallest of their hashes (k minimum values, Bar-Yossef et al. 2002), in order.

    At most MOST_BYTES long; empty for no names. The same names in any order and number give the same sketch.
    """
    return _joined({hashlib.blake2b(name.encode(), digest_size=WIDTH).digest() for name in names})


def merge(sketches: Iterable[bytes]) -> bytes:
    """The sketch of all names together, however they overlap; raises ValueError for what is no sketch."""
    return _joined({value for sketch in sketches for value in _values(sketch)})


def count(sketch: bytes) -> int:
    """How many different names a sketch has seen: exact below SIZE, an estimate from there on.

    Raises ValueError for what is no sketch.
    """
    values = _values(sketch)
    if len(values) < SIZE:
        return len(values)
    # The largest of k smallest hashes stands where k - 1 of n evenly spread ones lie below it.
    return round((SIZE - 1) * _SPACE / max(int.from_bytes(values[-1]), 1))


def _values(sketch: bytes) -> list[bytes]:
    if len(sketch) % WIDTH or len(sketch) > MOST_BYTES:
        raise ValueError(f"a sketch of distinct names has whole hashes, at most {SIZE}; this has {len(sketch)} bytes")
    return [sketch[at : at + WIDTH] for at in range(0, len(sketch), WIDTH)]


def _joined(values: set[bytes]) -> bytes:
    return b"".join(sorted(values)[:SIZE])
