"""Over real TLS: is everybody who they say, and does nobody get a role for free?"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IHandshakeListener, IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, TLSVersion, optionsForClientTLS, trustRootFromCertificates
from twisted.python.failure import Failure
from zope.interface import implementer

from p2sp.net.authority import Authority
from p2sp.net.errors import BadIdentity, IdentityMismatch, UntrustedServer
from p2sp.net.identity import Identity, create_identity, key_to_pem
from p2sp.net.listen import listen_tls
from p2sp.net.trust import (
    Caller,
    Trust,
    client_policy,
    peer_certificate,
    peer_node_id,
    pinned_client_context,
    server_context,
    verify_peer,
)
from tests.net.kit import AUTHORITY, SERVER, STRANGER, TRACKER, TRUST, LoopbackCase, reactor

NOW = datetime.now(UTC)


@implementer(IHandshakeListener)
class Greeter(Protocol):
    """Sends a greeting as soon as the handshake allows, and keeps what it learns of the other side."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting
        self.heard = b""
        self.certificate: x509.Certificate | None = None
        self.negotiated: bytes | None = None
        self.greeted: Deferred[Greeter] = Deferred()
        self.lost: Deferred[object] = Deferred()

    def handshakeCompleted(self) -> None:
        transport: Any = self.transport
        self.certificate = peer_certificate(transport)
        self.negotiated = transport.negotiatedProtocol
        transport.write(self.greeting)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if not self.greeted.called:
            self.greeted.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)


class GreeterFactory(Factory):
    noisy = False

    def __init__(self) -> None:
        self.met: list[Greeter] = []

    def buildProtocol(self, addr: object) -> Greeter:
        greeter = Greeter(b"welcome")
        self.met.append(greeter)
        return greeter


class HandshakeTests(LoopbackCase):
    def listen(self, identity: Identity = SERVER, alpn: Sequence[bytes] = ()) -> GreeterFactory:
        factory = GreeterFactory()
        port = listen_tls(reactor, "127.0.0.1:0", factory, server_context(identity, alpn=alpn))
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port  # type: ignore[attr-defined]
        return factory

    async def dial(self, creator: IOpenSSLClientConnectionCreator) -> Greeter:
        """Connect; the greeter's `greeted` or `lost` says how it went."""
        greeter = Greeter(b"hello")
        endpoint = wrapClientTLS(creator, TCP4ClientEndpoint(reactor, "127.0.0.1", self.port))
        await connectProtocol(endpoint, greeter)

        def hang_up() -> Deferred[object]:
            if not greeter.lost.called:
                greeter.transport.abortConnection()  # type: ignore[union-attr]
            return greeter.lost

        self.addCleanup(hang_up)
        return greeter

    def by_policy(
        self, identity: Identity | None, trust: Trust | None = TRUST, host: bytes = b"127.0.0.1"
    ) -> IOpenSSLClientConnectionCreator:
        return client_policy(identity, trust).creatorForNetloc(host, self.port)

    async def server_sees(self, identity: Identity | None) -> Caller | None:
        factory = self.listen()
        await (await self.dial(self.by_policy(identity))).greeted
        server_side = await factory.met[0].greeted
        if server_side.certificate is None:
            return None
        return TRUST.caller(server_side.certificate, NOW)

    async def test_a_self_signed_client_is_known_by_its_key(self) -> None:
        self.assertEqual(await self.server_sees(STRANGER), Caller(STRANGER.node_id, frozenset()))

    async def test_a_client_without_certificate_is_welcome(self) -> None:
        self.assertIsNone(await self.server_sees(None))

    async def test_a_client_of_our_authority_has_its_role(self) -> None:
        self.assertEqual(await self.server_sees(TRACKER), Caller(TRACKER.node_id, frozenset({"tracker"})))

    async def test_a_client_of_another_authority_has_no_role(self) -> None:
        foreign = Authority.create("test network").issue("tracker", [], "a tracker elsewhere")
        self.assertEqual(await self.server_sees(foreign), Caller(foreign.node_id, frozenset()))

    async def test_an_expired_client_is_known_and_has_no_role(self) -> None:
        old = AUTHORITY.issue("tracker", [], "old", now=NOW - timedelta(days=30), lifetime=timedelta(days=1))
        self.assertEqual(await self.server_sees(old), Caller(old.node_id, frozenset()))

    async def test_the_policy_knows_a_server_by_name_too(self) -> None:
        self.listen()
        greeter = await (await self.dial(self.by_policy(None, host=b"localhost"))).greeted
        self.assertEqual(greeter.heard, b"welcome")

    async def refusal(self, creator: IOpenSSLClientConnectionCreator) -> object:
        greeter = await self.dial(creator)
        reason = await greeter.lost
        self.assertEqual(greeter.heard, b"")
        return reason

    async def test_the_policy_refuses_another_name(self) -> None:
        self.listen()
        error = await self.refusal(self.by_policy(None, host=b"other.example"))
        self.assertIsInstance(error, UntrustedServer)
        self.assertIn("another name", str(error))

    async def test_the_policy_refuses_another_address(self) -> None:
        self.listen(AUTHORITY.issue("index", ["127.0.0.2"], "elsewhere"))
        self.assertIn("another name", str(await self.refusal(self.by_policy(None))))

    async def test_the_policy_refuses_another_authority(self) -> None:
        self.listen(Authority.create("test network").issue("index", ["127.0.0.1"], "an index elsewhere"))
        error = await self.refusal(self.by_policy(None))
        self.assertIsInstance(error, UntrustedServer)
        self.assertIn("no authority known here", str(error))

    async def test_the_policy_refuses_a_self_signed_server(self) -> None:
        self.listen(STRANGER)
        self.assertIsInstance(await self.refusal(self.by_policy(None)), UntrustedServer)

    async def test_the_platform_does_not_know_our_authority(self) -> None:
        self.listen()
        self.assertIsInstance(await self.refusal(self.by_policy(None, trust=None)), UntrustedServer)

    async def test_the_policy_refuses_an_expired_server(self) -> None:
        self.listen(
            AUTHORITY.issue("index", ["127.0.0.1"], "old", now=NOW - timedelta(days=30), lifetime=timedelta(days=1))
        )
        self.assertIn("expired", str(await self.refusal(self.by_policy(None))))

    async def test_names_that_cannot_be_read_are_not_let_pass(self) -> None:
        """service-identity breaks on such a URI, and Twisted's own check would then say yes to any host."""
        self.listen(_issue_with_names([x509.UniformResourceIdentifier("urn:a:b"), x509.DNSName("other.example")]))
        error = await self.refusal(self.by_policy(None))
        self.assertIsInstance(error, UntrustedServer)
        self.assertIn("cannot be read", str(error))

    async def test_an_issued_certificate_suits_twisteds_own_check(self) -> None:
        self.listen()
        root = trustRootFromCertificates([Certificate.loadPEM(AUTHORITY.certificate_pem)])
        greeter = await (await self.dial(optionsForClientTLS("127.0.0.1", trustRoot=root))).greeted
        self.assertEqual(greeter.heard, b"welcome")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_the_pinned_key_is_let_in_whatever_its_certificate(self) -> None:
        for identity in (STRANGER, SERVER):
            factory = self.listen(identity)
            context = pinned_client_context(TRACKER, identity.node_id.upper())
            greeter = await (await self.dial(context)).greeted
            self.assertEqual(peer_node_id(greeter.transport), identity.node_id)
            verify_peer(greeter.transport, identity.node_id)
            self.assertEqual(peer_node_id((await factory.met[0].greeted).transport), TRACKER.node_id)

    async def test_another_key_is_refused_before_a_byte_is_sent(self) -> None:
        factory = self.listen(STRANGER)
        error = await self.refusal(pinned_client_context(TRACKER, SERVER.node_id))
        self.assertIsInstance(error, IdentityMismatch)
        self.assertIn(STRANGER.node_id, str(error))
        await factory.met[0].lost
        self.assertEqual(factory.met[0].heard, b"")
        self.assertIsNone(factory.met[0].certificate)

    async def test_verify_peer_names_both(self) -> None:
        self.listen(STRANGER)
        greeter = await (await self.dial(pinned_client_context(TRACKER, STRANGER.node_id))).greeted
        with pytest.raises(IdentityMismatch, match=f"{SERVER.node_id}.*{STRANGER.node_id}"):
            verify_peer(greeter.transport, SERVER.node_id)

    async def test_tls_1_2_is_refused_by_the_server(self) -> None:
        self.listen()
        root = trustRootFromCertificates([Certificate.loadPEM(AUTHORITY.certificate_pem)])
        old = optionsForClientTLS(
            "127.0.0.1", trustRoot=root, extraCertificateOptions={"lowerMaximumSecurityTo": TLSVersion.TLSv1_2}
        )
        self.assertIsInstance(await self.refusal(old), SSL.Error)

    async def test_alpn_is_agreed(self) -> None:
        self.listen(STRANGER, alpn=[b"p2sp/1"])
        context = pinned_client_context(TRACKER, STRANGER.node_id, alpn=[b"p2sp/1", b"other"])
        self.assertEqual((await (await self.dial(context)).greeted).negotiated, b"p2sp/1")


def _issue_with_names(names: list[x509.GeneralName]) -> Identity:
    """A certificate of our authority with names of any kind."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(AUTHORITY.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(AUTHORITY.identity.private_key, hashes.SHA256())
    )
    return Identity(key_to_pem(key), certificate.public_bytes(Encoding.PEM))


def test_a_role_lasts_as_long_as_certificate_and_authority() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    authority = Authority.create("net", now=begin)
    issued = authority.issue("manager", [], "m", now=begin, lifetime=timedelta(days=10))
    examined = Trust((authority.certificate,)).examine(issued.certificate)
    assert examined.at(begin).roles == {"manager"}
    assert examined.at(begin + timedelta(days=10)).roles == {"manager"}
    assert examined.at(begin + timedelta(days=10, seconds=1)).roles == frozenset()
    assert examined.at(begin - timedelta(days=1)).roles == frozenset()
    beyond = authority.issue("manager", [], "m", now=begin, lifetime=timedelta(days=365 * 30))
    assert Trust((authority.certificate,)).caller(beyond.certificate, begin + timedelta(days=365 * 25)).roles == (
        frozenset()
    )


def test_a_self_signed_certificate_cannot_name_its_own_role() -> None:
    rogue = Authority.create("test network")
    issued = rogue.issue("operator", [], "me")
    assert TRUST.caller(issued.certificate, NOW).roles == frozenset()
    assert TRUST.caller(rogue.certificate, NOW).roles == frozenset()


def test_a_node_with_a_role_cannot_hand_it_on() -> None:
    """A certificate signed by a node of ours, not by the authority, carries nothing."""
    middle = Authority(TRACKER)
    forged = middle.issue("operator", [], "forged")
    assert TRUST.caller(forged.certificate, NOW).roles == frozenset()


def test_trust_reads_bundles(tmp_path: Path) -> None:
    other = Authority.create("other")
    path = tmp_path / "ca.pem"
    path.write_bytes(AUTHORITY.certificate_pem + other.certificate_pem)
    trust = Trust.from_file(path)
    assert trust.authorities == (AUTHORITY.certificate, other.certificate)
    assert trust.caller(other.issue("index", [], "i").certificate, NOW).roles == {"index"}


@pytest.mark.parametrize("content", [b"", b"nonsense", create_identity().key_pem])
def test_a_bundle_without_certificates_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(BadIdentity, match=r"ca\.pem.*no authority"):
        Trust.from_file(path)


def test_a_missing_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadIdentity, match=r"gone\.pem.*No such file"):
        Trust.from_file(tmp_path / "gone.pem")


def test_a_transport_without_tls_shows_nobody() -> None:
    assert peer_certificate(object()) is None
    assert peer_node_id(object()) is None
