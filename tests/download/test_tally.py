"""Does a node's tally only grow, whatever transfers come and go?"""

from p2sp.download.report import Report
from p2sp.download.tally import Tally
from p2sp.schedule.spans import Kind


def a_report() -> Report:
    report = Report(0.0)
    report.account("http://a", Kind.SERVER).bytes = 10
    report.account("near", Kind.PEER, local=True).bytes = 3
    report.account("far", Kind.PEER).bytes = 4
    report.account("cache", Kind.SUPERNODE).bytes = 5
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
