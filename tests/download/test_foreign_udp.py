"""Is a tracker asked in datagrams as BEP 15 says, whatever comes back? Over real sockets on loopback."""

import struct
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from p2sp.download import foreign_udp
from p2sp.download.foreign import Announce, AnnounceFailed, Event, Heard
from p2sp.download.foreign_udp import ask_udp

TOLD = Announce(b"h" * 20, b"-PS0100-0123456789ab", 7000, 11, 22, 33, Event.STARTED, 0xABC)
CONNECTION = 0x1122334455667788
PEER = bytes((192, 0, 2, 1, 0, 80))


def connected(transaction: int) -> bytes:
    return struct.pack(">IIQ", 0, transaction, CONNECTION)


def heard(transaction: int, peers: bytes = PEER) -> bytes:
    return struct.pack(">IIIII", 1, transaction, 900, 2, 3) + peers


def refused(transaction: int) -> bytes:
    return struct.pack(">II", 3, transaction) + b"not\nhere"


class Tracker(DatagramProtocol):
    """Answers by a script: for each question what to send back, given its transaction."""

    def __init__(self, *script: Callable[[int], list[bytes]]) -> None:
        self.script = list(script)
        self.questions: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.questions.append(datagram)
        (transaction,) = struct.unpack_from(">I", datagram, 12)
        for answer in self.script.pop(0)(transaction) if self.script else []:
            assert self.transport is not None
            self.transport.write(answer, addr)


class UdpTests(TestCase):
    def ask(self, tracker: Tracker, host: str = "127.0.0.1", **options: Any) -> "Deferred[Heard]":
        real: Any = reactor
        port = real.listenUDP(0, tracker, interface=host)
        self.addCleanup(port.stopListening)
        shown = f"[{host}]" if ":" in host else host
        url = f"udp://{shown}:{port.getHost().port}/announce"
        return Deferred.fromCoroutine(ask_udp(reactor, url, TOLD, **options))

    async def reason(self, asked: "Deferred[Heard]") -> str:
        with self.assertRaises(AnnounceFailed) as caught:
            await asked
        return str(caught.exception)

    async def test_what_is_asked_and_heard(self) -> None:
        tracker = Tracker(lambda t: [connected(t)], lambda t: [heard(t)])
        answer = await self.ask(tracker)
        self.assertEqual(answer, Heard(900.0, peers=(("192.0.2.1", 80),)))
        first, second = tracker.questions
        self.assertEqual(struct.unpack(">QI", first[:12]), (0x41727101980, 0))
        self.assertEqual(len(first), 16)
        self.assertEqual(
            struct.unpack(">QI", second[:12]) + struct.unpack(">20s20sQQQIIIiH", second[16:]),
            (CONNECTION, 1, b"h" * 20, b"-PS0100-0123456789ab", 22, 33, 11, 2, 0, 0xABC, 50, 7000),
        )
        self.assertNotEqual(first[12:16], second[12:16])

    async def test_over_ipv6_addresses_are_longer(self) -> None:
        peer = bytes(15) + b"\x01" + bytes((0, 9))
        tracker = Tracker(lambda t: [connected(t)], lambda t: [heard(t, peer + b"tail")])
        self.assertEqual((await self.ask(tracker, "::1")).peers, (("::1", 9),))

    async def test_a_refusal_is_told(self) -> None:
        tracker = Tracker(lambda t: [connected(t)], lambda t: [refused(t)])
        self.assertEqual(await self.reason(self.ask(tracker)), "it refuses: not here")

    async def test_what_belongs_to_another_question_is_not_heard(self) -> None:
        tracker = Tracker(
            lambda t: [b"", b"123", connected(t ^ 1), connected(t), connected(t)],
            lambda t: [connected(t - 1), heard(t)],
        )
        self.assertEqual((await self.ask(tracker)).interval, 900.0)

    async def test_an_answer_to_something_else(self) -> None:
        for script in ([heard], [lambda t: struct.pack(">II", 0, t)], [connected, connected]):
            tracker = Tracker(*[lambda t, each=each: [each(t)] for each in script])
            self.assertEqual(await self.reason(self.ask(tracker)), "its answer is none to what was asked")

    async def test_a_lost_datagram_is_sent_again(self) -> None:
        self.patch(foreign_udp, "WAITS", (0.05, 5.0))
        tracker = Tracker(lambda t: [], lambda t: [connected(t)], lambda t: [heard(t)])
        self.assertEqual((await self.ask(tracker)).interval, 900.0)
        self.assertEqual(tracker.questions[0], tracker.questions[1])

    async def test_silence(self) -> None:
        self.patch(foreign_udp, "WAITS", (0.02, 0.03))
        self.assertEqual(await self.reason(self.ask(Tracker())), "no answer within 0.05 s")

    async def test_nobody_there(self) -> None:
        real: Any = reactor
        port = real.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        asked = Deferred.fromCoroutine(ask_udp(reactor, f"udp://127.0.0.1:{number}", TOLD))
        self.assertEqual(await self.reason(asked), "nobody listens there")

    async def test_urls_that_cannot_be_asked(self) -> None:
        for url in ("udp://", "udp://host", "udp://host:99999", "udp://[::1", "udp://:80"):
            self.assertTrue(await self.reason(Deferred.fromCoroutine(ask_udp(reactor, url, TOLD))))

    async def test_a_daemon_asks_no_neighbour(self) -> None:
        tracker = Tracker()
        self.assertIn("no address that may be asked", await self.reason(self.ask(tracker, allowed=())))
        self.assertEqual(tracker.questions, [])
