"""Are a domain's local trackers found in its DNS, within bounds, and is nothing lost when there are none?"""

import re
from random import Random
from typing import Any

import pytest
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns, server
from twisted.names.authority import FileAuthority
from twisted.trial.unittest import SynchronousTestCase, TestCase

from p2sp.download.discovery import (
    MOST_REMEMBERED,
    MOST_SEARCHES,
    REMEMBERED,
    SERVICE,
    LocalSearch,
    NoSuchName,
    RememberedNames,
    Service,
    SystemNames,
    check_tracker,
    domain_of,
    local_trackers,
    reverse_name,
)
from p2sp.download.finder import TrackerFinder
from p2sp.net.api_client import ApiClient
from p2sp.net.identity import create_identity
from p2sp.sources.interfaces import Candidate
from p2sp.tracker.schema import AnnounceRequest, Event, Scope
from tests.download.trackers import POLICY, TrackerAgent, announce
from tests.tracker.entries import request
from tests.tracker.kit import ISP_ONE, TrackerCase

reactor: Any = installed_reactor


class Told:
    """A DNS that knows what it is told: services of domains, and names of addresses."""

    def __init__(self, *, hosts: dict[str, list[str]] | None = None, **known: list[Service]) -> None:
        self.known = {name.replace("_", "."): found for name, found in known.items()}
        self.names = {reverse_name(address): found for address, found in (hosts or {}).items()}
        self.asked: list[str] = []
        self.failure: Exception | None = None

    def services(self, name: str) -> "Deferred[list[Service]]":
        self.asked.append(name)
        assert name.startswith(f"{SERVICE}.")
        found = self.known.get(name.removeprefix(f"{SERVICE}."))
        return fail(self.failure or NoSuchName(name)) if found is None else succeed(found)

    def hosts(self, name: str) -> "Deferred[list[str]]":
        self.asked.append(name)
        found = self.names.get(name)
        return fail(self.failure or NoSuchName(name)) if found is None else succeed(found)


class DiscoveryTests(SynchronousTestCase):
    """The rule, and the finder that goes by it."""

    def find(self, domain: str, names: Told, seed: int = 1) -> list[str]:
        found: list[str] = self.successResultOf(Deferred.fromCoroutine(local_trackers(domain, names, Random(seed))))
        return found

    def test_the_nearest_domain_counts(self) -> None:
        names = Told(campus_example=[Service("a.example", 9002)], example=[Service("b.example", 1)])
        assert self.find("lab.campus.example", names) == ["https://a.example:9002"]
        assert names.asked == [f"{SERVICE}.lab.campus.example", f"{SERVICE}.campus.example"]

    def test_no_more_levels_are_asked_than_may(self) -> None:
        names = Told()
        assert self.find("a.b.c.d.e.f.g.h.i.j.example", names) == []
        assert len(names.asked) == 8
        for domain in ("example", "", "..", "a..b", "x." * 150, "a b.example", "x/y.example"):
            before = len(names.asked)
            assert self.find(domain, names) == []
            assert len(names.asked) == before

    def test_priority_comes_first_then_weight_by_chance_and_a_dot_is_nobody(self) -> None:
        services = [Service("late.example", 1, priority=2), Service("heavy.example", 1, 1, 90)]
        services += [Service("light.example", 1, 1, 10), Service("", 0, 0)]
        firsts = [self.find("campus.example", Told(campus_example=services), seed) for seed in range(200)]
        assert all(found[-1] == "https://late.example:1" and len(found) == 3 for found in firsts)
        heavy = sum(found[0] == "https://heavy.example:1" for found in firsts)
        assert 150 < heavy < 200

    def test_a_dns_that_is_away_is_not_asked_for_ever(self) -> None:
        names = Told()
        names.failure = TimeoutError()
        assert self.find("a.b.c.d.e.f.example", names) == []
        assert len(names.asked) == 2

    def test_an_address_belongs_to_the_domain_of_its_host(self) -> None:
        def domain(address: str, *hosts: str) -> str | None:
            names = Told(hosts={address: list(hosts)})
            found: str | None = self.successResultOf(Deferred.fromCoroutine(domain_of(address, names)))
            return found

        assert domain("192.0.2.7", "pc7.lab.campus.example.") == "lab.campus.example"
        assert domain("2001:db8::7", "pc7.campus.example") == "campus.example"
        assert domain("192.0.2.7", "localhost", "pc7.campus.example") == "campus.example"
        assert domain("192.0.2.7") is None
        for address in ("192.0.2.8", "nonsense"):
            assert self.successResultOf(Deferred.fromCoroutine(domain_of(address, Told()))) is None

    def test_each_domain_and_address_is_searched_once_and_not_any_number(self) -> None:
        names = Told(hosts={"192.0.2.7": ["a.campus.example"]}, campus_example=[Service("t.example", 1)])
        found: list[str] = []
        search = LocalSearch(lambda: names, Random(1), found.append)
        for _ in range(3):
            search.address("192.0.2.7")
            search.domain("campus.example")
        assert found == ["https://t.example:1"] * 2
        asked = len(names.asked)
        for number in range(20):
            search.address(f"192.0.2.{100 + number}")
        assert len(names.asked) == asked + MOST_SEARCHES - 2

    def test_a_search_that_is_stopped_finds_nothing(self) -> None:
        waiting: Deferred[list[str]] = Deferred()
        names = Told()
        names.hosts = lambda name: waiting  # type: ignore[method-assign]
        search = LocalSearch(lambda: names, Random(1), self.fail)
        search.address("192.0.2.7")
        search.stop()
        assert waiting.called

    def test_what_stands_among_trackers_is_checked(self) -> None:
        for good in ("srv:", "srv:campus.example", "https://tracker.example:9002"):
            assert check_tracker(good) == good
        for bad in ("srv:example", "srv:a b.example", "srv:" + "x." * 150, "http://tracker.example", "tracker"):
            with pytest.raises(ValueError, match=re.escape(bad)):
                check_tracker(bad)

    def test_a_finder_announces_to_what_it_finds_as_local(self) -> None:
        # Home is who answered: the global tracker, until the local one has.
        for trackers, homes in ((["srv:campus.example"], [True]), (["https://global.example", "srv:"], [True, False])):
            clock = Clock()
            agent = TrackerAgent(clock)
            names = Told(hosts={"127.0.0.1": ["pc.campus.example"]}, campus_example=[Service("tracker.example", 9002)])
            finder = self.finder(clock, trackers, agent, names)
            finder.start(lambda candidate: None, lambda news: None)
            for _ in range(20):
                clock.advance(0.1)
            assert agent.homes == homes
            assert [station.scope for station in finder._stations.values()][-1] is Scope.LOCAL
            stopping = finder.stop()
            for _ in range(50):
                clock.advance(0.1)
            self.successResultOf(stopping)
            assert clock.getDelayedCalls() == []

    def finder(self, clock: Clock, trackers: list[str], agent: TrackerAgent, names: Told) -> TrackerFinder:
        return TrackerFinder(
            clock,
            trackers,
            lambda url: ApiClient(clock, url, policy=POLICY, agent=agent),
            announce,
            Random(3),
            lambda: names,
        )


class RememberedTests(SynchronousTestCase):
    """Many transfers of one node ask."""

    def test_one_look_up_serves_all_and_grows_old(self) -> None:
        told = Told(campus_example=[Service("t.example", 1)])
        now = 0.0
        names = RememberedNames(told, lambda: now)
        name = f"{SERVICE}.campus.example"
        for _ in range(3):
            assert self.successResultOf(names.services(name)) == [Service("t.example", 1)]
            self.failureResultOf(names.services(f"{SERVICE}.other.example"), NoSuchName)
        assert len(told.asked) == 2
        now = REMEMBERED
        self.successResultOf(names.services(name))
        assert len(told.asked) == 3
        for number in range(2 * MOST_REMEMBERED):
            self.failureResultOf(names.hosts(str(number)), NoSuchName)
        self.successResultOf(names.services(name))
        assert len(told.asked) == 4 + 2 * MOST_REMEMBERED

    def test_who_no_longer_waits_takes_nothing_from_others(self) -> None:
        answer: Deferred[list[str]] = Deferred()
        told = Told()
        told.hosts = lambda name: answer  # type: ignore[method-assign]
        names = RememberedNames(told, lambda: 0.0)
        one, other = names.hosts("a"), names.hosts("a")
        one.cancel()
        self.failureResultOf(one, CancelledError)
        answer.callback(["pc.campus.example"])
        assert self.successResultOf(other) == ["pc.campus.example"]


class Zone(FileAuthority):
    """A domain and the records of its names."""

    soa: Any
    records: Any

    def __init__(self, domain: str, **records: Any) -> None:
        self._given = {f"{name}.{domain}".encode(): [record] for name, record in records.items()}
        super().__init__(domain)

    def loadFile(self, filename: str) -> None:
        soa = dns.Record_SOA(mname=b"ns.example", rname=b"root.example", serial=1, minimum=60, expire=60)
        self.soa = (filename.encode(), soa)
        self.records = {filename.encode(): [soa], **self._given}


def serve_names(case: TestCase, *zones: Zone) -> SystemNames:
    """Run a DNS server until the test ends; look-ups at it."""
    factory = server.DNSServerFactory(authorities=list(zones))
    factory.noisy = False
    protocol = dns.DNSDatagramProtocol(factory)
    protocol.noisy = False
    port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
    case.addCleanup(port.stopListening)
    return SystemNames(reactor, [("127.0.0.1", port.getHost().port)])


class SystemTests(TestCase):
    """The look-ups, at a DNS server."""

    timeout = 20

    async def test_records_are_read(self) -> None:
        names = serve_names(
            self,
            Zone("campus.example", **{SERVICE: dns.Record_SRV(3, 7, 9002, b"tracker.campus.example")}),
            Zone("2.0.192.in-addr.arpa", **{"7": dns.Record_PTR(b"pc7.lab.campus.example")}),
        )
        assert await names.services(f"{SERVICE}.campus.example") == [Service("tracker.campus.example", 9002, 3, 7)]
        assert await names.hosts(reverse_name("192.0.2.7")) == ["pc7.lab.campus.example"]
        for asking in (names.services("nowhere.campus.example"), names.hosts(reverse_name("192.0.2.8"))):
            with pytest.raises(NoSuchName):
                await asking
        assert await local_trackers("nowhere.campus.example", names, Random(1)) == [
            "https://tracker.campus.example:9002"
        ]


class LocalTrackerTests(TrackerCase):
    """A client knows the global tracker alone; its network names the local one in DNS, and registers it nowhere."""

    async def test_the_clients_own_domain_names_its_home_tracker(self) -> None:
        global_url = self.tracker(name="global")
        local_url = self.tracker('scope = "local"\nisps = ["one"]\n', name="local")
        local_port = int(local_url.rpartition(":")[2])
        names = serve_names(
            self,
            Zone("campus.example", **{SERVICE: dns.Record_SRV(0, 0, local_port, b"localhost")}),
            Zone("1.127.in-addr.arpa", **{"5.0": dns.Record_PTR(b"pc5.lab.campus.example")}),
        )
        identity = create_identity()
        told: list[tuple[str, bool]] = []
        urls: list[str] = []
        complete: Deferred[None] = Deferred()

        def connect(url: str) -> ApiClient:
            urls.append(url)
            return ApiClient(reactor, url, policy=self.network.policy(identity), bind_address=ISP_ONE.format(5))

        def describe(event: Event, *, home: bool) -> AnnounceRequest:
            told.append((event.value, home))
            return request(event=event, home=home)

        def found(candidate: Candidate) -> None:
            if not complete.called:
                complete.callback(None)

        # Whom only the local tracker knows.
        await self.node(local_url, ISP_ONE.format(9)).announce(request())
        finder = TrackerFinder(reactor, [global_url, "srv:"], connect, describe, Random(3), lambda: names)
        finder.start(found, self.fail)
        await complete
        assert urls == [global_url, f"https://localhost:{local_port}"]
        assert finder.isp == "one"
        await finder.stop()
        # The last counters go to the local tracker, and to one more.
        assert told[0] == ("started", True)
        assert told[-2:] == [("stopped", True), ("stopped", True)]
