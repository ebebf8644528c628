"""Are a domain's local trackers found in its DNS, within bounds, and is nothing lost when there are none?"""

from random import Random
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns, server
from twisted.names.authority import FileAuthority
from twisted.trial.unittest import SynchronousTestCase, TestCase

from p2sp.download.discovery import SERVICE, Service, local_trackers, system_look_up
from p2sp.download.finder import TrackerFinder
from tests.download.trackers import POLICY, TrackerAgent, announce

reactor: Any = installed_reactor


class Names:
    """A DNS that knows what it is told."""

    def __init__(self, **known: list[Service]) -> None:
        self.known = {name.replace("_", "."): found for name, found in known.items()}
        self.asked: list[str] = []

    def __call__(self, name: str) -> "Deferred[list[Service]]":
        self.asked.append(name)
        assert name.startswith(f"{SERVICE}.")
        found = self.known.get(name.removeprefix(f"{SERVICE}."))
        return fail(dns.DomainError(name)) if found is None else succeed(found)


class DiscoveryTests(SynchronousTestCase):
    """The rule, and the finder that goes by it."""

    def find(self, domain: str, names: Names, seed: int = 1) -> list[str]:
        found: list[str] = self.successResultOf(Deferred.fromCoroutine(local_trackers(domain, names, Random(seed))))
        return found

    def test_the_nearest_domain_counts(self) -> None:
        names = Names(campus_example=[Service("a.example", 9002)], example=[Service("b.example", 1)])
        assert self.find("lab.campus.example", names) == ["https://a.example:9002"]
        assert names.asked == [f"{SERVICE}.lab.campus.example", f"{SERVICE}.campus.example"]

    def test_no_more_levels_are_asked_than_may(self) -> None:
        names = Names()
        assert self.find("a.b.c.d.e.f.example", names) == []
        assert len(names.asked) == 4
        for domain in ("example", "", "..", "a..b", "x." * 150):
            before = len(names.asked)
            assert self.find(domain, names) == []
            assert len(names.asked) == before

    def test_priority_comes_first_then_weight_by_chance_and_a_dot_is_nobody(self) -> None:
        services = [Service("late.example", 1, priority=2), Service("heavy.example", 1, 1, 90)]
        services += [Service("light.example", 1, 1, 10), Service("", 0, 0)]
        firsts = [self.find("campus.example", Names(campus_example=services), seed) for seed in range(200)]
        assert all(found[-1] == "https://late.example:1" and len(found) == 3 for found in firsts)
        heavy = sum(found[0] == "https://heavy.example:1" for found in firsts)
        assert 150 < heavy < 200

    def test_a_finder_announces_to_what_it_finds_as_local(self) -> None:
        from p2sp.net.api_client import ApiClient

        clock = Clock()
        agent = TrackerAgent(clock)
        finder = TrackerFinder(
            clock,
            ["srv:campus.example"],
            lambda url: ApiClient(clock, url, policy=POLICY, agent=agent),
            announce,
            Random(3),
            Names(campus_example=[Service("tracker.example", 9002)]),
        )
        finder.start(lambda candidate: None, lambda news: None)
        for _ in range(20):
            clock.advance(0.1)
        assert agent.homes == [True]
        stopping = finder.stop()
        for _ in range(50):
            clock.advance(0.1)
        self.successResultOf(stopping)
        assert clock.getDelayedCalls() == []


class Zone(FileAuthority):
    """One domain with one tracker."""

    soa: Any
    records: Any

    def loadFile(self, filename: str) -> None:
        soa = dns.Record_SOA(mname=b"ns.campus.example", rname=b"root.campus.example", serial=1, minimum=60, expire=60)
        self.soa = (filename.encode(), soa)
        name = f"{SERVICE}.{filename}".encode()
        self.records = {filename.encode(): [soa], name: [dns.Record_SRV(3, 7, 9002, b"tracker.campus.example")]}


class SystemTests(TestCase):
    """The look-up, at a DNS server."""

    timeout = 20

    async def test_records_are_read(self) -> None:
        factory = server.DNSServerFactory(authorities=[Zone("campus.example")])
        factory.noisy = False
        protocol = dns.DNSDatagramProtocol(factory)
        protocol.noisy = False
        port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        look_up = system_look_up(reactor, [("127.0.0.1", port.getHost().port)])
        assert await look_up(f"{SERVICE}.campus.example") == [Service("tracker.campus.example", 9002, 3, 7)]
        assert await local_trackers("nowhere.campus.example", look_up, Random(1)) == [
            "https://tracker.campus.example:9002"
        ]
