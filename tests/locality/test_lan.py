"""Is a local network one address, or one /64, and never a machine's own loopback?"""

import pytest

from p2sp.locality.lan import lan_of, same_lan


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", False),
        ("127.0.0.1", "127.0.0.1", False),
        ("::1", "::1", False),
        ("", "", False),
        ("::nonsense", "::nonsense", False),
    ],
)
def test_same_lan(one: str, other: str, same: bool) -> None:
    assert same_lan(one, other) is same
    assert same_lan(other, one) is same
    assert lan_of(one)(other) is same
