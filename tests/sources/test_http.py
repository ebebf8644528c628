"""Does an HTTP source deliver the right bytes at the right places, or fail in the right words?"""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults, maybeDeferred

from p2sp.resource.verification import undescribed
from p2sp.schedule.spans import Kind, Span
from p2sp.sources.http_agent import BadServer, OddAnswer
from p2sp.sources.http_hosts import MEASURE
from p2sp.sources.http_lane import Deadlines
from p2sp.sources.http_probe import HttpStatus, NotFound, ServerBusy
from p2sp.sources.interfaces import SourceChanged, SourceError, SourceGone, SourceRefused, SourceStalled
from tests.sources.http_case import DATA, HttpCase, Sink, reactor

END = len(DATA)
LAST = f"{END - 1}-{END - 1}"


class DeliveryTests(HttpCase):
    """What serves parts, in whatever way, gives what was asked for."""

    async def _all_parts(self, scenario: str) -> None:
        source = self.source(scenario)
        for start, stop in ((300_000, 400_000), (0, 16_384), (400_000, END), (END - 1, END), (16_384, 300_000)):
            await self.fetch(source, start, stop)
        self.assertEqual((source.kind, source.label, source.has(0)), (Kind.SERVER, self.url(scenario), True))

    async def test_honest(self) -> None:
        await self._all_parts("honest")
        self.assertEqual(self.origin.connections, 1, "one fetch after another needs one connection")
        # A span that follows the last one needs a request, for nothing more than was wanted was asked for.
        self.assertEqual(
            [hit.range for hit in self.origin.hits],
            [f"bytes={span}" for span in ("300000-399999", "0-16383", f"400000-{END - 1}", LAST, "16384-299999")],
        )
        self.assertEqual({hit.fields["accept-encoding"] for hit in self.origin.hits}, {"identity"})
        self.assertEqual(self.origin.sent, END + 1)

    async def test_fetches_that_follow_at_once_use_the_connection_again(self) -> None:
        source = self.source("honest")
        after: Deferred[Sink] = Deferred()

        def follow(_: None) -> None:
            Deferred.fromCoroutine(self.fetch(source, 100_000, 200_000)).chainDeferred(after)

        source.fetch(Span(0, 100_000), Sink()).addCallback(follow)
        await after
        self.assertEqual(self.origin.connections, 1)

    async def test_several_connections(self) -> None:
        source = self.source("honest", connections=3)
        self.assertEqual(source.slots, 1)
        await self.fetch(source, 0, 1000)
        self.assertEqual(source.slots, 2, "two when it serves parts")
        now = reactor.seconds()
        host = source._connect.hosts.of(source.url)
        host.busy = 2
        for step in range(3):
            host.arrived(100_000, now + step * MEASURE)
        host.busy = 0
        self.assertEqual(source.slots, 3, "and as many as allowed while that brings more")
        spans = [(0, 200_000), (200_000, 400_000), (400_000, END)]
        await gatherResults([Deferred.fromCoroutine(self.fetch(source, *span)) for span in spans])
        self.assertEqual(self.origin.connections, 3)

    async def test_total_unknown(self) -> None:
        await self._all_parts("star")

    async def test_chunked_parts(self) -> None:
        await self._all_parts("chunked-part")

    async def test_parts_shorter_than_asked(self) -> None:
        await self._all_parts("short")
        self.assertEqual(self.origin.connections, 1)

    async def test_through_a_redirect(self) -> None:
        self.origin.target = self.url("honest")
        await self._all_parts("redirect")
        self.assertEqual(self.origin.connections, 1, "the body of a redirect is no reason for another connection")

    async def test_no_range_is_ever_served_at_an_offset(self) -> None:
        """Servers that ignore ranges are read from the first byte on, and on one connection."""
        for scenario in ("ignored", "liar", "zero", "zero-all", "no-length", "chunked"):
            source = self.source(scenario)
            before = len(self.origin.hits)
            await self.fetch(source, 300_000, 400_000)
            self.assertEqual(source.slots, 1, scenario)
            await self.fetch(source, 400_000, 500_000)
            # Holes are read over; what lies behind is begun anew.
            await self.fetch(source, 600_000, END)
            ongoing = len(self.origin.hits) - before
            self.assertEqual(ongoing, 2 if scenario == "zero" else 1, scenario)
            await self.fetch(source, 0, 10_000)
            self.assertEqual(len(self.origin.hits) - before, ongoing + 1, scenario)
            source.close()

    async def test_slots_follow_what_the_server_can_do(self) -> None:
        source = self.source("honest")
        news: list[int] = []
        stop = source.watch(lambda: news.append(source.slots))
        await self.fetch(source, 0, 1000)
        self.assertEqual(news, [2])
        stop()
        source.close()
        self.assertEqual((source.slots, source.closed, source.has(0), news), (0, True, False, [2]))

    async def test_shorten(self) -> None:
        source = self.source("honest")
        sink, span = Sink(pause_at=1), Span(0, END)
        fetch = source.fetch(span, sink)
        await self.until(lambda: sink.count > 0)
        stop = sink.count + 16_384
        source.shorten(span, stop)
        source.shorten(span, stop + 1)
        assert sink.producer is not None
        sink.pause_at = None
        sink.producer.resumeProducing()
        await fetch
        self.assertEqual(sink.run(), (0, DATA[:stop]))
        # The body that is held goes on where it was cut.
        await self.fetch(source, stop, END)
        self.assertEqual(len(self.origin.hits), 1)

    async def test_shorten_to_what_is_there_ends_at_once(self) -> None:
        source = self.source("honest")
        sink, span = Sink(pause_at=1), Span(0, END)
        fetch = source.fetch(span, sink)
        await self.until(lambda: sink.count > 0)
        source.shorten(span, 1)
        await fetch
        source.shorten(span, 0)
        source.shorten(Span(5, END), 7)


class FlowTests(HttpCase):
    """A sink that is behind stops the bytes, and who cancels gets none."""

    async def test_a_paused_sink_stops_the_bytes(self) -> None:
        length = 32 * 1024 * 1024
        self.origin.data = bytes(length)
        source = self.source("honest", content=undescribed("x", "x", length))
        sink = Sink(pause_at=100_000)
        fetch = source.fetch(Span(0, length), sink)
        await self.until(lambda: sink.count >= 100_000)
        held = sink.count
        await self.turns(50)
        self.assertEqual(sink.count, held)
        self.assertLess(self.origin.sent, length // 2)
        fetch.cancel()
        await self.error_of(fetch, CancelledError)

    async def test_a_sink_paused_by_what_was_held_stays_paused(self) -> None:
        found = await self.probed("honest")
        source = self.source("honest", found=found, version=found.version)
        await self.fetch(source, 0, 16_384)
        sink = Sink(pause_at=1)
        fetch = source.fetch(Span(16_384, END), sink)
        await self.until(lambda: sink.count > 0)
        held = sink.count
        # Every turn of the reactor would bring more, were it not paused.
        await self.turns(50)
        self.assertEqual(sink.count, held)
        sink.pause_at = None
        assert sink.producer is not None
        sink.producer.resumeProducing()
        await fetch
        self.assertEqual(sink.run(), (16_384, DATA[16_384:]))
        self.assertEqual(len(self.origin.hits), 1, "the body of the probe goes on")

    async def test_cancel_cuts_the_connection(self) -> None:
        source = self.source("silent")
        sink = Sink()
        fetch = source.fetch(Span(0, END), sink)
        await self.until(lambda: sink.count > 0)
        fetch.cancel()
        sink.over = True
        await self.error_of(fetch, CancelledError)
        await self.until(lambda: self.origin.hits[0].lost)

    async def test_cancel_before_the_answer(self) -> None:
        source = self.source("mute")
        fetch = source.fetch(Span(0, END), Sink())
        await self.until(lambda: bool(self.origin.hits))
        fetch.cancel()
        await self.error_of(fetch, CancelledError)
        await self.until(lambda: self.origin.hits[0].lost)

    async def test_close_before_the_answer(self) -> None:
        source = self.source("mute")
        fetch = source.fetch(Span(0, END), Sink(over=True))
        await self.until(lambda: bool(self.origin.hits))
        source.close()
        source.close()
        error = await self.error_of(fetch, SourceGone)
        self.assertIn("closed", str(error))

    async def test_close_while_connecting_brings_no_bytes(self) -> None:
        source = self.source("honest")
        fetch = source.fetch(Span(0, END), Sink(over=True))
        source.close()
        await self.error_of(fetch, SourceGone)
        self.assertEqual(self.origin.hits, [])

    async def test_close_in_the_middle(self) -> None:
        source = self.source("silent")
        sink = Sink()
        fetch = source.fetch(Span(0, END), sink)
        await self.until(lambda: sink.count > 0)
        source.close()
        await self.error_of(fetch, SourceGone)
        await self.until(lambda: self.origin.hits[0].lost)

    async def test_silence(self) -> None:
        source = self.source("silent", deadlines=Deadlines(connect=5, first_byte=5, silence=0.2))
        sink = Sink()
        await self.fails(self.fetch(source, 0, END, sink), SourceStalled, "silent for 0.2 s at byte 100000")
        self.assertEqual(sink.run(), (0, DATA[:100_000]))
        await self.until(lambda: self.origin.hits[0].lost)

    async def test_a_paused_sink_is_no_silence(self) -> None:
        source = self.source("honest", deadlines=Deadlines(connect=5, first_byte=5, silence=0.1))
        sink = Sink(pause_at=1)
        fetch = source.fetch(Span(0, END), sink)
        await self.until(lambda: sink.count > 0)
        await self.turns(60)
        sink.pause_at = None
        assert sink.producer is not None
        sink.producer.resumeProducing()
        await fetch
        self.assertEqual(sink.run(), (0, DATA))

    async def test_no_answer(self) -> None:
        source = self.source("mute", deadlines=Deadlines(connect=0.1, first_byte=0.1, silence=5))
        await self.fails(self.fetch(source, 0, END), SourceStalled, "no answer within 0.1 s")
        await self.until(lambda: self.origin.hits[0].lost)


class RefusalTests(HttpCase):
    """What cannot be right is said so, and not one byte of it reaches the sink."""

    async def _refused(self, scenario: str, kind: type[SourceError], words: str, **given: Any) -> None:
        source = self.source(scenario, **given)
        await self.fails(self.fetch(source, 200_000, 300_000, Sink(over=True)), kind, words)
        await self.until(lambda: all(hit.lost for hit in self.origin.hits))

    async def test_wrong_start(self) -> None:
        await self._refused("shifted", BadServer, "asked for byte 200000, answered from byte 200001")

    async def test_encoded(self) -> None:
        await self._refused("gzip", BadServer, "server encodes the body (gzip) though asked not to")

    async def test_several_parts(self) -> None:
        await self._refused("multipart", BadServer, "206 with Content-Range None")

    async def test_not_found(self) -> None:
        await self._refused("status/404", NotFound, "not found (HTTP 404)")
        await self._refused("status/410", NotFound, "not found (HTTP 410)")

    async def test_forbidden(self) -> None:
        await self._refused("status/403", HttpStatus, "HTTP 403")
        await self._refused("status/204", HttpStatus, "HTTP 204")

    async def test_out_of_range(self) -> None:
        await self._refused("status/416", SourceChanged, "range refused (HTTP 416)")

    async def test_busy(self) -> None:
        for status, after, wait in (
            ("429", "7", 7.0),
            ("503", "", None),
            ("503", "Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
            ("500", "a while", None),
        ):
            source = self.source(f"status/{status}/{after.replace(' ', '%20')}")
            source.url = source.url.removesuffix("/x.bin") if after else source.url
            fetch = source.fetch(Span(0, END), Sink(over=True))
            error = await self.error_of(fetch, SourceRefused)
            self.assertEqual(error.retry_after, wait, status)
            self.assertIn(f"HTTP {status}", str(error))
            self.assertFalse(error.fatal)

    async def test_then_fine(self) -> None:
        source = self.source("flaky")
        for _ in range(2):
            await self.fails(self.fetch(source, 0, 1000), ServerBusy, "HTTP 503")
        await self.fetch(source, 0, END)

    async def test_redirects_in_a_circle(self) -> None:
        await self._refused("loop", BadServer, "redirects go round in a circle")
        self.assertLess(len(self.origin.hits), 25)
        self.assertEqual(self.origin.connections, 1)

    async def test_redirect_to_what_is_not_http(self) -> None:
        self.origin.target = "ftp://127.0.0.1/x"
        await self._refused("redirect", BadServer, "ftp")
        self.origin.target = "http://127.0.0.1:99999999/x"
        await self._refused("redirect", SourceError, "")

    async def test_huge_head(self) -> None:
        await self._refused("huge-head", OddAnswer, "larger than 262144 bytes")
        self.assertLess(self.origin.sent, 4 * 1024 * 1024)

    async def test_garbage(self) -> None:
        await self._refused("garbage", OddAnswer, self.url("garbage"))

    async def test_unknown_transfer_coding(self) -> None:
        await self._refused("odd-coding", SourceError, "magic")

    async def test_nobody_there(self) -> None:
        source = self.source("honest")
        await maybeDeferred(self.port.stopListening)
        await self.fails(self.fetch(source, 0, END, Sink(over=True)), SourceError, "Connection refused")

    async def test_no_url_at_all(self) -> None:
        source = self.source("honest")
        for url in ("http://127.0.0.1:port/x", "http://[::1/x", "ftp://h/x", "http:///x"):
            source.url = url
            await self.fails(self.fetch(source, 0, END, Sink(over=True)), BadServer, "")

    async def test_length_differs(self) -> None:
        self.origin.data = DATA + b"more"
        await self._refused("honest", SourceChanged, f"has {END + 4} bytes where {END} are expected")
        await self._refused("ignored", SourceChanged, f"has {END + 4} bytes where {END} are expected")
