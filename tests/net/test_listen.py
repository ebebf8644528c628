"""Is an address understood, and a port that is taken named?"""

import gc

import pytest
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import TestCase

from p2sp.net.errors import CannotListen
from p2sp.net.listen import listen_tcp, listen_tls, listen_udp, parse_listen
from p2sp.net.trust import server_context
from tests.net.kit import SERVER, reactor


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9001", "127.0.0.1", 9001),
        (" [::1]:0 ", "::1", 0),
        ("*:443", "0.0.0.0", 443),
        ("localhost:65535", "127.0.0.1", 65535),
        ("[::]:80", "::", 80),
    ],
)
def test_good(text: str, host: str, port: int) -> None:
    assert parse_listen(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9001",
        ":9001",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "::1:80",
        "[127.0.0.1]:80",
        "host.example:80",
        "[::1]",
        "127.0.0.1:٣",
        "300.0.0.1:80",
    ],
)
def test_bad_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|port|brackets") as caught:
        parse_listen(text)
    assert repr(text) in str(caught.value)


def test_a_bad_address_is_a_listener_that_cannot_be() -> None:
    with pytest.raises(CannotListen, match="nonsense"):
        listen_tcp(MemoryReactorClock(), "nonsense", Factory.forProtocol(Protocol))


class TakenTests(TestCase):
    def test_a_taken_port_is_named_with_its_reason(self) -> None:
        factory = Factory.forProtocol(Protocol)
        port = listen_tcp(reactor, "127.0.0.1:0", factory)
        self.addCleanup(port.stopListening)
        address = f"127.0.0.1:{port.getHost().port}"  # type: ignore[attr-defined]
        with pytest.raises(CannotListen, match=rf"{address}.*in use"):
            listen_tls(reactor, address, factory, server_context(SERVER))

    def test_an_address_of_another_machine_is_named(self) -> None:
        with pytest.raises(CannotListen, match=r"192\.0\.2\.1:0.*assign"):
            listen_tcp(reactor, "192.0.2.1:0", Factory.forProtocol(Protocol))


class SharedTests(TestCase):
    """Ports that several processes serve, and datagrams."""

    def test_a_shared_port_is_shared_with_those_who_share_alone(self) -> None:
        first = listen_tcp(reactor, "127.0.0.1:0", Factory.forProtocol(Protocol), shared=True)
        self.addCleanup(first.stopListening)
        address = f"127.0.0.1:{first.getHost().port}"  # type: ignore[attr-defined]
        second = listen_tcp(reactor, address, Factory.forProtocol(Protocol), shared=True)
        self.addCleanup(second.stopListening)
        with self.assertRaises(CannotListen):
            listen_tcp(reactor, address, Factory.forProtocol(Protocol))

    def test_a_shared_port_for_datagrams_is_shared_with_those_who_share_alone(self) -> None:
        for host in ("127.0.0.1", "[::1]"):
            first = listen_udp(reactor, f"{host}:0", DatagramProtocol(), shared=True)
            self.addCleanup(first.stopListening)
            address = f"{host}:{first.getHost().port}"  # type: ignore[attr-defined]
            second = listen_udp(reactor, address, DatagramProtocol(), shared=True)
            self.addCleanup(second.stopListening)
            with self.assertRaises(CannotListen):
                listen_udp(reactor, address, DatagramProtocol())
            alone = listen_udp(reactor, f"{host}:0", DatagramProtocol())
            self.addCleanup(alone.stopListening)
            taken = f"{host}:{alone.getHost().port}"  # type: ignore[attr-defined]
            with self.assertRaisesRegex(CannotListen, "in use"):
                listen_udp(reactor, taken, DatagramProtocol(), shared=True)
        gc.collect()
        self.flushWarnings()

    def test_a_port_for_datagrams_that_is_taken_is_named(self) -> None:
        first = listen_udp(reactor, "127.0.0.1:0", DatagramProtocol())
        self.addCleanup(first.stopListening)
        address = f"127.0.0.1:{first.getHost().port}"  # type: ignore[attr-defined]
        with self.assertRaisesRegex(CannotListen, address):
            listen_udp(reactor, address, DatagramProtocol())
        # Twisted leaves the socket it could not bind to the collector.
        gc.collect()
        self.flushWarnings()
        with self.assertRaisesRegex(CannotListen, "nowhere"):
            listen_udp(reactor, "nowhere", DatagramProtocol())
