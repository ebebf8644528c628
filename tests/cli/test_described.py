"""Is what is expected of a file put together from all who said something?"""

import pytest

from p2sp.cli.described import check_agrees, content_of, expected, join, shown
from p2sp.cli.outcome import UserError
from p2sp.resource.metalink import MetalinkFile
from p2sp.resource.verification import undescribed

S1, S256, S512 = b"1" * 20, b"2" * 32, b"5" * 64


@pytest.mark.parametrize(
    ("checksum", "digests", "wanted"),
    [
        (None, {}, []),
        (("sha-256", S256.hex()), {}, [("sha256", S256.hex())]),
        (None, {"sha1": S1, "sha256": S256}, [("sha256", S256.hex())]),
        (("sha-256", S256.hex()), {"sha256": S256}, [("sha256", S256.hex())]),
        (("md5", "00"), {"sha512": S512, "sha1": S1}, [("md5", "00"), ("sha512", S512.hex())]),
    ],
)
def test_what_is_expected(
    checksum: tuple[str, str] | None, digests: dict[str, bytes], wanted: list[tuple[str, str]]
) -> None:
    assert expected(checksum, undescribed("k", "n", 5, digests)) == wanted


def test_names_of_digests() -> None:
    assert [shown(name) for name in ("sha256", "sha1", "md5", "sha3_256")] == ["sha-256", "sha-1", "md5", "sha3_256"]


def test_a_metalink_that_contradicts_the_user() -> None:
    file = MetalinkFile("x", 5, {"sha256": S256})
    check_agrees(file, None)
    check_agrees(file, ("md5", "00"))
    check_agrees(file, ("sha-256", S256.hex()))
    with pytest.raises(UserError, match="by the Metalink") as caught:
        check_agrees(file, ("sha-256", "00" * 32))
    assert caught.value.code == 32


def test_a_download_is_known_again_by_its_digest() -> None:
    assert content_of(MetalinkFile("x", 5, {"md5": b"m" * 16, "sha256": S256}), 5).key == f"sha256:{S256.hex()}"
    assert content_of(MetalinkFile("x", 5, urls=("http://h/x",)), 5).key == "http://h/x"
    assert content_of(MetalinkFile("x", 5), 5).key == "x"


def test_mirrors_are_joined_once() -> None:
    mirrors = ["a", "b"]
    join(mirrors, ("c", "a"))
    assert mirrors == ["a", "b", "c"]
