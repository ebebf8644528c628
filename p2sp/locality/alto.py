"""What do the ALTO documents an operator gives us have in common?"""

import json
import math
import re
from typing import Annotated, Any, Final, NoReturn, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

LARGEST_DOCUMENT: Final = 64 * 1024 * 1024

# RFC 7285 section 10.1: a PID is 1 to 64 letters, digits and these signs.
PID: Final = re.compile(r"[A-Za-z0-9\-:@_.]{1,64}")
_Name = Annotated[str, Meta(min_length=1, max_length=64)]


class LocalityError(ValueError):
    """A network map or cost map that cannot be used; the text names the PID and the prefix or cost at fault."""


class VersionTag(msgspec.Struct, frozen=True):
    """Which version of which network map a document is or depends on (RFC 7285 section 10.3)."""

    resource_id: _Name = msgspec.field(name="resource-id")
    tag: _Name


def read_document(data: bytes, kind: type[T]) -> T:
    """Read one JSON document of at most 64 MiB into `kind`.

    Raises LocalityError. A name that stands twice in one object is an error too: JSON parsers drop one of the
    two silently, and with it the prefixes of an ISP.
    """
    if len(data) > LARGEST_DOCUMENT:
        raise LocalityError(f"is larger than {LARGEST_DOCUMENT} bytes")
    try:
        values = json.loads(data, object_pairs_hook=_no_duplicates, parse_constant=_no_constant, parse_float=_finite)
    except LocalityError:
        raise
    except (ValueError, RecursionError) as error:
        raise LocalityError(f"is not JSON: {error}") from error
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise LocalityError(str(error)) from error


def read_rows(rows: dict[str, Any], kind: type[T], most: int) -> dict[str, T]:
    """What a document says about each PID; raises LocalityError naming the PID that is at fault."""
    if len(rows) > most:
        raise LocalityError(f"has more than {most} PIDs")
    read: dict[str, T] = {}
    for pid, row in rows.items():
        if PID.fullmatch(pid) is None:
            raise LocalityError(f"{pid[:80]!r} is not a PID: 1 to 64 of letters, digits and -:@_.")
        try:
            read[pid] = msgspec.convert(row, kind)
        except msgspec.ValidationError as error:
            raise LocalityError(f"PID {pid!r}: {error}") from error
    return read


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in values if names.count(name) > 1)
        raise LocalityError(f"{twice[:64]!r} stands twice in one object")
    return values


def _no_constant(text: str) -> NoReturn:
    raise LocalityError(f"{text} is not a number that can be used")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise LocalityError(f"{text[:64]} is not a number that can be used")
    return value
