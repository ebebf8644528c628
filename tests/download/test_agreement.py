"""Are servers used together only when they are shown to hold the same bytes?"""

from random import Random
from time import time
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred

from p2sp.download.agreement import SAMPLE, Differs, NotCompared, agree, judge, sample_spans
from p2sp.download.node import Node
from p2sp.download.server_memory import ServerMemory
from p2sp.download.transfer import Transfer
from p2sp.net.identity import create_identity
from p2sp.resource.verification import undescribed
from p2sp.sources.http_agent import OddAnswer
from p2sp.sources.http_facts import Version
from p2sp.sources.http_lane import Deadlines
from p2sp.sources.http_probe import Probe
from p2sp.storage.memory import MemoryStore
from tests.hostile.origin import Origin, noise
from tests.sources.http_case import DATA, HttpCase, reactor


@attrs.frozen
class Said:
    """What a server says of a file."""

    length: int | None = 100
    version: Version = attrs.field(factory=Version)
    digests: dict[str, bytes] = attrs.field(factory=dict)


def test_what_is_said_may_be_enough() -> None:
    etag = Version('"a"')
    assert judge(Said(version=etag), Said(version=etag)) is True
    assert judge(Said(), Said()) is False
    assert judge(Said(version=etag), Said(version=Version('"b"'))) is False, "mirrors make up ETags of their own"
    dated = Version("", "Mon, 01 Jan 2024 00:00:00 GMT")
    assert judge(Said(version=dated), Said(version=dated)) is False, "a date alone shows nothing"
    one, two = {"sha256": b"1", "md5": b"m"}, {"sha256": b"2", "md5": b"m"}
    assert judge(Said(digests=one), Said(digests=dict(one))) is True
    assert judge(Said(version=etag, digests=one), Said(version=etag, digests=two)) == "its sha256 digest is another one"
    assert judge(Said(digests=one), Said()) is False
    assert judge(Said(version=etag), Said(99, etag)) == "it has 99 bytes, not 100"
    assert judge(Said(), Said(None)) == "it has an unknown number of bytes, not 100"


@given(st.integers(0, 10 * SAMPLE), st.integers())
def test_samples_lie_in_the_file_and_cover_both_ends(length: int, seed: int) -> None:
    spans = sample_spans(length, Random(seed))
    assert all(0 <= start < stop <= length and stop - start <= SAMPLE for start, stop in spans)
    if length:
        assert spans[0][0] == 0
        assert spans[-1][1] == length
    if length <= 4 * SAMPLE:
        assert sum(stop - start for start, stop in spans) == length
    else:
        assert 3 <= len(spans) <= 4


class TwoServers(HttpCase):
    """A second origin beside the first."""

    def setUp(self) -> None:
        super().setUp()
        self.second = Origin(reactor, self.data)
        self.second.etag = '"another"'
        port: Any = self.second.listen()
        self.addCleanup(port.stopListening)
        self.addCleanup(self._second_quiet)
        self.second_port = port.getHost().port

    async def _second_quiet(self) -> None:
        await self.until(lambda: not self.second.open)

    def other(self, scenario: str) -> str:
        return f"http://127.0.0.1:{self.second_port}/{scenario}/x.bin"


class AgreementTests(TwoServers):
    """Real servers, compared."""

    async def _agree(self, scenario: str = "honest") -> Probe:
        first = await self.probed("honest")
        other = await agree(self.connect(), first, self.other(scenario), Random(3))
        self.addCleanup(other.close)
        return other

    async def test_the_same_bytes(self) -> None:
        other = await self._agree()
        self.assertEqual((other.length, other.ranged), (len(DATA), True))
        self.assertEqual(len(self.second.hits), 5, "a probe and four samples")
        self.assertLess(self.second.sent - self.second.hits[0].sent, 4 * SAMPLE + 1)

    async def test_the_same_etag_needs_no_samples(self) -> None:
        self.second.etag = self.origin.etag
        await self._agree()
        self.assertEqual(len(self.second.hits), 1)

    async def test_other_bytes(self) -> None:
        for place in (0, len(DATA) - 1):
            self.second.data = DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :]
            await self.fails(self._agree(), Differs, "differ from those of")

    async def test_another_length(self) -> None:
        self.second.data = DATA[:-1]
        await self.fails(self._agree(), Differs, f"it has {len(DATA) - 1} bytes, not {len(DATA)}")

    async def test_a_server_that_cannot_be_compared(self) -> None:
        await self.fails(self._agree("ignored"), NotCompared, "nothing shows that it holds the same file")
        await self.fails(self._agree("shifted"), NotCompared, "nothing shows that it holds the same file")

    async def test_a_first_server_that_is_busy(self) -> None:
        self.origin.busy = 0
        first = await self.probed("flaky")
        self.origin.busy = 1
        work = Deferred.fromCoroutine(agree(self.connect(), first, self.other("honest"), Random(3)))
        error = await self.error_of(work, NotCompared)
        self.assertEqual((error.fatal, error.retry_after), (False, 0.0))
        self.assertIn("flaky/x.bin: HTTP 503", str(error))

    async def test_a_first_server_that_has_it_no_more(self) -> None:
        first = await self.probed("turning")
        self.origin.data = DATA[:-1]
        work = Deferred.fromCoroutine(agree(self.connect(), first, self.other("honest"), Random(3)))
        self.assertTrue((await self.error_of(work, NotCompared)).fatal)

    async def test_a_server_that_does_not_answer(self) -> None:
        await self.fails(self._agree("garbage"), OddAnswer, "garbage/x.bin: ")

    async def test_cancelled(self) -> None:
        first = await self.probed("honest")
        work = Deferred.fromCoroutine(agree(self.connect(), first, self.other("mute"), Random(3)))
        await self.until(lambda: bool(self.second.hits))
        work.cancel()
        await self.error_of(work, CancelledError)


class TogetherTests(TwoServers):
    """A download of content without hashes from what agrees."""

    data = noise(6 * 1024 * 1024)
    first = "honest"
    busy = 0

    def setUp(self) -> None:
        super().setUp()
        deadlines = Deadlines(connect=5.0, first_byte=5.0, silence=5.0)
        self.node = Node(reactor, create_identity(), rng=Random(1), address="127.0.0.1", deadlines=deadlines)
        self.node.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.node.stop()))

    async def _download(self, *unproven: str) -> Transfer:
        assert self.origin.rate is not None
        self.origin.busy = 0
        found = await self.probed(self.first)
        self.origin.busy = self.busy
        content = undescribed(found.url, "x", len(self.data))
        store = MemoryStore(content, self.node.pool)
        transfer = Transfer(self.node, content=content, store=store)
        self.addCleanup(lambda: Deferred.fromCoroutine(transfer.stop()))
        await transfer.download([found.url], found=found, version=found.version, unproven=unproven)
        self.assertEqual(await store.read(0, len(self.data)), self.data)
        return transfer

    async def test_both_are_used(self) -> None:
        self.origin.rate = self.second.rate = 2_000_000.0
        transfer = await self._download(self.other("honest"))
        self.assertGreater(transfer.report.accounts[self.other("honest")].bytes, 0)

    async def test_what_could_not_be_compared_is_looked_at_again(self) -> None:
        self.origin.rate = self.second.rate = 2_000_000.0
        # The first one's body is open, and nothing but the comparison asks it for more.
        self.node.connections = 1
        self.first, self.busy = "flaky", 1
        transfer = await self._download(self.other("honest"))
        account = transfer.report.accounts[self.other("honest")]
        self.assertIn("nothing shows that it holds the same file", account.notes[0])
        self.assertGreater(account.bytes, 0)

    async def test_what_differs_is_left_out_and_named(self) -> None:
        self.origin.rate = 4_000_000.0
        self.second.data = noise(len(self.data), seed=9)
        transfer = await self._download(self.other("honest"))
        account = transfer.report.accounts[self.other("honest")]
        self.assertEqual(account.bytes, 0)
        self.assertIn("differ from those of", account.notes[0])

    async def test_when_the_file_is_there_nobody_is_compared_any_more(self) -> None:
        self.origin.rate = 8_000_000.0
        transfer = await self._download(self.other("mute"))
        self.assertEqual(transfer.report.received, len(self.data))

    async def test_what_servers_did_is_remembered(self) -> None:
        self.node.memory = memory = ServerMemory()
        self.origin.rate = self.second.rate = 2_000_000.0
        await self._download(self.other("honest"), self.other("status/404"))
        for url in (self.url("honest"), self.other("honest")):
            self.assertGreater(memory.rate(url, time()), 100_000.0)
