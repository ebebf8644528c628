"""What does this HTTP answer say about the bytes it carries? Pure reading of status and header fields."""

import re
import unicodedata
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import attrs

_CONTENT_RANGE = re.compile(r"\s*bytes\s+(?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19}|\*)\s*", re.IGNORECASE)
_PARAMETER = re.compile(r""";\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]+))""")
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]+")
_MAX_NAME = 200
"""Bytes of a file's name; most file systems end at 255, and a suffix of ours must find room."""

_MAX_SUFFIX = 16
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that rule a terminal, turn the direction of writing, or cannot be encoded."""
_MAX_RETRY_AFTER = 600.0
_MADE_UP = 2.0
"""Seconds before the answer within which a Last-Modified is taken for the answer's own time."""


@attrs.frozen
class ContentRange:
    """What a 206 or 416 says it carries: bytes first to last (inclusive) of `total`; None where it does not say."""

    first: int | None
    last: int | None
    total: int | None


def parse_content_range(value: str) -> ContentRange | None:
    """Read a Content-Range field (RFC 9110, 14.4); None when it is malformed."""
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None:
        return None
    first, last, total = (int(part) if part and part != "*" else None for part in match.groups())
    if first is not None and last is not None and (last < first or (total is not None and last >= total)):
        return None
    return ContentRange(first, last, total)


@attrs.frozen
class Version:
    """What tells one version of a representation from another (RFC 9110, 8.8)."""

    etag: str = ""
    last_modified: str = ""

    def conflicts(self, other: "Version") -> str | None:
        """What differs, as words for a user; None when nothing both sides state does."""
        if self.etag and other.etag:
            return f"ETag was {self.etag}, is {other.etag}" if self.etag != other.etag else None
        if self.last_modified and other.last_modified and self.last_modified != other.last_modified:
            return f"Last-Modified was {self.last_modified}, is {other.last_modified}"
        return None


def version_of(etag: str | None, last_modified: str | None, date: str | None) -> Version:
    """The validators of an answer that are worth comparing.

    A weak ETag is left out: servers change it without changing a byte. So is a date of this very moment, which is made
    up for each answer. A date younger than a minute does not prove that two answers are of one version (RFC 9110,
    8.8.2.2), but two different ones prove that they are not, which is all that is asked here.
    """
    strong = etag.strip() if etag and not etag.strip().startswith("W/") else ""
    stable = ""
    if last_modified:
        changed, answered = _date(last_modified), _date(date) if date else None
        if changed is not None and (answered is None or (answered - changed).total_seconds() >= _MADE_UP):
            stable = last_modified.strip()
    return Version(strong, stable)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After field in either form (RFC 9110, 10.2.3), at most ten minutes.

    `now` is seconds since 1970.
    """
    if not value:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text[:9]), _MAX_RETRY_AFTER)
    when = _date(text)
    return None if when is None else min(max(when.timestamp() - now, 0.0), _MAX_RETRY_AFTER)


def file_name(url: str, disposition: str | None = None) -> str:
    """A safe name for what a URL gives:

    Content-Disposition's (RFC 6266), else the path's last part, else `index.html`.
    """
    given = _disposition(disposition) if disposition else ""
    return safe_name(given) or safe_name(unquote(urlsplit(url).path)) or "index.html"


def _disposition(value: str) -> str:
    """The file name in a Content-Disposition, the extended form first; empty when there is none."""
    fields = {name.lower(): (quoted, bare) for name, quoted, bare in _PARAMETER.findall(";" + value.partition(";")[2])}
    if match := _EXTENDED.fullmatch("".join(fields.get("filename*", ()))):
        return unquote(match.group(2), encoding=match.group(1))
    quoted, bare = fields.get("filename", ("", ""))
    return re.sub(r"\\(.)", r"\1", quoted) or bare


def safe_name(name: str) -> str:
    """The last component of `name`, without what no file system or terminal should see; empty when nothing is left.

    A long name is cut, at a character's boundary, before its suffix.
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if unicodedata.category(c) not in _UNSEEN).strip()
    kept = re.sub(r"^[.\s]+", "", kept)
    raw = kept.encode()
    if len(raw) <= _MAX_NAME:
        return kept
    stem, dot, suffix = kept.rpartition(".")
    tail = (dot + suffix).encode() if stem and len(suffix.encode()) <= _MAX_SUFFIX else b""
    return (raw[: _MAX_NAME - len(tail)].decode(errors="ignore") + tail.decode()).strip()


def _date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
