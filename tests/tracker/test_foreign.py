"""Do foreign clients, over HTTP and in datagrams, meet each other and those of our nodes that can talk to them?"""

import struct
from typing import Any
from urllib.parse import quote

import attrs
from bencode2 import bdecode
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import DatagramProtocol, Protocol, connectionDone
from twisted.python.failure import Failure

from p2sp.net.identity import create_identity
from p2sp.tracker.entry import swarm_key
from p2sp.tracker.schema import Event
from tests.tracker.entries import RESOURCE, request
from tests.tracker.kit import ISP_ONE, ISP_TWO, TrackerCase, reactor

HASH = bytes.fromhex(swarm_key(RESOURCE))
V1 = bytes(range(20))
PORTS = 'foreign_http = "127.0.0.1:0"\nforeign_udp = "127.0.0.1:0"\n'


class Conversation(Protocol):
    """Sends what it is told and keeps what comes, until the other side ends it."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.ended: Deferred[bytes] = Deferred()
        self._waiting: tuple[int, Deferred[bytes]] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(self.received)


class Asker(DatagramProtocol):
    """Sends a datagram and waits for the answer."""

    transport: Any

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        answer, self.answer = self.answer, Deferred()
        answer.callback(datagram)

    async def ask(self, port: int, data: bytes) -> bytes:
        answer = self.answer
        self.transport.write(data, ("127.0.0.1", port))
        return await answer


async def connect_number(asker: Asker, port: int) -> int:
    """The connection id that a tracker gives to an address."""
    answer = await asker.ask(port, struct.pack(">QII", 0x41727101980, 0, 5))
    action, transaction, number = struct.unpack(">IIQ", answer)
    assert (action, transaction) == (0, 5)
    return int(number)


def datagram(
    number: int, *, event: Event = Event.STARTED, port: int = 6881, left: int = 1, downloaded: int = 0
) -> bytes:
    """An announce."""
    events = {Event.COMPLETED: 1, Event.STARTED: 2, Event.STOPPED: 3}
    return struct.pack(
        ">QII20s20sQQQIIIiH",
        number, 1, 9, HASH, b"-XX0001-123456789012", downloaded, left, 0, events[event], 0xCB007107, 0, -1, port,
    )  # fmt: skip


@attrs.frozen
class Heard:
    """Status and body of an answer, and its head."""

    status: int
    body: bytes
    head: bytes

    @property
    def values(self) -> dict[bytes, Any]:
        values: dict[bytes, Any] = bdecode(self.body)
        return values

    @property
    def peers(self) -> set[tuple[str, int]]:
        """IPv4 addresses and ports it names."""
        packed = self.values[b"peers"]
        return {
            (".".join(map(str, packed[at : at + 4])), int.from_bytes(packed[at + 4 : at + 6], "big"))
            for at in range(0, len(packed), 6)
        }


class ForeignCase(TrackerCase):
    """A tracker that listens for foreign clients."""

    def open(self, extra: str = "") -> str:
        url = self.tracker(PORTS + extra)
        http, udp = self.role.ports[0], self.role.ports[1]
        self.http: int = http.getHost().port  # type: ignore[attr-defined]
        self.udp: int = udp.getHost().port  # type: ignore[attr-defined]
        return url.replace(str(self.http), str(self.role.ports[-1].getHost().port))  # type: ignore[attr-defined]

    def desk(self) -> Any:
        """Where foreign clients are served."""
        return self.role.ports[0].factory.desk  # type: ignore[attr-defined]

    async def say(self, data: bytes, address: str = "127.0.0.1") -> bytes:
        """What is answered until the connection ends."""
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", self.http, bindAddress=(address, 0))
        talk: Conversation = await connectProtocol(endpoint, Conversation())
        talk.transport.write(data)
        return await talk.ended

    async def get(self, target: str, address: str = "127.0.0.1") -> Heard:
        answer = await self.say(f"GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n".encode("latin-1"), address)
        head, _, body = answer.partition(b"\r\n\r\n")
        return Heard(int(head.split(b" ")[1]), body, head)

    async def announce(self, address: str, port: int = 6881, swarm: bytes = HASH, **extra: object) -> Heard:
        values = {"info_hash": quote(swarm), "peer_id": "-XX0001-123456789012", "port": port, "left": 1, **extra}
        return await self.get("/announce?" + "&".join(f"{name}={value}" for name, value in values.items()), address)


class HttpTests(ForeignCase):
    """`GET /announce` and `GET /scrape` of foreign clients."""

    async def test_they_meet_by_where_they_are_seen_whatever_they_claim(self) -> None:
        self.open()
        first = await self.announce(ISP_ONE.format(1), ip="203.0.113.7", left=0)
        assert first.peers == set()
        assert (first.values[b"complete"], first.values[b"incomplete"]) == (1, 0)
        assert first.values[b"external ip"] == bytes([127, 1, 0, 1])
        second = await self.announce(ISP_ONE.format(2), ipv4="203.0.113.7")
        assert second.peers == {("127.1.0.1", 6881)}
        assert 270 <= second.values[b"interval"] <= 330

    async def test_they_are_named_nodes_that_take_clear_text_and_no_others(self) -> None:
        url = self.open()
        await self.node(url, ISP_ONE.format(1)).announce(request(port=7001))
        await self.node(url, ISP_ONE.format(2)).announce(request(port=7002, clear=True))
        assert (await self.announce(ISP_TWO.format(1))).peers == {("127.1.0.2", 7002)}

    async def test_our_nodes_hear_of_them_where_they_can_talk_to_them(self) -> None:
        url = self.open()
        await self.announce(ISP_ONE.format(9), port=6889)
        deaf = await self.node(url, ISP_ONE.format(1)).announce(request())
        assert deaf.nodes == []
        assert deaf.leeches == 2
        hearing = await self.node(url, ISP_ONE.format(2)).announce(request(clear=True))
        assert [each.node_id for each in hearing.nodes if each.host == "127.1.0.9"] == [""]
        assert all(each.local for each in hearing.nodes)

    async def test_a_hybrid_is_in_both_swarms(self) -> None:
        url = self.open()
        await self.announce(ISP_ONE.format(1), swarm=HASH, port=1)
        await self.announce(ISP_ONE.format(2), swarm=V1, port=2)
        ours = await self.node(url, ISP_ONE.format(3)).announce(request(clear=True, v1=V1.hex(), port=3))
        assert {each.port for each in ours.nodes} == {1, 2}
        for swarm in (HASH, V1):
            assert ("127.1.0.3", 3) in (await self.announce(ISP_ONE.format(4), swarm=swarm, port=4)).peers
        await self.node(url, ISP_ONE.format(5)).announce(request(v1=V1.hex(), port=5))
        assert ("127.1.0.5", 5) not in (await self.announce(ISP_ONE.format(4), swarm=V1, port=4)).peers

    async def test_locality_is_theirs_too(self) -> None:
        self.open("remote_max = 2\n")
        for number in range(1, 7):
            await self.announce(ISP_ONE.format(number))
            await self.announce(ISP_TWO.format(number))
        found = (await self.announce(ISP_ONE.format(99))).peers
        assert sum(host.startswith("127.1.") for host, _ in found) == 6
        assert sum(host.startswith("127.2.") for host, _ in found) == 2

    async def test_leaving_and_completing(self) -> None:
        self.open()
        await self.announce(ISP_ONE.format(1))
        await self.announce(ISP_ONE.format(1), left=0, event="completed")
        scraped = (await self.get(f"/scrape?info_hash={quote(HASH)}&info_hash={quote(V1)}")).values[b"files"]
        assert scraped[HASH] == {b"complete": 1, b"downloaded": 1, b"incomplete": 0}
        await self.announce(ISP_ONE.format(1), left=0, event="stopped")
        assert (await self.announce(ISP_ONE.format(2))).peers == set()

    async def test_they_are_forgotten_after_three_intervals_of_theirs(self) -> None:
        self.open('foreign_interval = "100s"\n')
        await self.announce(ISP_ONE.format(1))
        self.now += 299.0
        assert len((await self.announce(ISP_ONE.format(2))).peers) == 1
        self.now += 1.0
        assert (await self.announce(ISP_ONE.format(3))).peers == {("127.1.0.2", 6881)}

    async def test_connections_are_kept_and_requests_come_in_any_portions(self) -> None:
        self.open()
        line = f"GET /scrape?info_hash={quote(HASH)} HTTP/1.1\r\nHost: x\r\n"
        answers = await self.say(f"{line}\r\n{line}\r\n{line}connection: Close\r\n\r\n{line}\r\n".encode())
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", self.http)
        talk: Conversation = await connectProtocol(endpoint, Conversation())
        for letter in f"{line}Connection: close\r\n\r\n".encode():
            talk.transport.write(bytes([letter]))
        assert (await talk.ended).startswith(b"HTTP/1.1 200 OK")

    async def test_what_is_no_announce_is_refused_clearly(self) -> None:
        self.open()
        refused = await self.get("/announce?info_hash=abc")
        assert refused.status == 200
        assert b"info_hash must be 20 bytes" in refused.values[b"failure reason"]
        assert b"peer_id" in (await self.get(f"/announce?info_hash={quote(HASH)}&peer_id=x")).body
        assert b"all its swarms" in (await self.get("/scrape")).values[b"failure reason"]
        assert (await self.get("/v1/announce")).status == 404
        assert (await self.say(b"POST /announce HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405")
        assert (await self.say(b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")
        assert (await self.say(b"GET /" + b"x" * 9000)).startswith(b"HTTP/1.1 400")
        assert (await self.say(b"GET /announce HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")

    async def test_an_address_that_asks_too_often_is_told_when_to_come_back(self) -> None:
        self.open("limits = {rate_per_address = 0.5, burst_per_address = 1.0}")
        await self.announce(ISP_ONE.format(1))
        refused = await self.announce(ISP_ONE.format(1))
        assert (refused.status, refused.values[b"retry in"]) == (429, 1)
        assert b"Retry-After: 2\r\n" in refused.head + b"\r\n"
        assert (await self.announce(ISP_ONE.format(2))).status == 200

    async def test_too_much_is_turned_away_unread_and_our_roles_are_served(self) -> None:
        url = self.open()
        await self.unwatched()
        desk = self.desk()
        desk.gauge.share = 1.0
        refused = await self.announce(ISP_ONE.format(1))
        assert refused.status == 503
        assert b"Retry-After: 30" in refused.head
        status, code, _ = await self.refusal(self.node(url).announce(request()))
        assert (status, code) == (503, "overloaded")
        cache = self.network.authority.issue("supernode", [], "cache")
        await self.node(url, identity=cache).announce(request())
        asker = Asker()
        port = reactor.listenUDP(0, asker, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        asker.transport.write(struct.pack(">QII", 0x41727101980, 0, 5), ("127.0.0.1", self.udp))
        while desk.gauge.turned_away < 3:
            await self.turn()
        assert not asker.answer.called

    async def turn(self) -> None:
        """Let the event loop do what is there to do."""
        waited: Deferred[None] = Deferred()
        reactor.callLater(0, waited.callback, None)
        await waited


class UdpTests(ForeignCase):
    """BEP 15."""

    async def asker(self, address: str) -> Asker:
        made = Asker()
        port = reactor.listenUDP(0, made, interface=address)
        self.addCleanup(port.stopListening)
        return made

    async def test_they_meet_each_other_and_those_of_http(self) -> None:
        self.open()
        await self.announce(ISP_ONE.format(1), port=1)
        one = await self.asker(ISP_ONE.format(2))
        number = await connect_number(one, self.udp)
        answer = await one.ask(self.udp, datagram(number, port=2))
        action, transaction, interval, leeches, seeds = struct.unpack(">IIIII", answer[:20])
        assert (action, transaction, leeches, seeds) == (1, 9, 2, 0)
        assert 270 <= interval <= 330
        assert answer[20:] == bytes([127, 1, 0, 1, 0, 1])
        assert (await self.announce(ISP_ONE.format(1), port=1)).peers == {("127.1.0.2", 2)}
        scraped = await one.ask(self.udp, struct.pack(">QII", number, 2, 7) + HASH + V1)
        assert struct.unpack(">IIIIIIII", scraped) == (2, 7, 0, 0, 2, 0, 0, 0)
        await one.ask(self.udp, datagram(number, port=2, event=Event.STOPPED))
        assert (await self.announce(ISP_ONE.format(1), port=1)).peers == set()

    async def test_who_shows_no_number_of_its_own_hears_nothing(self) -> None:
        self.open()
        one, two = await self.asker(ISP_ONE.format(1)), await self.asker(ISP_ONE.format(2))
        stolen = await connect_number(one, self.udp)
        for data in (datagram(stolen), datagram(7), b"x" * 98, b""):
            two.transport.write(data, ("127.0.0.1", self.udp))
        # What came before it was looked at before it.
        await connect_number(two, self.udp)
        assert (await self.announce(ISP_ONE.format(3))).peers == set()

    async def test_a_number_grows_old(self) -> None:
        self.open()
        one = await self.asker(ISP_ONE.format(1))
        number = await connect_number(one, self.udp)
        self.now += 240.0
        one.transport.write(datagram(number), ("127.0.0.1", self.udp))
        await one.ask(self.udp, datagram(await connect_number(one, self.udp), port=2))
        assert (await self.announce(ISP_ONE.format(3))).peers == {("127.1.0.1", 2)}


class MetricsTests(ForeignCase):
    """`GET /metrics`."""

    async def test_they_count(self) -> None:
        url = self.open('metrics = "127.0.0.1:0"\nlimits = {nodes_per_swarm = 1}\n')
        await self.announce(ISP_ONE.format(1))
        await self.node(url, ISP_ONE.format(2), create_identity()).announce(request())
        self.http = self.role.ports[2].getHost().port  # type: ignore[attr-defined]
        lines = (await self.get("/metrics")).body.decode().splitlines()
        for line in (
            "p2sp_tracker_swarms 1.0",
            "p2sp_tracker_entries 1.0",
            'p2sp_tracker_announces_total{event="progress"} 1.0',
            'p2sp_tracker_unlisted_total{limit="swarm full"} 1.0',
            'p2sp_tracker_foreign_requests_total{kind="announces"} 1.0',
            "p2sp_tracker_shed_total 0.0",
        ):
            assert line in lines
