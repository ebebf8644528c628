"""Does a node's tally only grow, whatever transfers come and go?"""

from p2sp.download.report import Report
from p2sp.download.tally import Tally
from p2sp.schedule.spans import Kind


def a_report() -> Report:
    report = Report(0.0)
    report.account("http://a", Kind.SERVER).took(10)
    report.account("near", Kind.PEER, local=True).took(3)
    report.account("far", Kind.PEER).took(4)
    report.account("cache", Kind.SUPERNODE).took(5)
    report.uploaded = 7
    return report


def test_what_has_ended_still_counts() -> None:
    tally = Tally()
    assert tally.received() == {"server": 0, "supernode": 0, "peer_local": 0, "peer_remote": 0}
    first, second = a_report(), a_report()
    tally.begin(first)
    tally.begin(second)
    expected = {"server": 20, "supernode": 10, "peer_local": 6, "peer_remote": 8}
    assert (tally.received(), tally.uploaded, tally.transfers) == (expected, 14, 2)
    for _ in range(2):
        tally.end(first)
        assert (tally.received(), tally.uploaded, tally.transfers) == (expected, 14, 1)
    second.uploaded += 1
    assert tally.uploaded == 15


def test_what_turns_out_to_be_near_is_not_counted_twice() -> None:
    report = Report(0.0)
    peer = report.account("peer", Kind.PEER)
    peer.took(100)
    peer.local = True
    peer.took(30)
    peer.waste(7)
    assert report.over_the_wire() == {"server": 0, "supernode": 0, "peer_local": 37, "peer_remote": 100}
    assert report.by_kind()["peer"] == 130


def test_what_was_of_no_use_came_over_the_wire_all_the_same() -> None:
    report = Report(0.0)
    server, far = report.account("http://a", Kind.SERVER), report.account("far", Kind.PEER)
    server.took(10)
    server.waste(5)
    far.waste(3)
    assert report.over_the_wire() == {"server": 15, "supernode": 0, "peer_local": 0, "peer_remote": 3}
    assert (report.received, [each.wasted for each in report.sources(1.0)]) == (10, [5, 3])
