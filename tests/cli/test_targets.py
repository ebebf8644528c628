"""Is a TARGET taken for what it is, and is everything else refused in words?"""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.cli.outcome import UserError, describe
from p2sp.cli.targets import UrlTarget, check_tracker, check_url, parse_checksum, parse_target
from p2sp.resource.descriptor import MAX_TORRENT, Torrent
from p2sp.resource.errors import ResourceError
from p2sp.resource.magnet import Magnet
from p2sp.resource.metalink import MetalinkFile
from p2sp.resource.metalink_xml import write_metalink
from tests.storage.kit import SAMPLE

DESCRIPTOR = SAMPLE.content.descriptor
assert DESCRIPTOR is not None
TORRENT = DESCRIPTOR.to_torrent(mirrors=["http://h/x"])
ID = DESCRIPTOR.resource_id.hex()


@pytest.mark.parametrize(
    "text",
    [
        "http://h/x",
        "HTTPS://h:8443/a/b?c=d#e",
        "http://[::1]:80/x",
        "http://h",
        "http://h/a%20b",
        "http://müller.example/é",
    ],
)
def test_urls(text: str) -> None:
    assert parse_target(text) == UrlTarget(text)
    assert check_url(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://", "names no host"),
        ("http:///x", "names no host"),
        ("http:x", "names no host"),
        ("http://h:port/x", "port"),
        ("http://h:99999/x", "there is no port 99999"),
        ("http://h:0/x", "there is no port 0"),
        ("http://[::1/x", "invalid host"),
        ("http://h/a b", "a space in it"),
        ("http://user:secret@h/x", "URLs with a user name are not supported"),
        ("ftp://h/x", "only http and https URLs are fetched"),
        ("file:///etc/passwd", "only http and https URLs are fetched"),
        ("", "not a URL"),
        ("x" * 10_000, "not a URL"),
        ("\0", "not a URL"),
        ("a" * 63, "a resource id (64 hex digits)"),
        ("missing.torrent", "no such file"),
        ("magnet:?xt=urn:btih:" + "a" * 41, "v1"),
        ("magnet:?dn=x", "magnet"),
    ],
)
def test_what_is_no_target(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_target(text)
    assert words in str(caught.value)
    assert caught.value.code == (3 if "missing" in text else 28)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("text", ["ftp://h/x", "h/x", "", "/tmp/x", "javascript:x"])
def test_what_is_no_mirror(text: str) -> None:
    with pytest.raises(UserError, match="only http and https URLs are fetched") as caught:
        check_url(text)
    assert caught.value.code == 28


@given(st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    with suppress(UserError):
        assert isinstance(parse_target("http://" + text), UrlTarget)


def test_ids_and_magnets() -> None:
    assert parse_target(ID) == parse_target(ID.upper())
    found = parse_target(f"MAGNET:?xt=urn:btmh:1220{ID}&ws=http%3A%2F%2Fh%2Fx")
    assert isinstance(found, Magnet)
    assert (found.resource_id.hex(), list(found.mirrors)) == (ID, ["http://h/x"])


def test_torrent_files(tmp_path: Path) -> None:
    path = tmp_path / "x.torrent"
    path.write_bytes(TORRENT)
    found = parse_target(str(path))
    assert isinstance(found, Torrent)
    assert (found.descriptor.resource_id.hex(), list(found.mirrors)) == (ID, ["http://h/x"])


def test_torrent_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.torrent"
    path.write_bytes(b"de")
    with pytest.raises((UserError, ResourceError)) as caught:
        parse_target(str(path))
    known = describe(caught.value)
    assert known is not None
    assert known[1] == 28
    with path.open("wb") as file:
        file.truncate(MAX_TORRENT + 1)
    with pytest.raises(UserError, match="too large for a"):
        parse_target(str(path))


METALINK = write_metalink(MetalinkFile("x", 5, {"md5": bytes(16)}, None, ("http://h/x",)))


@pytest.mark.parametrize(("name", "data"), [("x.meta4", METALINK), ("x", b"\xef\xbb\xbf" + METALINK)])
def test_metalink_files(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    found = parse_target(str(tmp_path / name))
    assert isinstance(found, MetalinkFile)
    assert (found.name, found.size, found.urls) == ("x", 5, ("http://h/x",))


def test_metalink_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.meta4").touch()
    with pytest.raises(UserError, match="not a Metalink"):
        parse_target(str(tmp_path / "x.meta4"))
    two = METALINK.replace(b"</file>", b"</file><file name='y'/>")
    (tmp_path / "x.meta4").write_bytes(two)
    with pytest.raises(UserError, match=r"2 files \(x, y\)"):
        parse_target(str(tmp_path / "x.meta4"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sha-256=" + "Ab" * 32, ("sha-256", "ab" * 32)),
        (" SHA-512 = " + "0" * 128, ("sha-512", "0" * 128)),
        ("sha-1=" + "f" * 40, ("sha-1", "f" * 40)),
        ("md5=" + "9" * 32, ("md5", "9" * 32)),
    ],
)
def test_checksums(text: str, expected: tuple[str, str]) -> None:
    assert parse_checksum(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not one of sha-256"),
        ("a" * 64, "is not one of sha-256"),
        ("sha256=" + "a" * 64, "'sha256' is not one of sha-256"),
        ("crc32=12345678", "'crc32' is not one of"),
        ("sha-256", "sha-256 takes 64 hex digits"),
        ("sha-256=" + "a" * 63, "sha-256 takes 64 hex digits"),
        ("sha-256=" + "g" * 64, "sha-256 takes 64 hex digits"),
        ("md5=" + "a" * 64, "md5 takes 32 hex digits"),
    ],
)
def test_what_is_no_checksum(text: str, words: str) -> None:
    with pytest.raises(UserError, match="--checksum") as caught:
        parse_checksum(text)
    assert words in str(caught.value)
    assert caught.value.code == 28


@pytest.mark.parametrize("url", ["http://t/announce", "https://t:99/announce?key=1", "udp://t.example:6969/announce"])
def test_trackers(url: str) -> None:
    assert check_tracker(url) == url


@pytest.mark.parametrize("url", ["udp://", "udp://t:99999/", "wss://t", "t:80", ""])
def test_what_is_no_tracker(url: str) -> None:
    with pytest.raises(UserError):
        check_tracker(url)
