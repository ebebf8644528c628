"""Is every client counted for itself, in a table that cannot grow?"""

import pytest

from p2sp.net.ratelimit import RateLimit, RateTable, client_key


def test_clients_do_not_spend_each_others_tokens() -> None:
    table = RateTable(RateLimit(1, 2))
    assert [table.wait("192.0.2.1", 0.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(1.0)]
    assert table.wait("192.0.2.2", 0.0) == 0.0
    assert table.wait("192.0.2.1", 1.0) == 0.0


def test_when_calls_are_dear_savings_are_worth_less_but_never_nothing() -> None:
    table = RateTable(RateLimit(10, 400))

    def served(price: float, client: str) -> int:
        return sum(table.wait(client, 0.0, price) == 0.0 for _ in range(500))

    assert [served(price, f"192.0.2.{price}") for price in (1.0, 2.0, 4.0, 10.0, 50.0)] == [400, 50, 8, 8, 8]
    # Who saved nothing has nothing.
    assert served(1.0, "192.0.2.200") == 400
    assert served(2.0, "192.0.2.200") == 0


def test_the_table_is_bounded_and_forgets_the_longest_unseen() -> None:
    table = RateTable(RateLimit(1, 1), most=3)
    for host in (1, 2, 3):
        table.wait(f"192.0.2.{host}", 0.0)
    assert table.wait("192.0.2.1", 0.0) > 0
    table.wait("192.0.2.4", 0.0)
    assert len(table) == 3
    assert table.wait("192.0.2.1", 0.0) > 0
    assert table.wait("192.0.2.2", 0.0) == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("no address", "no address", True),
    ],
)
def test_an_ipv6_client_is_its_64(one: str, other: str, same: bool) -> None:
    assert (client_key(one) == client_key(other)) is same


def test_an_ipv4_address_is_the_same_one_in_either_form() -> None:
    assert client_key("::ffff:192.0.2.1") == client_key("192.0.2.1") != client_key("::ffff:192.0.2.2")
    assert client_key("fe80::1%eth0") == client_key("fe80::2")
