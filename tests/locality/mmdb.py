"""How does a test get an MMDB file of its own?"""

from ipaddress import ip_network
from typing import Any


def _text(value: str) -> bytes:
    return (
        bytes([2 << 5 | len(value)]) + value.encode()
        if len(value) < 29
        else b"\x5d" + bytes([len(value) - 29]) + (value.encode())
    )


def _number(value: int, kind: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return (bytes([kind << 5 | len(raw)]) if kind < 8 else bytes([len(raw), kind - 7])) + raw


def _map(values: dict[str, bytes]) -> bytes:
    return bytes([7 << 5 | len(values)]) + b"".join(_text(name) + value for name, value in values.items())


def make_mmdb(systems: dict[str, int]) -> bytes:
    """A file that knows the autonomous systems of these IPv4 prefixes, by MaxMind's specification 2.0."""
    nodes: list[list[Any]] = [[None, None]]
    data = b""
    for prefix, number in systems.items():
        network = ip_network(prefix)
        bits = [int(network.network_address) >> (31 - at) & 1 for at in range(network.prefixlen)]
        at = 0
        for bit in bits[:-1]:
            if nodes[at][bit] is None:
                nodes.append([None, None])
                nodes[at][bit] = len(nodes) - 1
            at = nodes[at][bit]
        nodes[at][bits[-1]] = ("data", len(data))
        data += _map({"autonomous_system_number": _number(number, 6)})
    count = len(nodes)

    def record(value: Any) -> bytes:
        if value is None:
            value = count
        elif isinstance(value, tuple):
            value = count + 16 + value[1]
        return int(value).to_bytes(3, "big")

    tree = b"".join(record(each) for node in nodes for each in node)
    about = _map(
        {
            "binary_format_major_version": _number(2, 5),
            "binary_format_minor_version": _number(0, 5),
            "build_epoch": _number(1, 9),
            "database_type": _text("test-asn"),
            "description": _map({}),
            "ip_version": _number(4, 5),
            "languages": bytes([0, 4]),
            "node_count": _number(count, 6),
            "record_size": _number(24, 5),
        }
    )
    return tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + about
