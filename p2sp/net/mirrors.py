"""Whose word does a downloader take about the names of HTTPS servers that are not ours?"""

from collections.abc import Sequence
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from p2sp.net.trust import Trust, VerifyingPolicy


@implementer(IOpenSSLTrustRoot)
@attrs.frozen
class _Both:
    """The platform's authorities (also those of `SSL_CERT_FILE`) and our network's."""

    roots: tuple[Any, ...]

    def _addCACertsToContext(self, context: Any) -> None:
        for root in self.roots:
            root._addCACertsToContext(context)


def mirror_policy(trust: Trust | None, more: Sequence[x509.Certificate] = ()) -> IPolicyForHTTPS:
    """TLS towards resource servers: TLS 1.2 will do, no certificate of ours is shown. `more` are authorities the user
    names.

    A super node serves HTTPS under the network's own authority, so that one is believed as well when there is one.
    """
    roots: tuple[Any, ...] = (platformTrust(),)
    authorities = (*(trust.authorities if trust is not None else ()), *more)
    if authorities:
        ours = [Certificate.loadPEM(each.public_bytes(Encoding.PEM)) for each in authorities]
        roots = (*roots, trustRootFromCertificates(ours))
    return VerifyingPolicy(_Both(roots), {"raiseMinimumTo": TLSVersion.TLSv1_2})
