"""What does the first answer tell of a URL, and whom may a daemon ask at all?"""

from ipaddress import ip_network
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred, maybeDeferred

from p2sp.net.authority import Authority
from p2sp.net.trust import Trust
from p2sp.resource.descriptor import FileEntry, make_descriptor
from p2sp.resource.verification import Content, described, undescribed
from p2sp.schedule.spans import Span
from p2sp.sources.http import HttpSource
from p2sp.sources.http_agent import BadServer, OddAnswer
from p2sp.sources.http_facts import Version
from p2sp.sources.http_probe import HttpStatus, NotFound, Probe, ServerBusy, probe, read_small
from p2sp.sources.interfaces import SourceError, SourceGone
from tests.hostile.origin import LAST_MODIFIED
from tests.sources.http_case import DATA, LOOPBACK, HttpCase, Sink, reactor

END = len(DATA)
FIRST = (ip_network("127.0.0.1/32"),)


class ProbeTests(HttpCase):
    """The probe reads what is there to read and keeps the body."""

    async def test_honest(self) -> None:
        found = await self.probed("honest")
        self.assertEqual(
            (found.length, found.ranged, found.name, found.version),
            (END, True, "x.bin", Version('"one"', LAST_MODIFIED)),
        )
        self.assertEqual(self.origin.hits[0].range, "bytes=0-")

    async def test_lengths(self) -> None:
        for scenario, length, ranged in (
            ("ignored", END, False),
            ("liar", END, False),
            ("zero", END, True),
            ("short", END, True),
            ("chunked-part", END, True),
            ("star", END, False),
            ("star-short", END, False),
            ("chunked", None, False),
            ("no-length", None, False),
        ):
            found = await self.probed(scenario)
            self.assertEqual((found.length, found.ranged), (length, ranged), scenario)

    async def test_nothing_in_it(self) -> None:
        self.origin.data = b""
        for scenario in ("honest", "ignored"):
            found = await self.probed(scenario)
            self.assertEqual((found.length, found.ranged, found.name), (0, False, "x.bin"), scenario)

    async def test_the_body_is_kept(self) -> None:
        for scenario, requests in (("honest", 1), ("ignored", 1), ("short", 8), ("star", 2)):
            found = await self.probed(scenario)
            before = len(self.origin.hits) - 1 - (scenario == "star")
            source = self.source(scenario, found=found)
            self.assertEqual(source.slots, 2 if found.ranged else 1)
            await self.fetch(source, 0, 100_000)
            await self.fetch(source, 100_000, END)
            self.assertEqual(len(self.origin.hits) - before, requests, scenario)
            source.close()

    async def test_header_fields_in_latin_1(self) -> None:
        found = await self.probed("latin")
        self.assertEqual(found.name, "café.bin")

    async def test_a_redirect_names_the_file(self) -> None:
        self.origin.target = self.url("honest", "other%20name.iso?token=1")
        self.assertEqual((await self.probed("redirect")).name, "other name.iso")

    async def test_an_ipv6_address(self) -> None:
        port: Any = self.origin.listen("::1")
        self.addCleanup(port.stopListening)
        found = await probe(self.connect(), f"HTTP://[::1]:{port.getHost().port}/honest/é.bin")
        self.addCleanup(found.close)
        self.assertEqual((found.length, self.origin.hits[0].path), (END, "/honest/%C3%A9.bin"))

    async def test_refusals(self) -> None:
        kind: type[SourceError]
        for scenario, kind, words in (
            ("status/404", NotFound, "not found (HTTP 404)"),
            ("status/403", HttpStatus, "HTTP 403"),
            ("status/429", ServerBusy, "HTTP 429"),
            ("status/416", OddAnswer, "range refused (416)"),
            ("gzip", BadServer, "gzip"),
            ("multipart", OddAnswer, "206 with Content-Range None"),
            ("garbage", OddAnswer, "garbage"),
            ("loop", BadServer, "circle"),
            ("huge-head", OddAnswer, "larger than"),
        ):
            await self.fails(self.probed(scenario), kind, words)

    async def test_small_documents(self) -> None:
        self.origin.data = b"small"
        for scenario in ("honest", "ignored", "star"):
            self.assertEqual(await read_small(self.connect(), self.url(scenario), 5), b"small")
            await self.fails(read_small(self.connect(), self.url(scenario), 4), SourceError, "at most 4")
        await self.fails(read_small(self.connect(), self.url("chunked"), 4), SourceError, "unknown bytes")
        self.origin.limit = 2
        await self.fails(read_small(self.connect(), self.url("short"), 5), SourceError, "ended at byte 2 of 5")
        self.origin.data = b""
        self.assertEqual(await read_small(self.connect(), self.url("honest"), 5), b"")


class WholeTests(HttpCase):
    """A body of unknown length is read to its end."""

    async def test_to_the_end(self) -> None:
        for scenario in ("chunked", "no-length"):
            found, sink = await self.probed(scenario), Sink()
            self.assertEqual(await found.lane.serve_all(sink), END)
            self.assertEqual(sink.run(), (0, DATA))

    async def test_endless(self) -> None:
        found, sink = await self.probed("endless"), Sink(pause_at=10_000_000)
        work = Deferred.fromCoroutine(found.lane.serve_all(sink))
        await self.until(lambda: sink.count >= 10_000_000)
        held = sink.count
        await self.turns(30)
        self.assertEqual(sink.count, held)
        found.close()
        self.assertIn("closed", str(await self.error_of(work, SourceGone)))
        await self.until(lambda: self.origin.hits[0].lost)


class TreeTests(HttpCase):
    """A URL can be the folder that a tree of files lies in (BEP 19)."""

    def _tree(self) -> Content:
        zero = bytes(32)
        files = [(FileEntry(("a b", "ü.bin"), 40_000, zero), ()), (FileEntry(("z",), END - 10, zero), ())]
        return described(make_descriptor("my tree", files, piece_length=1024 * 1024))

    async def test_paths_are_appended_and_spans_may_cross_files(self) -> None:
        content = self._tree()
        layout = content.layout
        source = HttpSource(self.connect(), self.url("by-length", ""), content)
        self.addCleanup(source.close)
        self.origin.lengths = {"%C3%BC.bin": 40_000, "z": END - 10}
        sink = Sink()
        await source.fetch(Span(30_000, layout.file_start(1) + 5000), sink)
        got = b"".join(data for _, data in sorted(sink.got.items()))
        self.assertEqual(got, DATA[30_000:40_000] + DATA[:5000])
        served = [hit.path for hit in self.origin.hits]
        self.assertEqual(served, ["/by-length/my%20tree/a%20b/%C3%BC.bin", "/by-length/my%20tree/z"])

    async def test_a_cut_behind_the_running_file(self) -> None:
        content = self._tree()
        source = HttpSource(self.connect(), self.url("by-length", ""), content)
        self.addCleanup(source.close)
        self.origin.lengths = {"%C3%BC.bin": 40_000, "z": END - 10}
        start = content.layout.file_start(1)
        sink, span = Sink(pause_at=1), Span(0, start + 100_000)
        fetch = source.fetch(span, sink)
        await self.until(lambda: sink.count > 0)
        source.shorten(span, start + 16_384)
        sink.pause_at = None
        assert sink.producer is not None
        sink.producer.resumeProducing()
        await fetch
        got = b"".join(data for _, data in sorted(sink.got.items()))
        self.assertEqual(got, DATA[:40_000] + DATA[:16_384])

    async def test_validators_are_not_asked_where_hashes_judge(self) -> None:
        content = described(make_descriptor("x", [(FileEntry(("x",), END, bytes(32)), ())], piece_length=1024 * 1024))
        for scenario in ("new-etag", "new-date"):
            source = self.source(scenario, content=content, version=Version('"other"', ""))
            await self.fetch(source, 0, 1000)
            await self.fetch(source, 1000, 2000)

    async def test_a_folder_as_the_mirror_of_a_file(self) -> None:
        source = HttpSource(self.connect(), self.url("honest", ""), undescribed("k", "a b", END))
        self.addCleanup(source.close)
        await self.fetch(source, 0, 1000)
        self.assertEqual(self.origin.hits[0].path, "/honest/a%20b")


class GuardTests(HttpCase):
    """Who fetches what others name dials only what it may."""

    async def test_by_address_by_name_and_after_a_redirect(self) -> None:
        for host in ("127.0.0.1", "localhost"):
            url = self.url("honest", host=host)
            with self.assertRaises(SourceError) as caught:
                await probe(self.connect(allowed=()), url)
            self.assertIn(url, str(caught.exception))
        self.assertEqual(self.origin.connections, 0)
        for target in (self.url("honest", host="127.0.0.2"), self.url("honest", host="[::1]")):
            self.origin.target = target
            work = probe(self.connect(allowed=FIRST), self.url("redirect"))
            await self.fails(work, BadServer, "must not be fetched from: it is this machine")
        self.assertEqual({hit.path for hit in self.origin.hits}, {"/redirect/x.bin"})

    async def test_what_is_allowed(self) -> None:
        for host in ("127.0.0.1", "localhost"):
            found = await probe(self.connect(allowed=LOOPBACK), self.url("honest", host=host))
            self.addCleanup(found.close)
            self.assertEqual(found.length, END)

    async def test_from_the_address_we_were_given(self) -> None:
        seen: list[str] = []
        self.origin.watch(lambda: seen.extend(talk.transport.getPeer().host for talk in self.origin.open))
        found = await self.probed("honest", bind_address="127.0.0.9")
        self.assertEqual((found.length, set(seen)), (END, {"127.0.0.9"}))


class TlsTests(HttpCase):
    """HTTPS is judged, and never left for HTTP."""

    authority = Authority.create("test network")

    def setUp(self) -> None:
        super().setUp()
        own = self.authority.issue("index", ["127.0.0.1"], "origin")
        pair = ssl.PrivateCertificate.loadPEM(own.certificate_pem + own.key_pem)
        self.plain, self.port = self.port, reactor.listenSSL(0, self.origin, pair.options(), interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.trust = Trust((self.authority.certificate,))

    def _secure(self, scenario: str) -> "Deferred[Probe]":
        return Deferred.fromCoroutine(
            probe(self.connect(trust=self.trust), self.url(scenario, scheme="https"))
        ).addCallback(self._closed_later)

    def _closed_later(self, found: Probe) -> Probe:
        self.addCleanup(found.close)
        return found

    async def test_bytes_come(self) -> None:
        found = await self._secure("honest")
        source = HttpSource(self.connect(trust=self.trust), found.url, self.content, found=found)
        self.addCleanup(source.close)
        for start, stop in ((0, 300_000), (300_000, 400_000), (500_000, END)):
            await self.fetch(source, start, stop)

    async def test_a_body_that_is_there_at_once(self) -> None:
        """TLS hands over all that it has read, paused or not."""
        for length in (1, 16_384, 20_000, 40_000):
            self.origin.data = DATA[:length]
            found = await self._secure("burst")
            await self.turns(10)
            source = HttpSource(self.connect(), found.url, undescribed("x", "x", length), found=found)
            for start in range(0, length, 7000):
                await self.fetch(source, start, min(start + 7000, length))
            source.close()
            self.assertEqual(self.origin.hits[-1].range, "bytes=0-")

    async def test_cancel_does_not_wait_for_a_goodbye(self) -> None:
        found = await self._secure("endless")
        sink = Sink(pause_at=1)
        work = Deferred.fromCoroutine(found.lane.serve_all(sink))
        await self.until(lambda: sink.count > 0)
        found.close()
        await self.error_of(work, SourceGone)
        await self.until(lambda: self.origin.hits[0].lost)

    async def test_nobody_vouches_for_it(self) -> None:
        with self.assertRaises(SourceError) as caught:
            await probe(self.connect(), self.url("honest", scheme="https"))
        self.assertIn("certificate", str(caught.exception))
        self.assertEqual(self.origin.hits, [])

    async def test_the_way_back_to_http_is_refused(self) -> None:
        port: Any = self.plain
        self.origin.target = f"http://127.0.0.1:{port.getHost().port}/honest/x.bin"
        error = await self.error_of(self._secure("redirect"), SourceGone)
        self.assertIn("redirect from https to http://127.0.0.1", str(error))
        self.assertEqual([hit.path for hit in self.origin.hits], ["/redirect/x.bin"])

    async def test_from_http_to_https_is_fine(self) -> None:
        self.origin.target = self.url("honest", scheme="https")
        port: Any = self.plain
        found = await probe(self.connect(trust=self.trust), f"http://127.0.0.1:{port.getHost().port}/redirect/x")
        self.addCleanup(found.close)
        self.assertEqual(found.length, END)
        await maybeDeferred(self.plain.stopListening)
