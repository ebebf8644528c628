"""Do nodes of one network hear of each other, and of nobody else?"""

import socket
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from p2sp.net.lan import AGAIN, ANSWER_WITHIN, EVERY, GROUP, HEARD, SENT, Lan
from p2sp.net.lan_call import MAX_CALL, MAX_HASHES, Call, decode_call, encode_call

ONE, OTHER = "1" * 64, "2" * 64
FILM, SONG = b"f" * 20, b"s" * 20

calls = st.builds(
    Call,
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=32, max_size=32).map(bytes.hex),
    st.integers(1, 65535),
    st.lists(st.binary(min_size=20, max_size=20), min_size=1, max_size=MAX_HASHES).map(tuple),
    st.booleans(),
)


@given(calls)
def test_a_call_is_read_as_it_was_written(call: Call) -> None:
    data = encode_call(call)
    assert len(data) <= MAX_CALL
    assert decode_call(data) == call


@given(calls, st.data())
def test_what_is_no_call_is_none(call: Call, more: st.DataObject) -> None:
    data = encode_call(call)
    cut = more.draw(st.integers(0, len(data) - 1))
    assert decode_call(data[:cut]) is None
    assert decode_call(data + b"x") is None
    assert decode_call(b"BT-SEARCH * HTTP/1.1\r\n" + data) is None
    assert decode_call(encode_call(Call(call.cookie, call.node_id, 0, call.hashes))) is None


@given(st.binary(max_size=2000))
def test_no_datagram_is_an_accident(data: bytes) -> None:
    decode_call(data)


class Wire:
    """A transport that many talk over: what one writes, everybody hears, also the one who wrote."""

    def __init__(self) -> None:
        self.heard_by: list[Lan] = []
        self.datagrams: list[bytes] = []

    def carry(self, data: bytes, host: str) -> None:
        self.datagrams.append(data)
        for lan in self.heard_by:
            lan.datagramReceived(data, (host, 5000))


class Port:
    """One node's socket on it."""

    def __init__(self, wire: Wire, host: str) -> None:
        self.wire = wire
        self.host = host
        self.socket = self

    def setsockopt(self, *_: Any) -> None:
        """Everything is allowed."""

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        assert address[0] == GROUP
        self.wire.carry(data, self.host)


class Reactor(MemoryReactorClock):
    """Virtual time, and sockets on a wire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        self.hosts = iter(f"192.0.2.{number}" for number in range(1, 250))

    def listenMulticast(self, port: int, protocol: Lan, **_: Any) -> Any:
        protocol.transport = Port(self.wire, next(self.hosts))  # type: ignore[assignment]
        self.wire.heard_by.append(protocol)
        return self

    def stopListening(self) -> None:
        """There is nothing to close."""


class Calling(SynchronousTestCase):
    """Who calls when, in virtual time."""

    def setUp(self) -> None:
        self.wire = Wire()
        self.reactor = Reactor(self.wire)
        self.found: list[tuple[str, str, str, int]] = []

    def lan(self, node_id: str, port: int = 7001) -> Lan:
        lan = Lan(self.reactor, node_id, "192.0.2.1", lambda: port, Random(node_id))
        lan.start()
        return lan

    def watch(self, lan: Lan, name: str, info_hash: bytes = FILM) -> Any:
        return lan.watch(info_hash, lambda node_id, host, port: self.found.append((name, node_id, host, port)))

    def test_both_hear_of_each_other(self) -> None:
        one, other = self.lan(ONE), self.lan(OTHER, 7002)
        self.watch(one, "one")
        self.reactor.advance(0)
        self.assertEqual(self.found, [])
        self.watch(other, "other")
        self.reactor.advance(0)
        self.assertEqual(self.found, [("one", OTHER, "192.0.2.2", 7002)])
        self.reactor.advance(AGAIN + ANSWER_WITHIN)
        self.assertEqual(set(self.found[1:]), {("other", ONE, "192.0.2.1", 7001), *self.found[:1]})

    def test_other_resources_are_nobodys_business(self) -> None:
        one, other = self.lan(ONE), self.lan(OTHER)
        self.watch(one, "one", FILM)
        self.watch(other, "other", SONG)
        self.reactor.advance(EVERY[-1])
        self.assertEqual(self.found, [])

    def test_calls_are_repeated_but_rarely(self) -> None:
        self.watch(self.lan(ONE), "one")
        for _ in range(3600):
            self.reactor.advance(1)
        self.assertTrue(13 <= len(self.wire.datagrams) <= 18)

    def test_only_first_calls_ask(self) -> None:
        self.watch(self.lan(ONE), "one")
        for wait in (0.0, *EVERY, EVERY[-1]):
            self.reactor.advance(wait)
        calls = [decode_call(data) for data in self.wire.datagrams]
        self.assertEqual([call is not None and call.asking for call in calls], [True, True, False, False, False])

    def test_a_first_call_that_is_lost_is_made_up_for(self) -> None:
        one, other = self.lan(ONE), self.lan(OTHER)
        self.wire.heard_by.clear()
        self.watch(one, "one")
        self.watch(other, "other")
        self.reactor.advance(0)
        self.wire.heard_by += [one, other]
        self.reactor.advance(EVERY[0])
        self.reactor.advance(0)
        self.assertEqual({name for name, *_ in self.found}, {"one", "other"})

    def test_whoever_asks_again_and_again_hears_us_once_in_a_while(self) -> None:
        self.watch(self.lan(ONE), "one")
        self.reactor.advance(0)
        self.wire.datagrams.clear()
        asking = encode_call(Call(b"c" * 8, OTHER, 7002, (FILM,), asking=True))
        for number in range(600):
            self.wire.carry(asking, f"192.0.2.{100 + number % 100}")
            self.reactor.advance(0.1)
        own = [data for data in self.wire.datagrams if data != asking]
        self.assertTrue(4 <= len(own) <= 60 / AGAIN + 1, len(own))

    def test_a_flood_of_one_address_is_not_listened_to(self) -> None:
        self.watch(self.lan(ONE), "one")
        for _ in range(1000):
            self.wire.carry(encode_call(Call(b"c" * 8, OTHER, 7002, (FILM,))), "192.0.2.66")
        self.assertEqual(len(self.found), HEARD.burst)
        self.wire.carry(encode_call(Call(b"d" * 8, "3" * 64, 7003, (FILM,))), "192.0.2.67")
        self.assertEqual(self.found[-1], ("one", "3" * 64, "192.0.2.67", 7003))

    def test_many_resources_take_few_datagrams_and_their_time(self) -> None:
        lan = self.lan(ONE)
        for number in range(40 * MAX_HASHES):
            self.watch(lan, "one", number.to_bytes(20, "big"))
        self.reactor.advance(0)
        self.assertLessEqual(len(self.wire.datagrams), SENT[1])
        for _ in range(60):
            self.reactor.advance(0.5)
        said = [call for data in self.wire.datagrams if (call := decode_call(data)) is not None]
        self.assertLessEqual(len(said), SENT[1] + 30 * SENT[0] + 1)
        # Nothing is called out again before everything was.
        self.assertEqual(len({name for call in said[:40] for name in call.hashes}), 40 * MAX_HASHES)

    def test_who_stops_watching_is_silent_and_hears_nothing(self) -> None:
        one, other = self.lan(ONE), self.lan(OTHER)
        stop = self.watch(one, "one")
        self.reactor.advance(0)
        stop()
        stop()
        self.wire.datagrams.clear()
        self.watch(other, "other")
        self.reactor.advance(AGAIN + ANSWER_WITHIN)
        self.assertEqual((self.found, len(self.wire.datagrams)), ([], 1))

    def test_a_node_without_a_port_hears_and_does_not_call(self) -> None:
        one, other = self.lan(ONE, 0), self.lan(OTHER)
        self.watch(one, "one")
        self.watch(other, "other")
        self.reactor.advance(0)
        self.assertEqual([name for name, *_ in self.found], ["one"])

    def test_after_the_end_nothing_is_left(self) -> None:
        one = self.lan(ONE)
        self.watch(one, "one")
        self.successResultOf(one.stop())
        self.successResultOf(one.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class Loopback(TestCase):
    """Real sockets on the loopback interface."""

    timeout = 20

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
            some.bind(("127.0.0.1", 0))
            self.port = some.getsockname()[1]

    def lan(self, node_id: str, address: str, port: int) -> Lan:
        lan = Lan(self.reactor, node_id, address, lambda: port, Random(node_id), multicast_port=self.port)
        lan.start()
        self.addCleanup(lan.stop)
        return lan

    async def test_two_nodes_on_one_machine(self) -> None:
        one, other = self.lan(ONE, "127.0.0.1", 7001), self.lan(OTHER, "127.3.0.9", 7002)
        heard: list[Deferred[tuple[str, str, int]]] = [Deferred(), Deferred()]
        one.watch(FILM, lambda *found: None if heard[0].called else heard[0].callback(found))
        await deferLater(self.reactor, 0)
        other.watch(FILM, lambda *found: None if heard[1].called else heard[1].callback(found))
        self.assertEqual(await heard[0], (OTHER, "127.3.0.9", 7002))

    async def test_an_address_that_is_not_ours(self) -> None:
        lan = self.lan(ONE, "192.0.2.77", 7001)
        lan.watch(FILM, lambda *found: self.fail(str(found)))
        await deferLater(self.reactor, 0.01)

    async def test_ipv6_is_left_alone(self) -> None:
        self.lan(ONE, "::1", 7001).watch(FILM, lambda *found: self.fail(str(found)))
