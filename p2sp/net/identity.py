"""Who is this node: which key does it hold and which certificate shows it?"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from p2sp.net.errors import BadIdentity
from p2sp.net.files import write_private

LIFETIME: Final = timedelta(days=365 * 20)
# Clocks of nodes differ: a certificate made now must be good on a node whose clock is behind.
CLOCK_SKEW: Final = timedelta(hours=1)
LARGEST_FILE: Final = 256 * 1024
_KEY_BLOCK: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\n?", re.S)


def node_id_of(certificate: x509.Certificate) -> str:
    """The node id of whoever holds this certificate's key: SHA-256 of its SPKI, 64 hex digits."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


@attrs.frozen(slots=False)
class Identity:
    """A node's private key and the certificate that goes with it, both PEM."""

    key_pem: bytes = attrs.field(repr=False)
    certificate_pem: bytes = attrs.field(repr=False)

    @cached_property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate_pem)

    @cached_property
    def private_key(self) -> CertificateIssuerPrivateKeyTypes:
        key = load_pem_private_key(self.key_pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the key is not an elliptic-curve key")
        return key

    @cached_property
    def node_id(self) -> str:
        return node_id_of(self.certificate)

    def secret(self, purpose: str) -> bytes:
        """32 bytes that all processes with this key share and nobody else knows, for one purpose (RFC 5869)."""
        key = self.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return HKDF(hashes.SHA256(), 32, salt=None, info=f"p2sp {purpose}".encode()).derive(key)


def key_to_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """The key as an unencrypted PKCS #8 PEM block."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create_identity(common_name: str = "p2sp node", *, now: datetime | None = None) -> Identity:
    """A fresh P-256 key with a self-signed certificate of 20 years, good for both ends of TLS."""
    begin = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - CLOCK_SKEW)
        .not_valid_after(begin + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Identity(key_to_pem(key), certificate.public_bytes(Encoding.PEM))


def save_identity(identity: Identity, path: Path) -> None:
    """Write key and certificate into one PEM file that only its owner may read, atomically.

    Raises OSError when the folder cannot be written to.
    """
    write_private(path, identity.key_pem + identity.certificate_pem)


def load_identity(path: Path) -> Identity:
    """Read what `save_identity` wrote.

    Raises BadIdentity, naming the file, when it is missing, not PEM, or its key is not the certificate's.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE)
    except OSError as error:
        raise BadIdentity(str(path), error.strerror or str(error)) from error
    key_block = _KEY_BLOCK.search(text)
    if key_block is None:
        raise BadIdentity(str(path), "it holds no private key in PEM")
    if b"-----BEGIN CERTIFICATE-----" not in text:
        raise BadIdentity(str(path), "it holds no certificate in PEM")
    try:
        certificate = x509.load_pem_x509_certificate(text)
        identity = Identity(key_block.group(), certificate.public_bytes(Encoding.PEM))
        fits = identity.private_key.public_key() == certificate.public_key()
    except (ValueError, TypeError) as error:
        raise BadIdentity(str(path), f"it cannot be read as PEM ({error})") from error
    if not fits:
        raise BadIdentity(str(path), "its key does not belong to its certificate")
    return identity


def load_or_create_identity(path: Path, common_name: str = "p2sp node") -> Identity:
    """The identity at `path`, made and saved there first when there is no such file.

    Raises BadIdentity when there is a file that cannot be used: it is never overwritten.
    """
    if path.exists():
        return load_identity(path)
    identity = create_identity(common_name)
    try:
        save_identity(identity, path)
    except OSError as error:
        raise BadIdentity(str(path), error.strerror or str(error)) from error
    return identity
