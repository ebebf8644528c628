"""Is it told from what trackers said of others whether a node is in our ISP?"""

import pytest

from p2sp.download.whereabouts import MOST, Whereabouts


@pytest.mark.parametrize(
    ("told", "asked", "local"),
    [
        ([], "198.51.100.7", False),
        ([("198.51.100.7", True)], "198.51.100.7", True),
        ([("198.51.100.7", True)], "198.51.100.200", True),
        ([("198.51.100.7", True)], "198.51.101.7", False),
        ([("198.51.100.7", False)], "198.51.100.200", False),
        ([("198.51.100.7", True), ("198.51.100.8", False)], "198.51.100.200", False),
        ([("198.51.100.7", True), ("198.51.100.8", False)], "198.51.100.7", True),
        ([("198.51.100.7", True), ("198.51.100.8", False)], "198.51.100.8", False),
        ([("2001:db8:1::1", True)], "2001:db8:1:ffff::2", True),
        ([("2001:db8:1::1", True)], "2001:db8:2::1", False),
        ([("a.example", True)], "b.example", False),
    ],
)
def test_neighbours_are_where_the_others_are(told: list[tuple[str, bool]], asked: str, local: bool) -> None:
    where = Whereabouts()
    for host, said in told:
        where.told(host, local=said)
    assert where.is_local(asked) is local


def test_no_more_is_remembered_than_it_may_be() -> None:
    where = Whereabouts()
    for number in range(MOST + 10):
        where.told(f"host{number}.example", local=True)
    assert where.is_local(f"host{MOST - 1}.example")
    assert not where.is_local(f"host{MOST}.example")
