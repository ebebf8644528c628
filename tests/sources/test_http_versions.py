"""Does an HTTP source notice a body that is cut, and a file that is not the one it began with?"""

from p2sp.sources.http_facts import Version
from p2sp.sources.interfaces import SourceChanged, SourceError
from tests.hostile.origin import LAST_MODIFIED
from tests.sources.http_case import DATA, HttpCase, Sink

END = len(DATA)


class CutTests(HttpCase):
    """A body that ends too early fails, and what came of it stays good."""

    async def _cut(self, scenario: str, words: str, came: int) -> None:
        source = self.source(scenario)
        sink = Sink()
        await self.fails(self.fetch(source, 0, END, sink), SourceError, words)
        self.assertEqual(sink.run(), (0, DATA[:came]))
        sink.over = True

    async def test_truncated(self) -> None:
        await self._cut("truncated", "connection lost at byte 100000", 100_000)

    async def test_chunks_that_do_not_end(self) -> None:
        """All bytes came: where the length is known that is enough."""
        await self.fetch(self.source("chunked-cut"), 0, END)
        found = await self.probed("chunked-cut")
        sink = Sink()
        await self.fails(found.lane.serve_all(sink), SourceError, f"connection lost at byte {END}")

    async def test_less_than_the_length(self) -> None:
        self.origin.data = DATA[:500_000]
        for scenario in ("no-length", "chunked"):
            await self._cut(scenario, f"answer ended at byte 500000, {END - 500_000} short", 500_000)


class VersionTests(HttpCase):
    """Bytes of two versions are never mixed, unless hashes judge them."""

    async def test_etag_changes(self) -> None:
        source = self.source("new-etag")
        await self.fetch(source, 0, 1000)
        words = 'changed on the server: ETag was "1", is "2"'
        await self.fails(self.fetch(source, 1000, 2000, Sink(over=True)), SourceChanged, words)

    async def test_last_modified_changes(self) -> None:
        source = self.source("new-date")
        await self.fetch(source, 0, 1000)
        words = "changed on the server: Last-Modified was Mon, 01 Jan 2024 00:00:01 GMT"
        await self.fails(self.fetch(source, 1000, 2000, Sink(over=True)), SourceChanged, words)

    async def test_another_version_than_the_one_begun_with(self) -> None:
        source = self.source("honest", version=Version('"zero"', LAST_MODIFIED))
        await self.fails(self.fetch(source, 0, 1000, Sink(over=True)), SourceChanged, 'ETag was "zero", is "one"')

    async def test_a_server_that_ignores_ranges_changes(self) -> None:
        source = self.source("ignored")
        await self.fetch(source, 1000, 2000)
        self.origin.etag = '"two"'
        await self.fetch(source, 2000, 3000)
        await self.fails(self.fetch(source, 0, 1000, Sink(over=True)), SourceChanged, 'ETag was "one", is "two"')

    async def test_it_becomes_shorter(self) -> None:
        source = self.source("shrunk")
        await self.fetch(source, 0, 1000)
        words = f"has 1000 bytes where {END} are expected"
        await self.fails(self.fetch(source, 1000, 2000, Sink(over=True)), SourceChanged, words)
