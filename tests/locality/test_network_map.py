"""Does an operator's network map give every address the ISP a naive longest-prefix search gives it?"""

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2sp.locality.alto import LARGEST_DOCUMENT, LocalityError
from p2sp.locality.network_map import NetworkMap, is_local

VTAG = {"resource-id": "network", "tag": "1"}


def document(pids: Any) -> bytes:
    return json.dumps({"meta": {"vtag": VTAG}, "network-map": pids}).encode()


CAMPUS = NetworkMap.decode(
    document(
        {
            "campus": {"ipv4": ["192.0.2.0/24", "127.1.0.0/16"], "ipv6": ["2001:db8:1::/48"]},
            "campus-lab": {"ipv4": ["192.0.2.64/26", "192.0.2.200/32"]},
            "mapped": {"ipv6": ["::ffff:198.51.100.0/120"]},
            "rest": {"ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"]},
            "empty": {},
        }
    )
)


@pytest.mark.parametrize(
    ("address", "isp"),
    [
        ("192.0.2.1", "campus"),
        ("192.0.2.63", "campus"),
        ("192.0.2.64", "campus-lab"),
        ("192.0.2.127", "campus-lab"),
        ("192.0.2.128", "campus"),
        ("192.0.2.200", "campus-lab"),
        ("192.0.2.201", "campus"),
        ("192.0.3.0", None),
        ("127.1.255.255", "campus"),
        ("::ffff:192.0.2.64", "campus-lab"),
        ("::ffff:c000:0240", "campus-lab"),
        ("::192.0.2.64", None),
        ("2001:db8:1::1", "campus"),
        ("2001:DB8:1:FFFF::", "campus"),
        ("2001:db8:2::", None),
        ("2001:db8:1::1%eth0", "campus"),
        ("198.51.100.7", "mapped"),
        ("::ffff:198.51.100.7", "mapped"),
        ("8.8.8.8", None),
        ("2a00::1", None),
        ("", None),
        ("192.0.2.1:80", None),
        ("192.0.2", None),
        ("localhost", None),
    ],
)
def test_who_has_an_address(address: str, isp: str | None) -> None:
    assert CAMPUS.isp_of(address) == isp


@pytest.mark.parametrize(
    ("isp", "other", "local"),
    [("a", "a", True), ("a", "b", False), ("a", None, False), (None, "a", False), (None, None, False)],
)
def test_unknown_is_local_to_nobody(isp: str | None, other: str | None, local: bool) -> None:
    assert is_local(isp, other) is local


def test_what_the_map_says_of_itself() -> None:
    assert CAMPUS.vtag.resource_id == "network"
    assert CAMPUS.vtag.tag == "1"
    assert CAMPUS.pids == {"campus", "campus-lab", "mapped", "rest", "empty"}
    assert NetworkMap.decode(CAMPUS.document) == CAMPUS


def test_rfc_7285_example_11_2_1_6() -> None:
    text = b"""{"meta": {"vtag": {"resource-id": "my-default-network-map", "tag": "da65eca2eb7a10ce8b059740b0b2e3f8"}},
    "network-map": {"PID1": {"ipv4": ["192.0.2.0/24", "198.51.100.0/25"]}, "PID2": {"ipv4": ["198.51.100.128/25"]},
    "PID3": {"ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"]}}}"""
    found = NetworkMap.decode(text)
    assert [found.isp_of(each) for each in ("198.51.100.127", "198.51.100.128", "203.0.113.1")] == [
        "PID1",
        "PID2",
        None,
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "not JSON"),
        (b"[]", "Expected `object`"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"{}", "missing required field `meta`"),
        (b'{"meta": {"vtag": {"resource-id": "a", "tag": "b"}}}', "missing required field `network-map`"),
        (b'{"meta": {}, "network-map": {}}', "missing required field `vtag`"),
        (b'{"meta": {"vtag": {"resource-id": "", "tag": "b"}}, "network-map": {}}', "length >= 1"),
        (document({"a": {"ipv4": ["10.0.0.0/8"]}, "b": {"ipv4": ["10.0.0.0/8"]}}), "10.0.0.0/8 is claimed by PID 'a'"),
        (document({"a": {"ipv4": ["10.0.0.1/8"]}}), "PID 'a': '10.0.0.1/8'"),
        (document({"a": {"ipv4": ["10.0.0.0/33"]}}), "PID 'a': '10.0.0.0/33'"),
        (document({"a": {"ipv4": ["banana"]}}), "PID 'a': 'banana'"),
        (document({"a": {"ipv4": ["2001:db8::/32"]}}), "under ipv4"),
        (document({"a": {"ipv6": ["10.0.0.0/8"]}}), "under ipv6"),
        (document({"a": {"ipv4": "10.0.0.0/8"}}), "PID 'a': Expected `array`"),
        (document({"a": {"ipv4": [7]}}), "PID 'a': Expected `str`"),
        (document({"a": {"ipv4": ["1" * 65]}}), "PID 'a'"),
        (document({"a": []}), "PID 'a': Expected `object`"),
        (document({"": {}}), "'' is not a PID"),
        (document({"a b": {}}), "'a b' is not a PID"),
        (document({"a\n": {}}), "is not a PID"),
        (document({"x" * 65: {}}), "is not a PID"),
        (document({"a": {"ipv4": ["10.0.0.0/8"]}, "b": {"ipv6": ["::ffff:10.0.0.0/104"]}}), "10.0.0.0/8 is claimed"),
        (
            b'{"meta": {"vtag": {"resource-id": "a", "tag": "b"}}, "network-map": {"p": {}, "p": {}}}',
            "'p' stands twice",
        ),
    ],
)
def test_what_is_wrong_is_named(text: bytes, says: str) -> None:
    with pytest.raises(LocalityError) as caught:
        NetworkMap.decode(text)
    assert says in str(caught.value)


def test_a_document_too_large_is_not_parsed() -> None:
    with pytest.raises(LocalityError, match="larger than"):
        NetworkMap.decode(b" " * (LARGEST_DOCUMENT + 1))


def test_a_prefix_twice_in_one_pid_is_harmless() -> None:
    found = NetworkMap.decode(document({"a": {"ipv4": ["10.0.0.0/8", "10.0.0.0/8"]}}))
    assert found.isp_of("10.1.2.3") == "a"


# Few distinct bits, so that prefixes nest and addresses hit them.
_BASES4 = st.sampled_from([0x0A000000, 0x0A010203, 0xC0000200, 0xFFFFFFFF, 0x7F010001])
_BASES6 = st.sampled_from([0x20010DB8 << 96, (0x20010DB8 << 96) | 0xABCD, (1 << 128) - 1, 0x2A << 120])
_V4 = st.tuples(_BASES4, st.integers(1, 32)).map(lambda each: IPv4Network(each, strict=False))
_V6 = st.tuples(_BASES6, st.integers(1, 128)).map(lambda each: IPv6Network(each, strict=False))
_TABLES = st.dictionaries(_V4 | _V6, st.sampled_from(["isp-1", "isp-2", "isp-3"]), max_size=24)
_NOISE = st.integers(0, 31)
_ADDRESSES = st.one_of(
    st.tuples(_BASES4, _NOISE).map(lambda each: IPv4Address(each[0] ^ (1 << each[1]) if each[1] else each[0])),
    st.tuples(_BASES6, st.integers(0, 127)).map(lambda each: IPv6Address(each[0] ^ (1 << each[1]))),
    st.ip_addresses(),
)


def _naive(table: dict[IPv4Network | IPv6Network, str], address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    hits = [network for network in table if network.version == address.version and address in network]
    return table[max(hits, key=lambda network: network.prefixlen)] if hits else None


@given(table=_TABLES, addresses=st.lists(_ADDRESSES, min_size=1, max_size=20))
@example(table={ip_network("10.0.0.0/8"): "isp-1"}, addresses=[ip_address("::ffff:10.0.0.1")])
def test_the_longest_prefix_wins(
    table: dict[IPv4Network | IPv6Network, str], addresses: list[IPv4Address | IPv6Address]
) -> None:
    pids: dict[str, dict[str, list[str]]] = {}
    for network, pid in table.items():
        pids.setdefault(pid, {}).setdefault(f"ipv{network.version}", []).append(str(network))
    found = NetworkMap.decode(document(pids))
    for address in addresses:
        assert found.isp_of(str(address)) == _naive(table, address)
        assert found.isp_of(address.exploded) == _naive(table, address)
        if isinstance(address, IPv4Address):
            assert found.isp_of(f"::ffff:{address}") == _naive(table, address)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_a_map_or_a_clear_error(text: bytes) -> None:
    with pytest.raises(LocalityError):
        NetworkMap.decode(text)


@given(st.text(max_size=50))
def test_any_text_may_be_asked_for(text: str) -> None:
    found = CAMPUS.isp_of(text)
    assert found is None or found in CAMPUS.pids
