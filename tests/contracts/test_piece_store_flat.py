"""Does every store keep its promises too where pieces are judged by their bytes, as a Metalink has it?"""

from typing import TYPE_CHECKING

from twisted.trial.unittest import TestCase

from p2sp.resource.merkle import BLOCK
from p2sp.resource.verification import Verified
from p2sp.storage.interfaces import StorageError, Verdict
from p2sp.storage.pool import InlinePool
from tests.contracts.test_piece_store import Inline, InMemory, OnDisk, OnThreads, bad, good
from tests.storage.kit import PIECE, Sample, noise, sample_flat, spoiled

if TYPE_CHECKING:
    from tests.contracts.test_piece_store import PieceStoreContract as _Base
else:
    _Base = object


class Flat(_Base):
    """The same contract over flat digests of pieces."""

    def file(self, data: bytes, name: str = "file.bin", piece_length: int = PIECE) -> Sample:
        return sample_flat(data, name, piece_length)

    async def test_what_it_may_call_itself(self) -> None:
        self.assertIs(self.file(b"x").content.verification.strength, Verified.PIECES)

    async def test_a_piece_under_judgement_takes_nothing_more(self) -> None:
        sample = self.file(noise(2 * PIECE))
        store = await self.store(sample)
        if isinstance(self.pool, InlinePool):
            self.pool.held = True
        writing = store.write(0, [spoiled(sample.piece(0))], "liar")
        self.assertEqual(self.successResultOf(store.write(0, [sample.piece(0)], "late")), [])
        if isinstance(self.pool, InlinePool):
            self.pool.held = False
            self.pool.release()
        self.assertEqual(await writing, bad(0, "liar"))
        self.assertEqual(await store.write(0, [sample.piece(0)], "s"), good(0, "liar"))


class FlatMemoryStoreOnThreadsTests(Flat, OnThreads, InMemory, TestCase):
    """In memory, judged in threads."""


class FlatMemoryStoreInlineTests(Flat, Inline, InMemory, TestCase):
    """In memory, judged at once."""


class FlatDiskStoreOnThreadsTests(Flat, OnThreads, OnDisk, TestCase):
    """On disk, judged in threads."""


class FlatDiskStoreInlineTests(Flat, Inline, OnDisk, TestCase):
    """On disk, judged at once."""

    async def test_what_cannot_be_read_back_is_free_again(self) -> None:
        sample = self.file(noise(2 * PIECE))
        store = await self.store(sample)
        medium = store._medium
        reading, medium.read = medium.read, _fails  # type: ignore[method-assign]
        # A piece that comes whole is judged as it passes; one that comes in two parts is read again.
        await store.write(0, [sample.at(0, BLOCK)], "s")
        await self.refuses(store.write(BLOCK, [sample.at(BLOCK, PIECE)], "s"), "no luck")
        medium.read = reading  # type: ignore[method-assign]
        self.assertEqual(await store.write(0, [sample.piece(0)], "s"), [Verdict(0, True, frozenset())])


def _fails(where: object) -> bytes:
    raise StorageError("no luck")
