"""Who is at the other end of a TLS connection, and what may they do?"""

import hmac
import weakref
from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from p2sp.net.authority import roles_in
from p2sp.net.errors import BadIdentity, IdentityMismatch, UntrustedServer
from p2sp.net.identity import LARGEST_FILE, Identity, node_id_of

OLDEST_VERSION: Final = TLSVersion.TLSv1_3

MOST_HOSTS: Final = 256
"""Servers for which a policy keeps what it needs to call them again."""


@attrs.frozen
class Caller:
    """Who is on the other side: the key it proved to hold, and the roles our authority gave that key."""

    node_id: str
    roles: frozenset[str] = frozenset()


@attrs.frozen
class Examined:
    """What a certificate says and for how long, once its signature has been judged."""

    node_id: str
    roles: frozenset[str]
    begin: datetime
    end: datetime

    def at(self, now: datetime) -> Caller:
        """Whom the certificate shows at `now` (aware)."""
        return Caller(self.node_id, self.roles if self.begin <= now <= self.end else frozenset())


@attrs.frozen
class Trust:
    """Whose word about roles this node takes: the certificates of the network's authorities."""

    authorities: tuple[x509.Certificate, ...]

    @classmethod
    def from_pem(cls, pem: bytes) -> "Trust":
        """The authorities in a PEM bundle; raises ValueError when there is none or one is garbled."""
        return cls(tuple(x509.load_pem_x509_certificates(pem)))

    @classmethod
    def from_file(cls, path: Path) -> "Trust":
        """The authorities in a PEM file; raises BadIdentity naming the file when it cannot be used."""
        try:
            with path.open("rb") as file:
                return cls.from_pem(file.read(LARGEST_FILE))
        except OSError as error:
            raise BadIdentity(str(path), error.strerror or str(error)) from error
        except ValueError as error:
            raise BadIdentity(str(path), "it holds no authority's certificate in PEM") from error

    def examine(self, certificate: x509.Certificate) -> Examined:
        """Judge a certificate once for all times: which roles our authorities gave its key, and for how long."""
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        roles: frozenset[str] = frozenset()
        for authority in self.authorities:
            if _issued(authority, certificate):
                begin = max(begin, authority.not_valid_before_utc)
                end = min(end, authority.not_valid_after_utc)
                roles = roles_in(certificate)
                break
        return Examined(node_id_of(certificate), roles, begin, end)

    def caller(self, certificate: x509.Certificate, now: datetime) -> Caller:
        """Name the holder of `certificate`, whose key the handshake has proven.

        Roles count only when one of our authorities signed this very certificate and `now` (aware) is within
        the validity of both; anybody else is a node without roles.
        """
        return self.examine(certificate).at(now)


def _issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _own_options(identity: Identity | None) -> dict[str, Any]:
    if identity is None:
        return {}
    return {"privateKey": identity.private_key, "certificate": identity.certificate}


def _accept_any(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, good: int) -> bool:
    return True


@implementer(IOpenSSLServerConnectionCreator)
@attrs.frozen
class _ServerContext:
    options: CertificateOptions

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = self.options.serverConnectionForTLS(tlsProtocol)
        # Asks for a certificate and takes any: the handshake proves the key, Trust judges the roles.
        connection.set_verify(SSL.VERIFY_PEER, _accept_any)
        return connection


def server_context(identity: Identity, *, alpn: Sequence[bytes] = ()) -> IOpenSSLServerConnectionCreator:
    """TLS for a listener: TLS 1.3, asks for a client certificate, accepts any and also none.

    Who offers none of the names in `alpn` gets none, and it is for the protocol to end that; see `negotiated`.
    What a certificate proves at this point is possession of its key; see `Trust.caller` for roles.
    """
    options = CertificateOptions(
        raiseMinimumTo=OLDEST_VERSION, acceptableProtocols=list(alpn) or None, **_own_options(identity)
    )
    context = options.getContext()
    if alpn:

        def select(connection: SSL.Connection, offered: list[bytes]) -> Any:
            # Twisted's own breaks the handshake off as by a fault of ours, so that nobody learns what was wrong.
            return next((name for name in alpn if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

        context.set_alpn_select_callback(select)
    return _ServerContext(options)


@implementer(IPolicyForHTTPS)
@attrs.frozen
class VerifyingPolicy:
    """TLS clients that verify a server's name or address against `root` and fail closed; `options` go to OpenSSL."""

    root: Any
    options: dict[str, Any]
    _creators: dict[str, IOpenSSLClientConnectionCreator] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        host = hostname.decode("ascii").strip("[]")
        creator = self._creators.get(host)
        if creator is None:
            # Reading the authorities anew for each connection takes milliseconds.
            if len(self._creators) >= MOST_HOSTS:
                del self._creators[next(iter(self._creators))]
            options = optionsForClientTLS(host, trustRoot=self.root, extraCertificateOptions=dict(self.options))
            creator = self._creators[host] = _StrictCreator(options, host)
        return creator


@implementer(IOpenSSLClientConnectionCreator)
@attrs.frozen
class _StrictCreator:
    """Twisted's client connections with a verification that fails closed.

    Twisted's own lets a certificate pass whose names service-identity cannot even read.
    """

    inner: IOpenSSLClientConnectionCreator
    host: str

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection: SSL.Connection = self.inner.clientConnectionForTLS(tlsProtocol)
        protocol = weakref.ref(tlsProtocol)

        def verify(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, good: int) -> bool:
            reason = _why_untrusted(self.host, certificate, error, depth, bool(good))
            if reason is not None and (tls := protocol()) is not None:
                tls.failVerification(Failure(UntrustedServer(self.host, reason)))
            return reason is None

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection


def _why_untrusted(host: str, certificate: crypto.X509, error: int, depth: int, good: bool) -> str | None:
    if not good:
        known = {10: "its certificate has expired", 9: "its certificate is not valid yet"}
        return known.get(error, f"its certificate comes from no authority known here (X.509 error {error})")
    if depth != 0:
        return None
    check = verify_certificate_ip_address if _is_ip(host) else verify_certificate_hostname
    try:
        check(certificate.to_cryptography(), host)
    except VerificationError:
        return "its certificate is for another name"
    except Exception as cause:  # noqa: BLE001 - whatever is wrong with it, it is not good
        return f"its certificate cannot be read ({cause})"
    return None


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def client_policy(identity: Identity | None, trust: Trust | None, *, minimum: Any = OLDEST_VERSION) -> IPolicyForHTTPS:
    """How an HTTPS client verifies servers and shows itself.

    The server's name or address must be in a certificate of one of `trust`'s authorities, or of the platform's
    when `trust` is None. `identity` is shown to servers that ask. `minimum` is the oldest TLS version: our own
    services all speak 1.3, but a stranger's mirror may need `TLSVersion.TLSv1_2`.
    """
    if trust is None:
        root = platformTrust()
    else:
        root = trustRootFromCertificates(
            [Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in trust.authorities]
        )
    return VerifyingPolicy(root, {"raiseMinimumTo": minimum, **_own_options(identity)})


@implementer(IOpenSSLClientConnectionCreator)
@attrs.frozen
class _PinnedContext:
    options: CertificateOptions
    node_id: str

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = self.options.clientConnectionForTLS(tlsProtocol)
        protocol = weakref.ref(tlsProtocol)

        def verify(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, good: int) -> bool:
            if depth != 0:
                return True
            found = node_id_of(certificate.to_cryptography())
            if hmac.compare_digest(found, self.node_id):
                return True
            if (tls := protocol()) is not None:
                tls.failVerification(Failure(IdentityMismatch(self.node_id, found)))
            return False

        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify)
        return connection


class Pinning:
    """TLS for a dialler that knows whom it wants: no authority, only the key with a node id will do.

    All connections share what can be shared. With any other key the handshake fails before a byte of ours is sent,
    and the protocol's `connectionLost` gets IdentityMismatch as its reason.
    """

    def __init__(self, identity: Identity, *, alpn: Sequence[bytes] = ()) -> None:
        self._options = CertificateOptions(
            raiseMinimumTo=OLDEST_VERSION, acceptableProtocols=list(alpn) or None, **_own_options(identity)
        )

    def to(self, node_id: str) -> IOpenSSLClientConnectionCreator:
        """For a connection to the holder of that key."""
        return _PinnedContext(self._options, node_id.lower())


def pinned_client_context(
    identity: Identity, node_id: str, *, alpn: Sequence[bytes] = ()
) -> IOpenSSLClientConnectionCreator:
    """TLS for a single connection to a node that is known; see `Pinning`."""
    return Pinning(identity, alpn=alpn).to(node_id)


def negotiated(transport: object) -> bytes:
    """The application protocol both ends of this transport agreed on (ALPN); empty for none, or without TLS."""
    connection = _connection(transport)
    return b"" if connection is None else connection.get_alpn_proto_negotiated()


def peer_certificate(transport: object) -> x509.Certificate | None:
    """The certificate the other end of this transport has shown; None without TLS, or when it showed none."""
    connection = _connection(transport)
    return None if connection is None else connection.get_peer_certificate(as_cryptography=True)


def _connection(transport: object) -> SSL.Connection | None:
    get_handle = getattr(transport, "getHandle", None)
    handle = get_handle() if get_handle is not None else None
    return handle if isinstance(handle, SSL.Connection) else None


def peer_node_id(transport: object) -> str | None:
    """The node id proven by the other end of this transport, or None."""
    certificate = peer_certificate(transport)
    return None if certificate is None else node_id_of(certificate)


def verify_peer(transport: object, node_id: str) -> None:
    """Make sure, once the handshake is complete, that the other end is `node_id`; raises IdentityMismatch."""
    found = peer_node_id(transport)
    if found is None or not hmac.compare_digest(found, node_id.lower()):
        raise IdentityMismatch(node_id, found)
