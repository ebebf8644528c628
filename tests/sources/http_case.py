"""What do the tests of the HTTP source share: an origin, a sink that remembers, and ways to wait for both?"""

from collections.abc import Callable, Coroutine
from ipaddress import ip_network
from typing import Any, TypeVar

import attrs
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from p2sp.net.mirrors import mirror_policy
from p2sp.net.trust import Trust
from p2sp.resource.verification import Content, undescribed
from p2sp.schedule.spans import Span
from p2sp.sources.http import HttpSource
from p2sp.sources.http_lane import Deadlines
from p2sp.sources.http_probe import Connect, Probe, probe
from p2sp.sources.interfaces import ISpanSink
from tests.hostile.origin import Origin, noise

reactor: Any = installed_reactor

DATA = noise(700_001)
PATIENT = Deadlines(connect=10.0, first_byte=10.0, silence=10.0)
LOOPBACK = (ip_network("127.0.0.0/8"),)

E = TypeVar("E", bound=BaseException)


@implementer(ISpanSink)
@attrs.define(eq=False)
class Sink:
    """Keeps what it gets where it belongs, and complains of what comes twice or after the end."""

    got: dict[int, bytes] = attrs.field(factory=dict)
    producer: IPushProducer | None = None
    over: bool = False
    count: int = 0
    pause_at: int | None = None
    """Bytes after which the producer is paused, as a sink does whose disk is behind."""

    on_data: Callable[[], None] = lambda: None

    def received(self, position: int, data: bytes) -> None:
        assert not self.over, "bytes after the end"
        assert data
        assert position not in self.got
        self.got[position] = data
        self.count += len(data)
        if self.pause_at is not None and self.count >= self.pause_at and self.producer is not None:
            self.producer.pauseProducing()
        self.on_data()

    def register_producer(self, producer: IPushProducer) -> None:
        assert self.producer is None or self.producer is producer
        self.producer = producer

    def unregister_producer(self) -> None:
        self.producer = None

    def run(self) -> tuple[int, bytes]:
        """Position and bytes, all of which follow each other."""
        at = start = min(self.got, default=0)
        for position in sorted(self.got):
            assert position == at, f"a gap or an overlap at {at}"
            at += len(self.got[position])
        return start, b"".join(data for _, data in sorted(self.got.items()))


class HttpCase(TestCase):
    """An origin on loopback, gone when the test is over."""

    timeout = 20
    data = DATA

    def setUp(self) -> None:
        self.origin = Origin(reactor, self.data)
        self.port = self.origin.listen()
        self.addCleanup(self.port.stopListening)
        self.addCleanup(self._quiet)
        self.content = undescribed("x", "x", len(self.data))

    async def _quiet(self) -> None:
        """Every connection is closed by the client's side: one that it forgot makes the test time out."""
        await self.until(lambda: not self.origin.open)

    def url(self, scenario: str, rest: str = "x.bin", *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        port: Any = self.port
        return f"{scheme}://{host}:{port.getHost().port}/{scenario}/{rest}"

    def connect(self, **given: Any) -> Connect:
        given.setdefault("deadlines", PATIENT)
        trust: Trust | None = given.pop("trust", None)
        return Connect(reactor, mirror_policy(trust), **given)

    def source(self, scenario: str, *, content: Content | None = None, **given: Any) -> HttpSource:
        own = {name: given.pop(name) for name in ("connections", "version", "found") if name in given}
        source = HttpSource(self.connect(**given), self.url(scenario), content or self.content, **own)
        self.addCleanup(source.close)
        return source

    async def probed(self, scenario: str, **given: Any) -> Probe:
        found = await probe(self.connect(**given), self.url(scenario))
        self.addCleanup(found.close)
        return found

    async def fetch(self, source: HttpSource, start: int, stop: int, sink: Sink | None = None) -> Sink:
        """Fetch a span and see that exactly its bytes came."""
        sink = sink or Sink()
        await source.fetch(Span(start, stop), sink)
        self.assertEqual(sink.run(), (start, self.data[start:stop]))
        sink.over = True
        return sink

    async def fails(self, work: Coroutine[Any, Any, object], kind: type[Exception], words: str) -> None:
        """See that it fails with exactly this kind of error, in these words."""
        with self.assertRaises(kind) as caught:
            await work
        self.assertIs(type(caught.exception), kind)
        self.assertIn(words, str(caught.exception))

    async def error_of(self, work: "Deferred[Any]", kind: type[E]) -> E:
        """The error that it fails with."""
        with self.assertRaises(kind) as caught:
            await work
        error: E = caught.exception
        return error

    async def turns(self, count: int) -> None:
        """Let the reactor go round that often."""
        for _ in range(count):
            await _soon(0.001)

    async def until(self, settled: Callable[[], bool]) -> None:
        """Wait until the origin has seen something; trial's timeout is the bound."""
        while not settled():
            await _soon(0.005)


def _soon(seconds: float) -> "Deferred[None]":
    done: Deferred[None] = deferLater(reactor, seconds)
    return done
