"""Do links and ids name what they say, and nothing else?"""

from base64 import b32encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2sp.resource.errors import MagnetError, ResourceError
from p2sp.resource.magnet import Magnet, parse_magnet, parse_resource_id

ID = bytes(range(32))
BTMH = f"urn:btmh:1220{ID.hex()}"

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(st.binary(min_size=32, max_size=32), st.none() | words, st.lists(words, max_size=4), st.lists(words, max_size=4))
def test_round_trip(resource_id: bytes, name: str | None, trackers: list[str], mirrors: list[str]) -> None:
    magnet = Magnet(resource_id, name, tuple(trackers), tuple(mirrors))
    assert parse_magnet(str(magnet)) == magnet


@given(
    st.binary(min_size=20, max_size=20),
    st.booleans(),
    st.lists(
        st.tuples(st.sampled_from(["192.0.2.7", "2001:db8::1", "host.example"]), st.integers(1, 65535)), max_size=3
    ),
)
def test_round_trip_of_what_v1_has_a_part_in(old: bytes, hybrid: bool, peers: list[tuple[str, int]]) -> None:
    magnet = Magnet(ID if hybrid else old, v1_hash=old if hybrid else None, peers=tuple(peers))
    assert parse_magnet(str(magnet)) == magnet


def test_a_v1_hash_in_base32() -> None:
    assert parse_magnet(f"magnet:?xt=urn:btih:{b32encode(ID[:20]).decode()}") == Magnet(ID[:20])


def test_spelling() -> None:
    magnet = Magnet(ID, "a file & more.iso", ("udp://t:1/announce",), ("https://m/x?y=1",))
    assert str(magnet) == (
        f"magnet:?xt={BTMH}&dn=a%20file%20%26%20more.iso&tr=udp%3A%2F%2Ft%3A1%2Fannounce&ws=https%3A%2F%2Fm%2Fx%3Fy%3D1"
    )


@pytest.mark.parametrize(
    "link",
    [
        f"magnet:?xt={BTMH}",
        f"MAGNET:?xt={BTMH.upper()}",
        f"magnet:?dn=&xt={BTMH}&xt=urn:btmh:1220{'0' * 64}",
        f"magnet:?xt.1=urn:sha1:ABC&xt.2={BTMH}&so=0-2&x.pe=1.2.3.4:0&x.pe=1.2.3.4:66000&x.pe=:5&x.pe=a:%C2%B2",
        f"magnet:?xt={quote(BTMH, safe='')}",
    ],
)
def test_other_spellings_are_read(link: str) -> None:
    assert parse_magnet(link) == Magnet(ID)


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        ("", "not a magnet link"),
        ("https://example.org/", "not a magnet link"),
        ("magnet", "not a magnet link"),
        ("magnet://[", "not a magnet link"),
        ("magnet:?", "without xt"),
        ("magnet:?xt=urn:btmh:", "without xt"),
        (f"magnet:?xt=urn:btmh:1120{ID.hex()}", "without xt"),
        (f"magnet:?xt=urn:btih:{'0' * 41}", "not a BitTorrent v1 info-hash"),
        (f"magnet:?xt={BTMH}&xt=urn:btih:{'1' * 32}", "not a BitTorrent v1 info-hash"),
        ("magnet:?xt=urn:btmh:1220abcd", "not a resource id"),
        (f"magnet:?xt={BTMH}00", "not a resource id"),
        (f"magnet:?xt={BTMH[:-1]}g", "not a resource id"),
        (f"magnet:?xt={BTMH}" + "&a=b" * 400, "too many fields"),
        (f"magnet:?xt={BTMH}&dn=" + "x" * 20_000, "longer than"),
    ],
)
def test_garbage_gets_a_sentence(link: str, sentence: str) -> None:
    with pytest.raises(MagnetError, match=sentence):
        parse_magnet(link)


@given(st.text(max_size=200) | st.text(max_size=100).map(lambda text: f"magnet:{text}"))
def test_no_text_makes_the_reader_stumble(text: str) -> None:
    try:
        parse_magnet(text)
    except ResourceError:
        return
    assert "btmh" in text.lower()


def test_lists_are_cut() -> None:
    link = f"magnet:?xt={BTMH}" + "&tr=t" * 150 + "&ws=w" * 149
    magnet = parse_magnet(link)
    assert (len(magnet.trackers), len(magnet.mirrors)) == (100, 100)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + "\n", " " + "00" * 31 + "0"])
def test_bad_ids(text: str) -> None:
    with pytest.raises(MagnetError, match="64 hex digits"):
        parse_resource_id(text)


def test_ids_in_either_case() -> None:
    assert parse_resource_id(ID.hex()) == parse_resource_id(ID.hex().upper()) == ID
