"""Is a Range read as RFC 9110 says?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.supernode.ranges import Part, Unsatisfiable, digest_headers, is_match, none_match, requested_part

ETAG = '"' + "ab" * 32 + '"'
WHOLE = Part(0, 1000, partial=False)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        (None, WHOLE),
        ("bytes=0-0", Part(0, 1, True)),
        ("bytes=0-", Part(0, 1000, True)),
        ("bytes=10-19", Part(10, 20, True)),
        ("bytes=999-", Part(999, 1000, True)),
        ("bytes=990-5000", Part(990, 1000, True)),
        ("bytes=990-" + "9" * 32, Part(990, 1000, True)),
        ("bytes=-1", Part(999, 1000, True)),
        ("bytes=-1000", Part(0, 1000, True)),
        ("bytes=-1001", Part(0, 1000, True)),
        (" BYTES = 5-6 ", Part(5, 7, True)),
        ("bytes=20-10", WHOLE),
        ("bytes=0-1,5-6", WHOLE),
        ("bytes=0-1, 5-6", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=--5", WHOLE),
        ("bytes=1-2-3", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=١-٢", WHOLE),
        ("items=0-1", WHOLE),
        ("bytes 0-1", WHOLE),
        ("", WHOLE),
        ("bytes=" + "9" * 5000 + "-", WHOLE),
    ],
)
def test_ranges(header: str | None, part: Part) -> None:
    assert requested_part(header, None, ETAG, 1000) == part


@pytest.mark.parametrize(
    "header", ["bytes=1000-", "bytes=1000-1001", "bytes=5000-", "bytes=-0", "bytes=" + "9" * 32 + "-"]
)
def test_behind_the_end(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        requested_part(header, None, ETAG, 1000)


def test_an_empty_file_has_no_ranges() -> None:
    with pytest.raises(Unsatisfiable):
        requested_part("bytes=0-", None, ETAG, 0)
    assert requested_part("bytes=-5", None, ETAG, 0) == Part(0, 0, partial=False)


@pytest.mark.parametrize(
    ("if_range", "partial"),
    [
        (ETAG, True),
        (f" {ETAG} ", True),
        (f"W/{ETAG}", False),
        ('"other"', False),
        ("Sun, 22 Nov 2026 07:00:00 GMT", False),
        ("", False),
    ],
)
def test_if_range(if_range: str, partial: bool) -> None:
    assert requested_part("bytes=5-6", if_range, ETAG, 1000).partial is partial


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (None, True),
        (ETAG, True),
        (f"W/{ETAG}", False),
        (f'W/"x", "y",{ETAG}', True),
        (" * ", True),
        ('"x", "y"', False),
        ("garbage", False),
    ],
)
def test_match(header: str | None, matches: bool) -> None:
    assert is_match(header, ETAG) is matches


@pytest.mark.parametrize(
    ("header", "send"),
    [
        (None, True),
        (ETAG, False),
        (f"W/{ETAG}", False),
        (f'"x", {ETAG}', False),
        (" * ", False),
        ('"x", "y"', True),
        ('"*"', True),
        ("garbage", True),
    ],
)
def test_none_match(header: str | None, send: bool) -> None:
    assert none_match(header, ETAG) is send


@given(st.text(max_size=60), st.integers(0, 10**12))
def test_whatever_is_asked_stays_within_the_file(header: str, length: int) -> None:
    try:
        part = requested_part(header, None, ETAG, length)
    except Unsatisfiable:
        return
    assert 0 <= part.start <= part.stop <= length
    assert part.partial or (part.start, part.stop) == (0, length)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_closed_ranges_mean_what_a_slice_means(first: int, last: int, length: int) -> None:
    everything = range(length)
    try:
        part = requested_part(f"bytes={first}-{last}", None, ETAG, length)
    except Unsatisfiable:
        assert first <= last
        assert not everything[first:]
        return
    expected = everything[first : last + 1] if first <= last else everything
    assert range(part.start, part.stop) == expected


def test_digests_are_spelt_as_the_rfcs_spell_them() -> None:
    assert digest_headers(bytes(32)) == {
        "Repr-Digest": "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
        "Digest": "SHA-256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    }
