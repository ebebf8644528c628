"""Is what an earlier run left behind gone on with only when the server still holds the same?"""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from p2sp.download.continuity import places, still_the_same
from p2sp.download.errors import DownloadError
from p2sp.download.report import ExitCode
from p2sp.resource.verification import undescribed
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import InlinePool
from tests.hostile.origin import noise
from tests.sources.http_case import HttpCase

LENGTH = 2 * 1024 * 1024 + 12_345
CONTENT = undescribed("x", "x", LENGTH)
LAYOUT = CONTENT.layout


@given(st.sets(st.integers(0, LAYOUT.piece_count - 1), min_size=1), st.integers())
def test_what_is_compared_is_there_and_holds_the_end(pieces: set[int], seed: int) -> None:
    chosen = places(LAYOUT, sorted(pieces), Random(seed))
    assert len(chosen) == min(len(pieces), 2)
    assert chosen[0][1] == LAYOUT.piece_end(max(pieces))
    for start, stop in chosen:
        assert 0 < stop - start <= 65536
        assert set(LAYOUT.pieces_in(start, stop)) <= pieces


class ContinuityTests(HttpCase):
    """A store with a part of the file, and a server."""

    data = noise(LENGTH)

    def setUp(self) -> None:
        super().setUp()
        self.origin.etag = self.origin.last_modified = ""
        self.store = MemoryStore(CONTENT, InlinePool())

    async def _keep(self, *pieces: int) -> None:
        for piece in pieces:
            start, stop = LAYOUT.piece_start(piece), LAYOUT.piece_end(piece)
            await self.store.write(start, [self.data[start:stop]], "earlier")

    async def _look(self, scenario: str = "honest") -> None:
        await still_the_same(self.connect(), await self.probed(scenario), self.store, Random(1))

    async def _changed(self, words: str, scenario: str = "honest") -> None:
        error = await self.error_of(Deferred.fromCoroutine(self._look(scenario)), DownloadError)
        self.assertEqual(error.code, ExitCode.CHANGED)
        self.assertIn(words, str(error))
        self.assertIn("--fresh", str(error))

    async def test_the_same(self) -> None:
        await self._keep(0, 1, 2)
        await self._look()
        self.assertEqual(len(self.origin.hits), 3, "a probe and two samples")

    async def test_nothing_to_compare(self) -> None:
        await self._look()
        self.assertEqual(len(self.origin.hits), 1)

    async def test_other_bytes_at_the_end_of_what_is_there(self) -> None:
        await self._keep(0, 1)
        at = LAYOUT.piece_end(1) - 1
        self.origin.data = self.data[:at] + bytes([self.data[at] ^ 1]) + self.data[at + 1 :]
        await self._changed("are others than an earlier run got")

    async def test_a_server_that_names_its_version_is_not_asked_for_what_is_there(self) -> None:
        self.origin.etag = '"one"'
        await self._keep(0, 1, 2)
        await self._look()
        self.assertEqual(len(self.origin.hits), 1)

    async def test_what_cannot_be_compared(self) -> None:
        await self._keep(1)
        await self._changed("names no version", "ignored")

    async def test_a_server_that_is_busy_has_not_changed(self) -> None:
        await self._keep(1)
        self.origin.busy = 0
        found = await self.probed("flaky")
        self.origin.busy = 1
        work = Deferred.fromCoroutine(still_the_same(self.connect(), found, self.store, Random(1)))
        error = await self.error_of(work, DownloadError)
        self.assertNotEqual(error.code, ExitCode.CHANGED)
        self.assertIn("HTTP 503", str(error))
