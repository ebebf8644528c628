"""Is every address that must not be fetched from refused, in whatever form it comes?"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address as TwistedIPv4
from twisted.internet.interfaces import IAddress, IHostnameResolver, IHostResolution, IResolutionReceiver
from zope.interface import implementer
from zope.interface.verify import verifyObject

from p2sp.net.addresses import GuardedResolver, check_fetch_target, parse_base_url
from p2sp.net.errors import ForbiddenTarget

FORBIDDEN = {
    "127.0.0.1": "this machine",
    "127.255.255.254": "this machine",
    "::1": "this machine",
    "0.0.0.0": "no address",
    "::": "no address",
    "169.254.169.254": "link-local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "fd00::1": "private",
    "fc00::1": "private",
    "100.64.0.1": "carrier",
    "100.127.255.255": "carrier",
    "224.0.0.1": "multicast",
    "ff02::1": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "reserved",
    "::ffff:127.0.0.1": "this machine",
    "::ffff:10.1.2.3": "private",
    "::ffff:100.64.0.1": "carrier",
    "64:ff9b::7f00:1": "this machine",
    "2002:7f00:1::": "this machine",
    "2001:db8::1": "reserved",
    "localhost": "not an IP address",
    "0x7f.1": "not an IP address",
    "2130706433": "not an IP address",
    "": "not an IP address",
}


@pytest.mark.parametrize(("host", "reason"), sorted(FORBIDDEN.items()))
def test_forbidden(host: str, reason: str) -> None:
    with pytest.raises(ForbiddenTarget, match=reason) as caught:
        check_fetch_target(host)
    assert host in str(caught.value)


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.63.255.255", "100.128.0.1", "2606:4700::1111"]
)
def test_public(host: str) -> None:
    check_fetch_target(host)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.0/8"),
        ("::ffff:127.0.0.1", "127.0.0.0/8"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("fd00::1", "fd00::/8"),
    ],
)
def test_allowed_by_the_operator(host: str, allowed: str) -> None:
    check_fetch_target(host, [ip_network("203.0.113.0/24"), ip_network(allowed)])


def test_a_wide_ipv6_permission_does_not_open_mapped_ipv4() -> None:
    with pytest.raises(ForbiddenTarget):
        check_fetch_target("::ffff:127.0.0.1", [IPv6Network("::/0")])


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="192.168.0.0/16"))
def test_no_form_of_a_private_address_passes(address: IPv4Address) -> None:
    for form in (str(address), f"::ffff:{address}", f"64:ff9b::{address}"):
        with pytest.raises(ForbiddenTarget):
            check_fetch_target(form, [IPv4Network("127.0.0.0/8")])


@implementer(IHostResolution)
class Resolution:
    name = "host.example"

    def cancel(self) -> None: ...


@implementer(IHostnameResolver)
class Answers:
    """A resolver with one answer for every name."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.hosts = hosts

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = Resolution()
        resolutionReceiver.resolutionBegan(resolution)
        for host in self.hosts:
            resolutionReceiver.addressResolved(TwistedIPv4("TCP", host, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IResolutionReceiver)
class Heard:
    def __init__(self) -> None:
        self.news: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self.news.append("began")

    def addressResolved(self, address: IAddress) -> None:
        assert isinstance(address, TwistedIPv4)
        self.news.append(address.host)

    def resolutionComplete(self) -> None:
        self.news.append("complete")


def test_the_resolver_answers_with_public_addresses_only() -> None:
    resolver = GuardedResolver(Answers(["127.0.0.1", "8.8.8.8", "10.0.0.1"]))
    verifyObject(IHostnameResolver, resolver)
    heard = Heard()
    resolver.resolveHostName(heard, "host.example", 80)
    assert heard.news == ["began", "8.8.8.8", "complete"]


def test_the_resolver_lets_allowed_networks_pass() -> None:
    heard = Heard()
    resolver = GuardedResolver(Answers(["127.0.0.1"]), [ip_network("127.0.0.0/8")])
    resolver.resolveHostName(heard, "host.example", 80)
    assert heard.news == ["began", "127.0.0.1", "complete"]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://host.example", "https://host.example"),
        (" https://HOST.example:9001/ ", "https://host.example:9001"),
        ("http://[::1]:80/a/b/", "http://[::1]:80/a/b"),
    ],
)
def test_base_urls(text: str, normal: str) -> None:
    assert parse_base_url(text) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "ftp://host",
        "https://",
        "https://u@host",
        "https://h?x",
        "https://h#x",
        "https://h:99999",
        "https://h:x",
        "https://münchen",
        "https://[::1",
        "//host",
    ],
)
def test_what_is_no_base_url_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"URL|https|ASCII|user name") as caught:
        parse_base_url(text)
    assert repr(text) in str(caught.value)
