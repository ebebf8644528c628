"""Are the facts that an HTTP answer states read right, whatever nonsense it states?"""

from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2sp.sources.http_facts import (
    ContentRange,
    Version,
    file_name,
    parse_content_range,
    retry_after,
    safe_name,
    version_of,
)

DATE = "Wed, 01 Jan 2025 00:00:00 GMT"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 0-9/10", ContentRange(0, 9, 10)),
        ("  Bytes  5-5/6 ", ContentRange(5, 5, 6)),
        ("bytes 5-9/*", ContentRange(5, 9, None)),
        ("bytes */1000", ContentRange(None, None, 1000)),
        ("bytes */*", ContentRange(None, None, None)),
    ],
)
def test_content_range(value: str, expected: ContentRange) -> None:
    assert parse_content_range(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bytes",
        "bytes=0-9/10",
        "bytes 0-9",
        "bytes 9-0/10",
        "bytes 0-10/10",
        "bytes 0-/10",
        "bytes -9/10",
        "octets 0-9/10",
        "bytes 0-9/10, bytes 10-19/20",
        "bytes 0-9/10\nX: y",
        "bytes ٠-٩/١٠",
        "bytes 0-9/" + "9" * 30,
    ],
)
def test_malformed_content_range(value: str) -> None:
    assert parse_content_range(value) is None


@given(st.integers(0, 2**62), st.integers(0, 2**40), st.none() | st.integers(0, 2**62))
def test_content_range_round(first: int, more: int, total: int | None) -> None:
    last = first + more
    parsed = parse_content_range(f"bytes {first}-{last}/{'*' if total is None else total}")
    assert parsed == (None if total is not None and total <= last else ContentRange(first, last, total))


@given(st.text())
def test_no_text_breaks_content_range(value: str) -> None:
    parsed = parse_content_range(value)
    if parsed is not None and parsed.first is not None and parsed.last is not None:
        assert 0 <= parsed.first <= parsed.last


@pytest.mark.parametrize(
    ("etag", "last_modified", "date", "expected"),
    [
        ('"a"', "Mon, 01 Jan 2024 00:00:00 GMT", DATE, Version('"a"', "Mon, 01 Jan 2024 00:00:00 GMT")),
        (' "a" ', None, None, Version('"a"', "")),
        ('W/"a"', None, DATE, Version("", "")),
        (None, "Wed, 01 Jan 2025 00:00:00 GMT", DATE, Version("", "")),
        (None, "Tue, 31 Dec 2024 23:59:59 GMT", DATE, Version("", "")),
        (None, "Tue, 31 Dec 2024 23:59:58 GMT", DATE, Version("", "Tue, 31 Dec 2024 23:59:58 GMT")),
        (None, "Tue, 31 Dec 2024 23:59:58 GMT", None, Version("", "Tue, 31 Dec 2024 23:59:58 GMT")),
        (None, "Tue, 31 Dec 2024 23:59:58 GMT", "garbage", Version("", "Tue, 31 Dec 2024 23:59:58 GMT")),
        (None, "yesterday", DATE, Version("", "")),
        (None, None, None, Version("", "")),
    ],
)
def test_version(etag: str | None, last_modified: str | None, date: str | None, expected: Version) -> None:
    assert version_of(etag, last_modified, date) == expected


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (Version('"a"', "x"), Version('"a"', "y"), None),
        (Version('"a"', "x"), Version('"b"', "x"), 'ETag was "a", is "b"'),
        (Version("", "x"), Version('"b"', "y"), "Last-Modified was x, is y"),
        (Version('"a"', ""), Version("", "y"), None),
        (Version(), Version('"a"', "y"), None),
    ],
)
def test_conflicts(first: Version, second: Version, words: str | None) -> None:
    assert first.conflicts(second) == words
    assert (second.conflicts(first) is None) == (words is None)


@given(st.none() | st.text(), st.none() | st.text(), st.none() | st.text())
def test_no_text_breaks_a_version(etag: str | None, last_modified: str | None, date: str | None) -> None:
    version = version_of(etag, last_modified, date)
    assert version.conflicts(version) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("601", 600.0),
        ("9" * 400, 600.0),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("٣", None),
        ("soon", None),
        ("Wed, 01 Jan 2025 00:01:30 GMT", 90.0),
        ("Wednesday, 01-Jan-25 00:01:30 GMT", 90.0),
        ("Wed Jan  1 00:01:30 2025", 90.0),
        ("Wed, 01 Jan 2024 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600.0),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert retry_after(value, datetime(2025, 1, 1, tzinfo=UTC).timestamp()) == expected


@given(st.integers(0, 2**31), st.integers(-1000, 1000))
def test_retry_after_date(now: int, ahead: int) -> None:
    when = format_datetime(datetime.fromtimestamp(now + ahead + 1000, UTC), usegmt=True)
    assert retry_after(when, now + 1000) == min(max(ahead, 0), 600)


@given(st.text())
@example("Mon, 99 Jan 2024 00:00:00 GMT")
@example("Mon, 01 Jan 2024 00:00:00 +9999999999")
def test_no_text_breaks_retry_after(value: str) -> None:
    wait = retry_after(value, 0.0)
    assert wait is None or 0 <= wait <= 600


@pytest.mark.parametrize(
    ("url", "disposition", "name"),
    [
        ("http://h/a/big.iso", None, "big.iso"),
        ("http://h/a/big.iso?x=/y#z", None, "big.iso"),
        ("http://h/a%20b%C3%A9.iso", None, "a bé.iso"),
        ("http://h/", None, "index.html"),
        ("http://h", None, "index.html"),
        ("http://h/..%2F..%2Fetc%2Fpasswd", None, "passwd"),
        ("http://h/%2e%2e", None, "index.html"),
        ("http://h/a%00b%0a.iso", None, "ab.iso"),
        ("http://h/u", "attachment; filename=plain.iso", "plain.iso"),
        ("http://h/u", 'attachment; filename="two words; and more.iso"', "two words; and more.iso"),
        ("http://h/u", r'attachment; filename="quo\"te.iso"', 'quo"te.iso'),
        ("http://h/u", 'ATTACHMENT ; FileName = "x.iso" ; size=3', "x.iso"),
        ("http://h/u", "attachment; filename*=UTF-8''na%C3%AFve%20.iso", "naïve .iso"),
        ("http://h/u", "attachment; filename*=utf-8'en'x.iso; filename=y.iso", "x.iso"),
        ("http://h/u", "attachment; filename=y.iso; filename*=UTF-8''x.iso", "x.iso"),
        ("http://h/u", "attachment; filename*=iso-8859-1'en'%A3%20rates", "£ rates"),
        ("http://h/u", "attachment; filename*=koi8-r''x.iso; filename=y.iso", "y.iso"),
        ("http://h/u", 'attachment; filename="../../etc/cron.d/evil"', "evil"),
        ("http://h/u", r'attachment; filename="..\\..\\evil.exe"', "evil.exe"),
        ("http://h/u", "attachment; filename*=UTF-8''..%2F..%2Fevil", "evil"),
        ("http://h/u", 'attachment; filename="/"', "u"),
        ("http://h/u", 'attachment; filename=".."', "u"),
        ("http://h/u", 'attachment; filename=""', "u"),
        ("http://h/u", 'inline; note="filename=evil.exe"', "u"),
        ("http://h/u", "attachment", "u"),
        ("http://h/.bashrc", None, "bashrc"),
    ],
)
def test_file_name(url: str, disposition: str | None, name: str) -> None:
    assert file_name(url, disposition) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\x1b[31mb", "a[31mb"),
        ("a\x9bb", "ab"),
        ("gpj.\u202eexe", "gpj.exe"),
        ("a\u2028b", "ab"),
        ("a\udcffb", "ab"),
        (". . x", "x"),
        ("dir/sub\\name", "name"),
        ("x" * 300 + ".iso", "x" * 196 + ".iso"),
        ("é" * 150 + ".tar", "é" * 98 + ".tar"),
        ("y" * 300, "y" * 200),
        ("y." + "z" * 300, "y." + "z" * 198),
    ],
)
def test_safe_name(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@given(st.text() | st.text(st.sampled_from("./\\ \0\x1bé\udcff;%2F")))
def test_a_safe_name_is_safe(name: str) -> None:
    safe = safe_name(name)
    assert len(safe.encode()) <= 200
    assert safe not in (".", "..")
    assert not set(safe) & set("/\\\0\n\x1b")
    assert safe_name(safe) == safe


@given(st.text(), st.none() | st.text())
def test_there_is_always_a_name(path: str, disposition: str | None) -> None:
    name = file_name(f"http://h/{quote(path)}", disposition)
    assert name == safe_name(name) != ""
