"""Which part of a file does an HTTP request ask for, and is it still the file it means?"""

import re
from base64 import b64encode
from typing import Final

import attrs

# A position beyond any file is fine, a number that takes long to read is not.
_DIGITS: Final = r"\d{1,32}"
_RANGE: Final = re.compile(
    rf"bytes[ \t]*=[ \t]*(?P<first>(?:{_DIGITS})?)-(?P<last>(?:{_DIGITS})?)[ \t]*", re.ASCII | re.I
)
_ETAGS: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


@attrs.frozen
class Part:
    """The bytes `start` (included) to `stop` (excluded) of a file; `partial` says whether they were asked for so."""

    start: int
    stop: int
    partial: bool


class Unsatisfiable(Exception):
    """The range begins behind the end of the file (RFC 9110 section 15.5.17)."""


def requested_part(range_header: str | None, if_range: str | None, etag: str, length: int) -> Part:
    """What to send of a file of `length` bytes (RFC 9110 sections 13.1.5 and 14.2).

    Several ranges, other units and what cannot be read mean the whole file, as the RFC allows; so does an If-Range
    that is not exactly our strong `etag`, also a date, for we give none. Raises Unsatisfiable.
    """
    whole = Part(0, length, partial=False)
    if range_header is None or (if_range is not None and if_range.strip() != etag):
        return whole
    match = _RANGE.fullmatch(range_header.strip())
    if match is None or not (match["first"] or match["last"]):
        return whole
    if not match["first"]:
        suffix = int(match["last"])
        if suffix == 0:
            raise Unsatisfiable
        # The end of an empty file is the empty file, and there is no Content-Range to say so.
        return Part(max(length - suffix, 0), length, partial=True) if length else whole
    first = int(match["first"])
    last = int(match["last"]) if match["last"] else length
    if last < first and match["last"]:
        return whole
    if first >= length:
        raise Unsatisfiable
    return Part(first, min(last + 1, length), partial=True)


def is_match(header: str | None, etag: str) -> bool:
    """Whether If-Match lets the request be done (RFC 9110 section 13.1.1: strong comparison, `*` matches anything)."""
    if header is None or header.strip() == "*":
        return True
    return any(not weak and tag == etag for weak, tag in _ETAGS.findall(header))


def none_match(header: str | None, etag: str) -> bool:
    """Whether If-None-Match lets the file be sent (RFC 9110 section 13.1.2: weak comparison, `*` matches anything)."""
    if header is None:
        return True
    return header.strip() != "*" and all(tag != etag for _, tag in _ETAGS.findall(header))


def digest_headers(sha256: bytes) -> dict[str, str]:
    """What states the digest of the whole file: Repr-Digest (RFC 9530) and Digest (RFC 3230) for older clients."""
    encoded = b64encode(sha256).decode()
    return {"Repr-Digest": f"sha-256=:{encoded}:", "Digest": f"SHA-256={encoded}"}
