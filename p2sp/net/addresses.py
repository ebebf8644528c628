"""May this daemon fetch from there, and is this a base URL?"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from twisted.internet.address import IPv4Address as TwistedIPv4
from twisted.internet.address import IPv6Address as TwistedIPv6
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer

from p2sp.net.errors import ForbiddenTarget

Network = IPv4Network | IPv6Network

CARRIER_NAT: Final = IPv4Network("100.64.0.0/10")
# An IPv4 address in any of these reaches the IPv4 host it names.
_NAT64: Final = IPv6Network("64:ff9b::/96")


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _why_not(address: IPv4Address | IPv6Address) -> str | None:
    if address.is_unspecified:
        return "it is no address of a host"
    if address.is_loopback:
        return "it is this machine"
    if address.is_link_local:
        return "it is link-local"
    if address.is_multicast:
        return "it is a multicast group"
    if isinstance(address, IPv4Address) and address in CARRIER_NAT:
        return "it is behind a carrier's NAT"
    if address.is_private or not address.is_global:
        return "it is in a private or reserved network"
    return None


def check_fetch_target(host_ip: str, allowed: Sequence[Network] = ()) -> None:
    """Make sure that an address somebody else named is a public one, or within `allowed`.

    Raises ForbiddenTarget with the reason: loopback, link-local, private, carrier NAT, multicast, reserved, or
    an IPv6 form of such an IPv4 address; also for text that is no IP address.
    """
    try:
        address = ip_address(host_ip.partition("%")[0])
    except ValueError:
        raise ForbiddenTarget(host_ip, "it is not an IP address") from None
    candidates: list[IPv4Address | IPv6Address] = [address]
    if isinstance(address, IPv6Address) and (inner := _embedded(address)) is not None:
        # What is reached in the end is the inner address, so it alone is judged.
        candidates = [inner]
    for each in candidates:
        if any(each.version == network.version and each in network for network in allowed):
            continue
        if (reason := _why_not(each)) is not None:
            raise ForbiddenTarget(host_ip, reason)


def observed_address(host: str) -> str:
    """A connection's address as it is written down: one of IPv4 mapped into IPv6 is the IPv4 one, without a zone."""
    if ":" not in host:
        return host
    parsed = ip_address(host.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return str(mapped or parsed)


def host_port(host: str, port: int) -> str:
    """Address and port as one writes them: an IPv6 address stands in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@implementer(IResolutionReceiver)
class _CheckingReceiver:
    def __init__(self, inner: IResolutionReceiver, allowed: Sequence[Network]) -> None:
        self._inner = inner
        self._allowed = allowed

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self._inner.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        if not isinstance(address, TwistedIPv4 | TwistedIPv6):
            return
        try:
            check_fetch_target(address.host, self._allowed)
        except ForbiddenTarget:
            return
        self._inner.addressResolved(address)

    def resolutionComplete(self) -> None:
        self._inner.resolutionComplete()


@implementer(IHostnameResolver)
class GuardedResolver:
    """A resolver that answers only with addresses `check_fetch_target` lets pass.

    The addresses it answers with are the ones that are dialled, so a name cannot point elsewhere in between.
    A name whose every address is refused resolves to nothing.
    """

    def __init__(self, inner: IHostnameResolver, allowed: Sequence[Network] = ()) -> None:
        self._inner = inner
        self._allowed = tuple(allowed)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Resolve, leaving out what must not be dialled; literal addresses are judged as well."""
        receiver = _CheckingReceiver(resolutionReceiver, self._allowed)
        return self._inner.resolveHostName(receiver, hostName, portNumber, addressTypes, transportSemantics)


def parse_base_url(text: str) -> str:
    """Normalise the base URL of a service: http or https, a host, maybe a port and a path, no final slash.

    Raises ValueError saying what is wrong with it.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{text!r} must begin with https:// or http://")
    if not parts.hostname or not text.isascii():
        raise ValueError(f"{text!r} names no host in ASCII")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{text!r} must have no user name, query or fragment")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def https_url(text: str) -> str:
    """The base URL of a service that must be reached over TLS, normalised; raises ValueError saying what is wrong."""
    base = parse_base_url(text)
    if not base.startswith("https://"):
        raise ValueError(f"{text!r} must begin with https://")
    return base
