"""What does this HTTP answer say about the bytes it carries? Pure reading of status and header fields."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import attrs

_CONTENT_RANGE = re.compile(r"^\s*bytes\s+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)\s*$", re.IGNORECASE)
_FILENAME = re.compile(r"""filename\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]+))""", re.IGNORECASE)
_FILENAME_STAR = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_MAX_NAME = 200
_MAX_RETRY_AFTER = 600.0


@attrs.frozen
class ContentRange:
    """What a 206 or 416 says it carries: bytes first to last (inclusive) of `total`; None where it does not say."""

    first: int | None
    last: int | None
    total: int | None


def parse_content_range(value: str) -> ContentRange | None:
    """Read a Content-Range field (RFC 9110, 14.4); None when it is malformed."""
    match = _CONTENT_RANGE.match(value)
    if match is None:
        return None
    first, last, total = (int(part) if part and part != "*" else None for part in match.groups())
    if first is not None and last is not None and (last < first or (total is not None and last >= total)):
        return None
    return ContentRange(first, last, total)


@attrs.frozen
class Version:
    """What tells one version of a representation from another: strong validators only (RFC 9110, 8.8.1)."""

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
    """The validators of an answer. A weak ETag and a date younger than a minute prove nothing and are left out."""
    strong = etag.strip() if etag and not etag.strip().startswith("W/") else ""
    stable = ""
    if last_modified:
        changed, answered = _date(last_modified), _date(date) if date else None
        if changed is not None and (answered is None or (answered - changed).total_seconds() >= 60):
            stable = last_modified.strip()
    return Version(strong, stable)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds to wait by a Retry-After field in either form (RFC 9110, 10.2.3), at most ten minutes.

    `now` is seconds since 1970.
    """
    if not value:
        return None
    text = value.strip()
    if text.isdigit():
        return min(float(text[:9]), _MAX_RETRY_AFTER)
    when = _date(text)
    return None if when is None else min(max(when.timestamp() - now, 0.0), _MAX_RETRY_AFTER)


def file_name(url: str, disposition: str | None = None) -> str:
    """A safe name for what a URL gives:

    Content-Disposition's (RFC 6266), else the path's last part, else `index.html`.
    """
    name = ""
    if disposition:
        if match := _FILENAME_STAR.search(disposition):
            name = unquote(match.group(1))
        elif match := _FILENAME.search(disposition):
            name = re.sub(r"\\(.)", r"\1", match.group(1)) if match.group(1) is not None else match.group(2)
    return safe_name(name) or safe_name(unquote(urlsplit(url).path)) or "index.html"


def safe_name(name: str) -> str:
    """The last component of `name`, without what no file system should see; empty when nothing is left."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if ord(c) >= 32 and c != "\x7f").strip().lstrip(".")
    return kept.encode()[:_MAX_NAME].decode(errors="ignore")


def _date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)
