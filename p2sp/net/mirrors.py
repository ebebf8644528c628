"""Whose word does a downloader take about the names of HTTPS servers that are not ours?"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

if TYPE_CHECKING:
    from p2sp.net.trust import Trust


@implementer(IOpenSSLTrustRoot)
@attrs.frozen
class _Both:
    """The platform's authorities (also those of `SSL_CERT_FILE`) and our network's."""

    roots: tuple[Any, ...]

    def _addCACertsToContext(self, context: Any) -> None:
        for root in self.roots:
            root._addCACertsToContext(context)


@implementer(IPolicyForHTTPS)
class _MirrorPolicy:
    """Made for the first https URL: http alone needs nothing of it."""

    def __init__(self, trust: "Trust | None", more: Sequence[x509.Certificate]) -> None:
        self._trust = trust
        self._more = more

    @cached_property
    def _policy(self) -> IPolicyForHTTPS:
        from p2sp.net.trust import VerifyingPolicy

        roots: tuple[Any, ...] = (platformTrust(),)
        authorities = (*(self._trust.authorities if self._trust is not None else ()), *self._more)
        if authorities:
            ours = [Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in authorities]
            roots = (*roots, trustRootFromCertificates(ours))
        return VerifyingPolicy(_Both(roots), {"raiseMinimumTo": TLSVersion.TLSv1_2})

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        return self._policy.creatorForNetloc(hostname, port)


def mirror_policy(trust: "Trust | None", more: Sequence[x509.Certificate] = ()) -> IPolicyForHTTPS:
    """TLS towards resource servers: TLS 1.2 will do, no certificate of ours is shown. `more` are authorities the user
    names.

    A super node serves HTTPS under the network's own authority, so that one is believed as well when there is one.
    """
    return _MirrorPolicy(trust, more)
