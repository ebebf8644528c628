"""Which certificates does a network's own authority give out, and which roles do they carry?"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from p2sp.net.errors import BadIdentity
from p2sp.net.files import write_private
from p2sp.net.identity import CLOCK_SKEW, LIFETIME, Identity, key_to_pem, load_identity

ROLES: Final = frozenset({"index", "tracker", "statistics", "manager", "supernode", "publisher", "peer", "operator"})
# With a single colon: service-identity, which Twisted's clients verify names with, stumbles over more.
ROLE_URI: Final = "p2sp-role:"
ISSUED_LIFETIME: Final = timedelta(days=365 * 5)


def roles_in(certificate: x509.Certificate) -> frozenset[str]:
    """The roles a certificate names in its URI SANs (`p2sp-role:<role>`), unknown ones left out.

    It says nothing about who signed the certificate: `Trust.caller` does.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return ROLES & {uri.removeprefix(ROLE_URI) for uri in uris if uri.startswith(ROLE_URI)}


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@attrs.frozen
class Authority:
    """A network's private certificate authority: it says which node may act in which role."""

    identity: Identity

    @property
    def certificate(self) -> x509.Certificate:
        return self.identity.certificate

    @property
    def certificate_pem(self) -> bytes:
        return self.identity.certificate_pem

    @classmethod
    def create(cls, name: str, *, now: datetime | None = None) -> Self:
        """A new authority, P-256, valid for 20 years, that signs end certificates only."""
        begin = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - CLOCK_SKEW)
            .not_valid_after(begin + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )
        return cls(Identity(key_to_pem(key), certificate.public_bytes(Encoding.PEM)))

    def save(self, directory: Path) -> None:
        """Write `ca.pem` (for everybody) and `ca-key.pem` (for the owner only) into `directory`."""
        write_private(directory / "ca-key.pem", self.identity.key_pem + self.identity.certificate_pem)
        write_private(directory / "ca.pem", self.identity.certificate_pem, mode=0o644)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote; raises BadIdentity naming the file that is missing or broken."""
        identity = load_identity(directory / "ca-key.pem")
        try:
            constraints = identity.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        except x509.ExtensionNotFound:
            may_sign = False
        else:
            may_sign = constraints.value.ca
        if not may_sign:
            raise BadIdentity(str(directory / "ca-key.pem"), "its certificate is not an authority's")
        return cls(identity)

    def issue(
        self,
        role: str,
        hosts: Sequence[str],
        common_name: str,
        *,
        lifetime: timedelta = ISSUED_LIFETIME,
        now: datetime | None = None,
    ) -> Identity:
        """A fresh key with a certificate for `role`, good for both ends of TLS at `hosts` (names or addresses).

        Raises ValueError for a role that does not exist or a host that is no name.
        """
        if role not in ROLES:
            raise ValueError(f"there is no role {role!r}; the roles are {', '.join(sorted(ROLES))}")
        names = [*map(_general_name, hosts), x509.UniformResourceIdentifier(ROLE_URI + role)]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign(key, subject, x509.SubjectAlternativeName(names), lifetime, now)

    def renew(
        self, identity: Identity, *, lifetime: timedelta = ISSUED_LIFETIME, now: datetime | None = None
    ) -> Identity:
        """The same key with a new certificate of the same names and role, for one that this authority signed before."""
        before = identity.certificate
        names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return self._sign(identity.private_key, before.subject, names, lifetime, now)

    def _sign(
        self,
        key: CertificateIssuerPrivateKeyTypes,
        subject: x509.Name,
        names: x509.SubjectAlternativeName,
        lifetime: timedelta,
        now: datetime | None,
    ) -> Identity:
        begin = now or datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin - CLOCK_SKEW)
            .not_valid_after(begin + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.identity.certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self.identity.private_key, hashes.SHA256())
        )
        return Identity(key_to_pem(key), certificate.public_bytes(Encoding.PEM))
