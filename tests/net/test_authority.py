"""Does an authority give out certificates that say exactly what they should?"""

import stat
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from p2sp.net.authority import ROLES, Authority, roles_in
from p2sp.net.errors import BadIdentity
from p2sp.net.identity import create_identity, save_identity


@pytest.mark.parametrize("role", sorted(ROLES))
def test_every_role_can_be_issued(role: str) -> None:
    authority = Authority.create("net")
    issued = authority.issue(role, ["host.example", "127.0.0.1", "::1"], "a node")
    issued.certificate.verify_directly_issued_by(authority.certificate)
    assert roles_in(issued.certificate) == {role}
    names = issued.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["host.example"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]
    usage = issued.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not issued.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="no role 'king'"):
        Authority.create("net").issue("king", [], "a node")


def test_a_host_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="DNSName"):
        Authority.create("net").issue("index", ["münchen"], "a node")


def test_lifetime_is_kept() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority = Authority.create("net", now=now)
    issued = authority.issue("index", [], "a node", now=now, lifetime=timedelta(days=3))
    assert issued.certificate.not_valid_after_utc == now + timedelta(days=3)


def test_a_self_signed_certificate_names_no_role() -> None:
    assert roles_in(create_identity().certificate) == frozenset()


def test_saved_authority_goes_on_issuing(tmp_path: Path) -> None:
    first = Authority.create("net")
    first.save(tmp_path)
    again = Authority.load(tmp_path)
    again.issue("peer", [], "p").certificate.verify_directly_issued_by(first.certificate)
    assert (tmp_path / "ca.pem").read_bytes() == first.certificate_pem
    assert b"PRIVATE" not in (tmp_path / "ca.pem").read_bytes()
    assert stat.S_IMODE((tmp_path / "ca-key.pem").stat().st_mode) == 0o600


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadIdentity, match=r"ca-key\.pem"):
        Authority.load(tmp_path)


def test_a_node_is_no_authority(tmp_path: Path) -> None:
    save_identity(create_identity(), tmp_path / "ca-key.pem")
    with pytest.raises(BadIdentity, match="not an authority"):
        Authority.load(tmp_path)
