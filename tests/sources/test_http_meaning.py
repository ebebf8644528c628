"""Are digests and links read as the standards say, and is nobody's word taken too far?"""

from base64 import b64encode
from hashlib import md5, sha1, sha256, sha512

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.sources.http_meaning import MAX_LINKS, Link, parse_digests, parse_links, trusted_links

DATA = b"hello"
S256, S512, S1, M5 = (new(DATA).digest() for new in (sha256, sha512, sha1, md5))


def b64(digest: bytes) -> str:
    return b64encode(digest).decode()


@pytest.mark.parametrize(
    ("modern", "legacy", "expected"),
    [
        (None, None, {}),
        (f"sha-256=:{b64(S256)}:", None, {"sha256": S256}),
        (f"sha-512=:{b64(S512)}:,  sha-256=:{b64(S256)}: ;x=1", None, {"sha512": S512, "sha256": S256}),
        (None, f"SHA-256={b64(S256)},MD5={b64(M5)}, sha={b64(S1)}", {"sha256": S256, "md5": M5, "sha1": S1}),
        (f"sha-256=:{b64(S256)}:", f"SHA-256={b64(sha256().digest())}", {"sha256": S256}),
        (f"sha-256={b64(S256)}", None, {}),
        (f"sha-256=:{b64(S1)}:", None, {}),
        ("sha-256=:!!!:", "SHA-256=", {}),
        ("unixsum=:MTIz:", "UNIXsum=30637, crc32c=abc", {}),
        ("sha-256=:A:", "sha-256=A", {}),
    ],
)
def test_digests(modern: str | None, legacy: str | None, expected: dict[str, bytes]) -> None:
    assert parse_digests(modern, legacy) == expected


@given(st.text(), st.text())
def test_any_text_gives_digests_of_the_right_length(modern: str, legacy: str) -> None:
    sizes = {"sha256": 32, "sha512": 64, "sha1": 20, "md5": 16}
    assert all(sizes[name] == len(digest) for name, digest in parse_digests(modern, legacy).items())


def test_links_of_the_standard() -> None:
    value = (
        "<http://www2.example.com/example.ext>; rel=duplicate, <ftp://ftp.example.com/example.ext>; rel=duplicate, "
        "<http://a.example/x,y>; rel=duplicate; pri=1; geo=de; pref,</x.meta4>; rel=describedby; "
        'type="application/metalink4+xml", <x.torrent> ;REL="describedby other"; type = "application/x-bittorrent"'
    )
    assert parse_links(value, "http://www.example.com/dir/x") == (
        Link("http://a.example/x,y", "duplicate", "", 1),
        Link("http://www2.example.com/example.ext", "duplicate"),
        Link("http://www.example.com/x.meta4", "describedby", "application/metalink4+xml"),
        Link("http://www.example.com/dir/x.torrent", "describedby", "application/x-bittorrent"),
        Link("http://www.example.com/dir/x.torrent", "other", "application/x-bittorrent"),
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "x",
        "<>; rel=duplicate",
        "<http://h/x>",
        "<javascript:x>; rel=duplicate",
        "<http://user@h/x>; rel=duplicate",
        "<http://h/a b>; rel=duplicate",
        "<http://[::1/x>; rel=duplicate",
        '<http://h/x>; rel=duplicate; anchor="#part"',
        '<http://h/x>; title="<http://h/y>; rel=duplicate"',
    ],
)
def test_what_is_no_link(value: str | None) -> None:
    assert parse_links(value, "https://origin/x") == ()


def test_no_more_links_than_that() -> None:
    many = ",".join(f"<http://h/{number}>;rel=duplicate" for number in range(MAX_LINKS + 50))
    assert len(parse_links(many, "http://h/")) == MAX_LINKS


@given(st.text(alphabet='<>;="\\, ahtp:/rel', max_size=200))
def test_any_text_gives_links(value: str) -> None:
    for link in parse_links(value, "http://h/"):
        assert link.url.startswith(("http:", "https:"))


@pytest.mark.parametrize(
    ("url", "target", "checked", "followed"),
    [
        ("https://h.example/x", "http://other.example/x", False, True),
        ("http://h.example/x", "http://other.example/x", False, False),
        ("http://h.example/x", "http://other.example/x", True, True),
        ("http://h.example/x", "https://h.example:8443/x", False, True),
        ("http://h.example/x", "http://mirror.H.example/x", False, True),
        ("http://www.h.example/x", "http://h.example/x", False, True),
        ("http://h.example/x", "http://evilh.example/x", False, False),
        ("http://example/x", "http://h.example/x", False, False),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x", False, True),
        ("http://127.0.0.1/x", "http://127.0.0.2/x", False, False),
        ("http://0.0.1/x", "http://127.0.0.1/x", False, False),
    ],
)
def test_whose_links_are_followed(url: str, target: str, checked: bool, followed: bool) -> None:
    links = (Link(target, "duplicate"),)
    assert trusted_links(links, url, checked=checked) == (links if followed else ())
