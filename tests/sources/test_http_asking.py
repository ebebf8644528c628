"""Does an HTTP source follow redirects that expire, ask on conditions, and take a no for what it is?"""

from p2sp.schedule.spans import Span
from p2sp.sources.http import HttpSource
from p2sp.sources.http_asking import MAX_REDIRECTS_KEPT, REDIRECT_IDLE, Asker
from p2sp.sources.http_hosts import RANGE_AGAIN, Host
from p2sp.sources.http_probe import ServerBusy
from p2sp.sources.interfaces import SourceChanged, SourceError, SourceRefused
from tests.sources.http_case import DATA, HttpCase, Sink, reactor

END = len(DATA)


class RedirectTests(HttpCase):
    """The end of a redirect is remembered as long as it is of use."""

    def _paths(self) -> list[str]:
        return ["/".join(hit.path.split("/")[1:]) for hit in self.origin.hits]

    async def test_the_original_is_asked_once(self) -> None:
        self.origin.target = self.url("signed", "1")
        source = self.source("redirect")
        for start in (0, 100_000, 200_000):
            await self.fetch(source, start, start + 1000)
        self.assertEqual(self._paths(), ["redirect/x.bin", "signed/1", "signed/1", "signed/1"])

    async def test_what_the_probe_was_led_to_is_used(self) -> None:
        self.origin.target = self.url("signed", "1")
        found = await self.probed("redirect")
        source = self.source("redirect", found=found)
        await self.fetch(source, 100_000, 101_000)
        self.assertEqual(self._paths(), ["redirect/x.bin", "signed/1", "signed/1"])

    async def test_a_redirect_that_expired_is_asked_for_again(self) -> None:
        self.origin.target = self.url("signed", "1")
        source = self.source("redirect")
        await self.fetch(source, 0, 1000)
        self.origin.target = self.url("signed", "2")
        await self.fetch(source, 1000, 2000)
        self.assertEqual(self._paths()[2:], ["signed/1", "redirect/x.bin", "signed/2"])

    async def test_after_a_rest_the_original_is_asked(self) -> None:
        self.origin.target = self.url("signed", "1")
        source = self.source("redirect")
        await self.fetch(source, 0, 1000)
        source._asker._finals = {
            url: (final, used - REDIRECT_IDLE) for url, (final, used) in source._asker._finals.items()
        }
        await self.fetch(source, 1000, 2000)
        self.assertEqual(self._paths()[2:], ["redirect/x.bin", "signed/1"])

    async def test_a_server_behind_the_redirect_that_is_gone(self) -> None:
        self.origin.target = self.url("signed", "1")
        source = self.source("redirect")
        await self.fetch(source, 0, 1000)
        source._asker.learn(source.url, "http://127.0.0.1:9/nobody")
        await self.error_of(source.fetch(Span(1000, 2000), Sink()), SourceError)
        await self.fetch(source, 1000, 2000)

    def test_only_so_many_are_kept(self) -> None:
        asker = Asker(reactor, "x", Host())
        for number in range(MAX_REDIRECTS_KEPT + 3):
            asker.learn(f"http://a/{number}", f"http://b/{number}")
        self.assertEqual(len(asker._finals), MAX_REDIRECTS_KEPT)


class ConditionTests(HttpCase):
    """If-Range is sent where a server has shown parts, and given up where it only does harm."""

    async def test_parts_are_asked_for_on_the_condition_of_the_same_version(self) -> None:
        source = self.source("honest")
        await self.fetch(source, 0, 1000)
        await self.fetch(source, 5000, 6000)
        self.assertEqual([hit.fields.get("if-range") for hit in self.origin.hits], [None, '"one"'])
        self.origin.etag = '"two"'
        await self.fails(self.fetch(source, 0, 1000, Sink(over=True)), SourceChanged, 'ETag was "one", is "two"')

    async def test_a_server_that_drops_the_range_of_every_condition(self) -> None:
        source = self.source("no-if-range")
        for start in (0, 100_000, 200_000):
            await self.fetch(source, start, start + 1000)
        asked = [(hit.range, "if-range" in hit.fields) for hit in self.origin.hits]
        self.assertEqual(
            asked,
            [
                ("bytes=0-999", False),
                ("bytes=100000-100999", True),
                ("bytes=100000-100999", False),
                ("bytes=200000-200999", False),
            ],
        )
        self.assertEqual(source.slots, 2)

    async def test_a_server_that_ignored_ranges_is_asked_again_later(self) -> None:
        source = self.source("fickle")
        self.origin.busy = 1
        await self.fetch(source, 1000, 2000)
        self.assertTrue(source.in_row)
        source._ignored_at -= RANGE_AGAIN
        self.assertEqual(self.origin.hits[-1].range, "bytes=1000-1999")
        await self.fetch(source, 0, 1000)
        self.assertFalse(source.in_row)
        self.assertEqual(source.slots, 2)

    async def test_a_server_known_to_ignore_ranges_is_asked_for_one_all_the_same(self) -> None:
        source = HttpSource(self.connect(), self.url("honest"), self.content, in_row=True)
        self.addCleanup(source.close)
        self.assertEqual((source.in_row, source.slots), (True, 1))
        await self.fetch(source, 0, 1000)
        self.assertEqual(self.origin.hits[-1].range, "bytes=0-999")
        self.assertEqual((source.in_row, source.slots), (False, 2))

    async def test_a_server_known_to_ignore_ranges_does_so_still(self) -> None:
        source = HttpSource(self.connect(), self.url("ignored"), self.content, in_row=True)
        self.addCleanup(source.close)
        await self.fetch(source, 0, 1000)
        await self.fetch(source, 1000, 2000)
        self.assertEqual((source.in_row, source.slots, len(self.origin.hits)), (True, 1, 1))


class RefusalTests(HttpCase):
    """A no is for the host, and for a time."""

    async def test_a_range_refused_though_it_is_there(self) -> None:
        source = self.source("moody")
        await self.fetch(source, 0, 1000)
        self.origin.busy = 1
        await self.fails(self.fetch(source, 1000, 2000, Sink(over=True)), ServerBusy, "though the file is as it was")
        await self.fetch(source, 1000, 2000)

    async def test_a_range_refused_because_the_file_is_another(self) -> None:
        source = self.source("moody")
        await self.fetch(source, 0, 1000)
        self.origin.busy, self.origin.etag = 1, '"two"'
        await self.fails(self.fetch(source, 1000, 2000, Sink(over=True)), SourceChanged, 'ETag was "one", is "two"')

    async def test_all_urls_of_a_host_wait_when_it_says_so(self) -> None:
        connect = self.connect()
        source = self.source("honest", hosts=connect.hosts)
        other = HttpSource(connect, self.url("status", "429/30"), self.content)
        self.addCleanup(other.close)
        await self.fetch(source, 0, 1000)
        self.assertEqual(source.slots, 2)
        error = await self.error_of(other.fetch(Span(0, 1000), Sink()), SourceRefused)
        self.assertEqual(error.retry_after, 30.0)
        self.assertEqual((source.slots, other.slots), (0, 0))
        self.assertEqual(other._host.busy, 0)

    async def test_a_refusal_of_another_kind_is_not_for_the_host(self) -> None:
        source = self.source("status/500")
        await self.error_of(source.fetch(Span(0, 1000), Sink()), SourceRefused)
        self.assertFalse(source._host.refusing)
        self.assertEqual(source.slots, 1)
