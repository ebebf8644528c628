"""Is a super node's fill told while it goes on, and only then?"""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2sp.download.announcing import LOOK, SOON, EarlyReports
from p2sp.download.report import Report
from p2sp.schedule.spans import Kind
from p2sp.tracker.schema import Event
from tests.download.trackers import INTERVAL, Hunt, TrackerAgent


def test_every_so_many_bytes_while_it_lasts() -> None:
    clock, told = Clock(), []
    report = Report(0.0)
    server, cache = report.account("http://a", Kind.SERVER), report.account("cache", Kind.SUPERNODE)
    filling: Deferred[None] = Deferred()
    EarlyReports(clock, report, lambda: told.append(report.received)).during(filling)
    clock.pump([LOOK] * 5)
    assert told == []
    server.took(SOON - 1)
    clock.advance(LOOK)
    assert told == []
    cache.waste(1)
    clock.pump([LOOK] * 5)
    assert told == [SOON - 1], "once for each time that much came, of use or not"
    server.took(5 * SOON)
    clock.advance(LOOK)
    assert told == [SOON - 1, 6 * SOON - 1]
    filling.callback(None)
    assert clock.getDelayedCalls() == []


def test_the_home_tracker_alone_hears_it_and_goes_on_in_its_rhythm() -> None:
    clock = Clock()
    home, other = TrackerAgent(clock), TrackerAgent(clock)
    hunt = Hunt("home", "other", clock=clock, home=home, other=other)
    hunt.run(1.0)
    hunt.finder.report()
    hunt.run(1.0)
    assert home.events == [Event.STARTED, Event.PROGRESS]
    assert other.events == [Event.STARTED]
    hunt.run(INTERVAL * 1.1)
    assert home.events[2:] == [Event.PROGRESS]
    home.down = True
    hunt.run(INTERVAL * 1.1)
    hunt.finder.report()
    hunt.run(1.0)
    assert other.homes[-1]
    hunt.stop()
