"""Is a Metalink read and written as RFC 5854 has it, and is a bad one refused in words?"""

from contextlib import suppress
from hashlib import sha1, sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.errors import MetalinkError
from p2sp.resource.merkle import BLOCK
from p2sp.resource.metalink import MAX_METALINK, FlatPieces, MetalinkFile, strongest, the_one
from p2sp.resource.metalink_xml import MAX_URLS, parse_metalink, write_metalink
from p2sp.resource.verification import Evidence, Verified, of_metalink

NAMESPACE = "urn:ietf:params:xml:ns:metalink"
DATA = bytes(range(256)) * 256
TWICE = "<file name='x'/>" * 2
HASH = sha256(DATA).digest()


def wrapped(inner: str, name: str = "x.iso", namespace: str = NAMESPACE) -> bytes:
    return f'<?xml version="1.0"?><metalink xmlns="{namespace}"><file name="{name}">{inner}</file></metalink>'.encode()


def one(inner: str) -> MetalinkFile:
    [file] = parse_metalink(wrapped(inner))
    return file


digests = st.dictionaries(st.sampled_from(["sha256", "sha512", "sha1", "md5"]), st.just(b""), max_size=4).map(
    lambda names: {name: {"sha256": 32, "sha512": 64, "sha1": 20, "md5": 16}[name] * b"d" for name in names}
)
names = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=40).filter(
    lambda name: not name.startswith(".")
)


@given(names, st.integers(0, 10 * BLOCK), digests, st.lists(st.integers(0, 99), unique=True, max_size=5))
def test_what_is_written_is_read(name: str, size: int, digests: dict[str, bytes], hosts: list[int]) -> None:
    pieces = FlatPieces("sha256", BLOCK, tuple(bytes([n % 256]) * 32 for n in range(-(-size // BLOCK))))
    urls = tuple(f"http://h{host}/a?b&c=<d>" for host in hosts)
    file = MetalinkFile(name, size, digests, pieces, urls, ("https://h/x.torrent",))
    assert parse_metalink(write_metalink(file)) == (file,)


def test_order_of_urls() -> None:
    file = one(
        "<url>http://last/</url><url priority='2'>http://b/</url><url priority='1' location='de'>http://a/</url>"
        "<url priority='1'>ftp://no/</url><url>rsync://no/</url><url priority='1'>http://user@no/</url>"
        "<url priority='3'> http://b/ </url><url priority='x'>http://later/</url><url>http://n o/</url>"
        "<metaurl mediatype='torrent'>http://h/x.torrent</metaurl><metaurl mediatype='other'>http://h/x</metaurl>"
    )
    assert file.urls == ("http://a/", "http://b/", "http://last/", "http://later/")
    assert file.torrents == ("http://h/x.torrent",)
    assert len(one("".join(f"<url>http://h/{n}</url>" for n in range(MAX_URLS + 1))).urls) == MAX_URLS


def test_hashes_and_pieces() -> None:
    file = one(
        f"<size>{len(DATA)}</size><hash type='sha-256'>{HASH.hex().upper()}</hash><hash type='md4'>x</hash>"
        f"<pieces length='65536' type='sha-1'><hash>{sha1(DATA).hexdigest()}</hash></pieces>"
        f"<pieces length='65536' type='sha-256'><hash>\n {HASH.hex()}\n</hash></pieces>"
        "<pieces length='1' type='crc'><hash>00</hash></pieces><signature mediatype='pgp'>x</signature>"
    )
    assert (file.size, file.digests, file.pieces) == (
        65536,
        {"sha256": HASH},
        FlatPieces("sha256", 65536, (HASH,)),
    )
    assert strongest({"md5": b"m", "sha256": b"s", "sha1": b"1"}) == ("sha256", b"s")
    assert strongest({}) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../x",
        "a/../x",
        "/etc/passwd",
        "a//b",
        "a\\b",
        "C:x",
        "c:/x",
        ".bashrc",
        "a\tb",
        "a\u202eb",
        "x" * 300,
    ],
)
def test_unsafe_names(name: str) -> None:
    with pytest.raises(MetalinkError, match="unsafe file name in Metalink"):
        parse_metalink(wrapped("", name.replace("\t", "&#9;")))


def test_a_path_gives_its_last_part() -> None:
    [file] = parse_metalink(wrapped("", "a/b.iso"))
    assert file.name == "b.iso"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a Metalink"),
        (b"<x/>", "not a Metalink: the document is a 'x'"),
        (b"<metalink/>", "not a Metalink"),
        (b"\xff\xfe\x00", "not a Metalink"),
        (b"<?xml version='1.0' encoding='nonsense'?><x/>", "not a Metalink"),
        (wrapped("", namespace="http://www.metalinker.org/"), "version 3"),
        (f"<metalink xmlns='{NAMESPACE}'/>".encode(), "without a file"),
        (f"<metalink xmlns='{NAMESPACE}'>{TWICE}</metalink>".encode(), "share"),
        (wrapped("<size>-1</size>"), "size in the Metalink is '-1'"),
        (wrapped("<hash type='sha-256'>00</hash>"), "not 64 hex digits"),
        (wrapped("<pieces type='sha-1' length='0'/>"), "length of its pieces in the Metalink is '0'"),
        (wrapped("<size>5</size><pieces type='sha-1' length='5'/>"), "0 pieces of 5 bytes do not make 5 bytes"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + wrapped("<url>&a;</url>").partition(b"?>")[2], "entities is refused"),
        (b"<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + wrapped("").partition(b"?>")[2], "entities is refused"),
        (wrapped("<a>" * 20 + "</a>" * 20), "16 deep"),
        (wrapped("<a/>" * 200_001), "at most 200000 elements"),
        (bytes(MAX_METALINK + 1), "larger than"),
    ],
)
def test_what_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(MetalinkError) as caught:
        parse_metalink(data)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.binary(max_size=300) | st.text(alphabet="<>/ab ='\"&;!", max_size=200).map(lambda s: wrapped(s)))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    with suppress(MetalinkError):
        assert parse_metalink(data)


def test_one_of_several() -> None:
    files = (MetalinkFile("a", 5), MetalinkFile("b", 6))
    assert the_one(files, 6).name == "b"
    assert the_one(files[:1]).name == "a"
    with pytest.raises(MetalinkError, match=r"2 files \(a, b\)"):
        the_one(files)
    with pytest.raises(MetalinkError, match="a, b is not of 7 bytes"):
        the_one(files, 7)


def test_contents() -> None:
    pieces = FlatPieces("sha256", BLOCK, tuple(sha256(DATA[at : at + BLOCK]).digest() for at in range(0, 65536, BLOCK)))
    file = MetalinkFile("x", len(DATA), {"sha256": HASH}, pieces)
    content = of_metalink(file, len(DATA), "key")
    assert (content.verification.strength, content.by_piece) == (Verified.PIECES, True)
    assert content.verification.evidence is Evidence.BYTES
    assert content.digests == {"sha256": HASH}
    assert content.layout.piece_length == BLOCK
    assert content.verification.judge(1, [DATA[BLOCK : BLOCK + 9], DATA[BLOCK + 9 : 2 * BLOCK]])
    assert not content.verification.judge(1, [b"x" + DATA[BLOCK + 1 : 2 * BLOCK]])
    assert not content.verification.check(1, [])
    with pytest.raises(MetalinkError, match="4 pieces of 16384 bytes are not 3 bytes"):
        of_metalink(file, 3, "key")


@pytest.mark.parametrize("length", [1, BLOCK // 2, 3 * BLOCK, 100_000, 1 << 40])
def test_pieces_that_do_not_fit_leave_the_digest(length: int) -> None:
    pieces = FlatPieces("sha256", length, (HASH,))
    content = of_metalink(MetalinkFile("x", None, {"sha256": HASH}, pieces), 5, "key")
    assert (content.verification.strength, content.by_piece) == (Verified.NONE, False)
    assert content.digests == {"sha256": HASH}
