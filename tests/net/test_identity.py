"""Does a node keep its key, and is a file that is no identity refused by name?"""

import hashlib
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2sp.net.errors import BadIdentity
from p2sp.net.identity import (
    create_identity,
    load_identity,
    load_or_create_identity,
    node_id_of,
    save_identity,
)


def test_node_id_is_the_hash_of_the_public_key() -> None:
    identity = create_identity()
    spki = identity.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert identity.node_id == hashlib.sha256(spki).hexdigest() == node_id_of(identity.certificate)
    assert len(identity.node_id) == 64


def test_certificate_is_self_signed_and_lasts() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    certificate = create_identity("a name", now=now).certificate
    certificate.verify_directly_issued_by(certificate)
    assert certificate.subject.rfc4514_string() == "CN=a name"
    assert certificate.not_valid_before_utc < now
    assert certificate.not_valid_after_utc > now + timedelta(days=19 * 365)


def test_two_identities_differ() -> None:
    assert create_identity().node_id != create_identity().node_id


def test_a_secret_is_the_keys_own_and_for_one_purpose(tmp_path: Path) -> None:
    identity = create_identity()
    save_identity(identity, tmp_path / "node.pem")
    secret = identity.secret("tea")
    assert len(secret) == 32
    assert load_identity(tmp_path / "node.pem").secret("tea") == secret
    assert identity.secret("coffee") != secret
    assert create_identity().secret("tea") != secret


def test_saved_identity_loads_and_is_private(tmp_path: Path) -> None:
    identity = create_identity()
    path = tmp_path / "deep" / "node.pem"
    save_identity(identity, path)
    assert load_identity(path) == identity
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["node.pem"]


def test_saving_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    save_identity(create_identity(), path)
    second = create_identity()
    save_identity(second, path)
    assert load_identity(path).node_id == second.node_id


def test_the_key_is_not_in_the_repr() -> None:
    assert "PRIVATE KEY" not in repr(create_identity())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no private key"),
        (b"garbage \xff\x00", "no private key"),
        (create_identity().key_pem, "no certificate"),
        (create_identity().certificate_pem, "no private key"),
        (create_identity().key_pem + create_identity().certificate_pem, "does not belong"),
        (
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + create_identity().certificate_pem,
            "cannot be read",
        ),
        (
            create_identity().key_pem + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be read",
        ),
    ],
)
def test_a_file_that_is_no_identity_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "node.pem"
    path.write_bytes(content)
    with pytest.raises(BadIdentity, match=reason) as caught:
        load_identity(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadIdentity, match=r"absent\.pem .*No such file"):
        load_identity(tmp_path / "absent.pem")


def test_load_or_create_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    first = load_or_create_identity(path)
    assert load_or_create_identity(path).node_id == first.node_id


def test_load_or_create_never_overwrites_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    path.write_bytes(b"precious")
    with pytest.raises(BadIdentity):
        load_or_create_identity(path)
    assert path.read_bytes() == b"precious"


def test_load_or_create_says_why_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadIdentity, match=r"Not a directory|File exists"):
        load_or_create_identity(tmp_path / "file" / "node.pem")
