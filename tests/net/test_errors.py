"""Do connections that fail say why in words that a user knows?"""

import pytest
from OpenSSL.SSL import Error
from twisted.internet import error

from p2sp.net.errors import in_words


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (error.getConnectError((111, "Connection refused")), "Connection refused"),
        (error.getConnectError((110, "Connection timed out")), "Connection timed out"),
        (error.ConnectBindError(99, "x"), "cannot call from that local address: Cannot assign requested address"),
        (error.DNSLookupError("no results: h"), "DNS lookup failed: no results: h"),
        (error.ConnectionLost(), "Connection to the other side was lost in a non-clean fashion"),
        (Error([("SSL routines", "", "wrong version number")]), "the other side does not speak TLS"),
        (Error([("SSL routines", "", "no shared cipher")]), "TLS failed: no shared cipher"),
        (Error(), "Error"),
        (OSError(13, "Permission denied", "/var/x"), "/var/x: Permission denied"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("it"), "it"),
        (ValueError("it is so. "), "it is so"),
        (ValueError([]), "[]"),
        (ValueError(), "ValueError"),
    ],
)
def test_words(problem: Exception, words: str) -> None:
    assert in_words(problem) == words
