"""Which ISP does an address belong to?"""

import hashlib
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Annotated, Any, Final

import attrs
import msgspec
from msgspec import Meta

from p2sp.locality.alto import LocalityError, VersionTag, read_document, read_rows

MEDIA_TYPE: Final = "application/alto-networkmap+json"
MOST_PREFIXES: Final = 1_000_000
MOST_PIDS: Final = 100_000

Network = IPv4Network | IPv6Network
_Prefix = Annotated[str, Meta(max_length=64)]
_MAPPED_BITS: Final = 96
_MAPPED: Final = 0xFFFF << 32


class _Prefixes(msgspec.Struct, frozen=True):
    ipv4: list[_Prefix] = []
    ipv6: list[_Prefix] = []


class _Meta(msgspec.Struct, frozen=True):
    vtag: VersionTag


class _Document(msgspec.Struct, frozen=True):
    meta: _Meta
    # RFC 7285 section 11.2.1: the member has the same name as the media type's subtype.
    network_map: dict[str, Any] = msgspec.field(name="network-map")


@attrs.frozen
class _Table:
    """The prefixes of one IP version, for one lookup in a dict per prefix length that occurs, longest first."""

    by_shift: tuple[tuple[int, dict[int, str]], ...]

    @classmethod
    def build(cls, prefixes: dict[tuple[int, int], str], bits: int) -> "_Table":
        tables: dict[int, dict[int, str]] = {}
        for (number, length), pid in prefixes.items():
            tables.setdefault(bits - length, {})[number >> (bits - length)] = pid
        return cls(tuple(sorted(tables.items(), key=lambda item: item[0])))

    def find(self, number: int) -> str | None:
        for shift, table in self.by_shift:
            if (pid := table.get(number >> shift)) is not None:
                return pid
        return None


@attrs.frozen
class NetworkMap:
    """An operator's table from addresses to ISPs: an ALTO network map (RFC 7285 section 11.2.1).

    A PID is an ISP, and the longest prefix wins. A prefix of length 0 is ALTO's way to say "everybody else", so
    it names no ISP. An ISP nobody knows is None, which is local to nothing, not even to another None.
    """

    vtag: VersionTag
    pids: frozenset[str]
    document: bytes = attrs.field(repr=False)
    digest: str
    _v4: _Table = attrs.field(repr=False)
    _v6: _Table = attrs.field(repr=False)

    @classmethod
    def decode(cls, data: bytes) -> "NetworkMap":
        """Read a map from its JSON.

        Raises LocalityError, naming the PID and the prefix, for one that is malformed or claimed by two PIDs.
        """
        document = read_document(data, _Document)
        tables: dict[int, dict[tuple[int, int], str]] = {4: {}, 6: {}}
        count = 0
        rows = read_rows(document.network_map, _Prefixes, MOST_PIDS)
        for pid, prefixes in rows.items():
            count += len(prefixes.ipv4) + len(prefixes.ipv6)
            if count > MOST_PREFIXES:
                raise LocalityError(f"has more than {MOST_PREFIXES} prefixes")
            for network in _networks(pid, prefixes):
                table = tables[network.version]
                other = table.setdefault((int(network.network_address), network.prefixlen), pid)
                if other != pid:
                    raise LocalityError(f"prefix {network} is claimed by PID {other!r} and by PID {pid!r}")
        for table in tables.values():
            table.pop((0, 0), None)
        return cls(
            vtag=document.meta.vtag,
            pids=frozenset(rows),
            document=data,
            digest=hashlib.sha256(data).hexdigest(),
            v4=_Table.build(tables[4], 32),
            v6=_Table.build(tables[6], 128),
        )

    def isp_of(self, address: str) -> str | None:
        """The ISP of an IPv4 or IPv6 address in text; None when no prefix has it or it is no address at all.

        An IPv4-mapped IPv6 address counts as the IPv4 address in it.
        """
        # Several times as quick as ipaddress reads it.
        try:
            if ":" not in address:
                return self._v4.find(int.from_bytes(inet_pton(AF_INET, address)))
            number = int.from_bytes(inet_pton(AF_INET6, address.partition("%")[0]))
        except (OSError, ValueError):
            return None
        if number >> 32 == _MAPPED >> 32:
            return self._v4.find(number & 0xFFFFFFFF)
        return self._v6.find(number)


def is_local(isp: str | None, other: str | None) -> bool:
    """Whether two nodes are in the same ISP; a node whose ISP is unknown is local to nobody."""
    return isp is not None and isp == other


def _networks(pid: str, prefixes: _Prefixes) -> Iterable[Network]:
    for version, texts in ((4, prefixes.ipv4), (6, prefixes.ipv6)):
        for text in texts:
            try:
                network = ip_network(text)
            except ValueError as error:
                raise LocalityError(f"PID {pid!r}: {text!r} is not a prefix ({error})") from error
            if network.version != version:
                raise LocalityError(f"PID {pid!r}: {text!r} stands under ipv{version} and is not one")
            yield _unmapped(network)


def _unmapped(network: Network) -> Network:
    number = int(network.network_address)
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS and number >> 32 == _MAPPED >> 32:
        return IPv4Network((number & 0xFFFFFFFF, network.prefixlen - _MAPPED_BITS))
    return network
