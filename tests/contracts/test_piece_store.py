"""Does every store of pieces keep what the interface promises?"""

import shutil
import tempfile
from collections.abc import Callable
from hashlib import sha1, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from p2sp.resource.merkle import BLOCK
from p2sp.resource.verification import Content
from p2sp.storage.disk import DiskStore, open_store
from p2sp.storage.interfaces import IPieceStore, StorageError, Verdict
from p2sp.storage.memory import MemoryStore
from p2sp.storage.pool import DiskPool, InlinePool, Pool
from tests.storage.kit import PIECE, Sample, noise, sample_file, sample_tree, sample_unknown, spoiled

if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object

Store = MemoryStore | DiskStore
LENGTH = 3 * PIECE + BLOCK + 5


def good(piece: int, *suspects: str) -> list[Verdict]:
    return [Verdict(piece, True, frozenset(suspects))]


def bad(piece: int, *suspects: str) -> list[Verdict]:
    return [Verdict(piece, False, frozenset(suspects))]


class PieceStoreContract(_Base):
    """The promises; subclasses say which store over which pool."""

    pool: Pool

    async def test_what_is_at_hand_is_what_would_be_read(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.filled(sample)
        for position, length in ((0, 100), (PIECE - 7, 20), (LENGTH - 3, 3), (5, PIECE)):
            there = store.at_hand(position, length)
            # Not every file system can tell what lies in memory.
            assert there in (None, await store.read(position, length))
        for position, length in ((-1, 5), (0, 0), (LENGTH - 3, 4)):
            assert store.at_hand(position, length) is None
        store.forget(1)
        assert store.at_hand(PIECE - 7, 20) is None
        await store.close()
        assert store.at_hand(0, 100) is None

    def file(self, data: bytes, name: str = "file.bin", piece_length: int = PIECE) -> Sample:
        """A content of one file whose pieces are judged as this contract's subclass says."""
        return sample_file(data, name, piece_length)

    async def opened(self, content: Content) -> Store:
        raise AssertionError("a subclass opens a store")

    async def store(self, sample: Sample) -> Store:
        store = await self.opened(sample.content)
        self.addCleanup(store.close)
        return store

    async def filled(self, sample: Sample) -> Store:
        store = await self.store(sample)
        for piece in range(sample.content.layout.piece_count):
            assert await store.write(sample.start(piece), [sample.piece(piece)], "s") == good(piece)
        return store

    async def refuses(self, work: "Deferred[Any]", sentence: str = "") -> None:
        error = await self.assertFailure(work, StorageError)
        self.assertIn(sentence, str(error))

    async def test_it_is_one(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        verifyObject(IPieceStore, store)
        self.assertIs(store.content, sample.content)

    async def test_a_new_store_has_nothing(self) -> None:
        store = await self.store(self.file(noise(LENGTH)))
        self.assertEqual(list(store.verified()), [False] * 4)
        self.assertEqual((store.complete, store.bytes_verified, store.has(0)), (False, 0, False))
        self.assertEqual(store.remaining(), [(0, LENGTH)])
        self.assertFalse(store.has(-1) or store.has(4))

    async def test_pieces_become_verified_and_readable(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        live = store.verified()
        seen: list[int] = []
        store.on_verified(seen.append)
        self.assertEqual(await store.write(sample.start(2), [sample.piece(2)], "s"), good(2))
        self.assertEqual(await store.read(sample.start(2), PIECE), sample.piece(2))
        self.assertEqual(await store.read(sample.start(2) + 100, 7), sample.piece(2)[100:107])
        self.assertEqual(list(live), [False, False, True, False])
        self.assertEqual((store.bitfield(), store.bytes_verified, store.pieces_verified), (b"\x20", PIECE, 1))
        self.assertEqual(store.remaining(), [(0, 2 * PIECE), (3 * PIECE, LENGTH)])
        self.assertEqual(seen, [2])

    async def test_blocks_in_any_order_from_anybody(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        for block in (3, 0, 2):
            at = block * BLOCK
            self.assertEqual(await store.write(at, [sample.at(at, at + BLOCK)], f"s{block}"), [])
            self.assertFalse(store.has(0))
        self.assertEqual(await store.write(BLOCK, [sample.at(BLOCK, 2 * BLOCK)], "s1"), good(0))
        self.assertEqual(await store.read(0, PIECE), sample.piece(0))

    async def test_the_short_last_block(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        start = sample.start(3)
        self.assertEqual(await store.write(start + BLOCK, [sample.at(start + BLOCK, LENGTH)], "s"), [])
        self.assertEqual(await store.write(start, [sample.at(start, start + BLOCK)], "s"), good(3))
        self.assertEqual(await store.read(start, BLOCK + 5), sample.piece(3))

    async def test_buffers_are_cut_anyhow(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        data = sample.piece(1)
        buffers = [data[:1], b"", data[1:50_000], data[50_000:]]
        writing = store.write(sample.start(1), buffers, "s")
        buffers.clear()
        self.assertEqual(await writing, good(1))

    async def test_nothing_to_write(self) -> None:
        store = await self.store(self.file(noise(LENGTH)))
        self.assertEqual(await store.write(0, [], "s"), [])
        self.assertEqual(await store.write(0, [b"", b""], "s"), [])

    async def test_what_is_no_run_of_blocks_of_one_piece_is_refused(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        for position, length in (
            (1, BLOCK),
            (0, BLOCK + 1),
            (0, BLOCK - 1),
            (0, PIECE + BLOCK),
            (3 * PIECE, 2 * BLOCK),
            (3 * PIECE, 2 * PIECE),
        ):
            await self.refuses(store.write(position, [bytes(length)], "s"), "not whole blocks")
        for position in (-BLOCK, 4 * PIECE, 1 << 50):
            await self.refuses(store.write(position, [bytes(BLOCK)], "s"), "nothing is kept")
        self.assertEqual(store.remaining(), [(0, LENGTH)])

    async def test_a_bad_piece_is_free_again_and_all_givers_are_suspects(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        data = sample.piece(0)
        await store.write(0, [data[:BLOCK]], "honest")
        await store.write(BLOCK, [spoiled(data)[:BLOCK]], "liar")
        self.assertEqual(await store.write(2 * BLOCK, [data[2 * BLOCK :]], "other"), bad(0, "honest", "liar", "other"))
        self.assertFalse(store.has(0))
        await self.refuses(store.read(0, 1), "not verified")

    async def test_the_good_verdict_names_exactly_who_lied(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        data = sample.piece(0)
        for block, source in enumerate(["a", "liar", "a", "b"]):
            part = data[block * BLOCK : (block + 1) * BLOCK]
            verdicts = await store.write(block * BLOCK, [spoiled(part, 9) if source == "liar" else part], source)
        self.assertEqual(verdicts, bad(0, "a", "b", "liar"))
        second = spoiled(data, PIECE - 1)
        self.assertEqual(await store.write(0, [second], "late liar"), bad(0, "late liar"))
        self.assertEqual(await store.write(0, [data], "c"), good(0, "liar", "late liar"))
        self.assertEqual(await store.read(0, PIECE), data)

    async def test_blocks_given_twice_count_once_and_the_first_counts(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        data = sample.piece(0)
        await store.write(0, [data[: 2 * BLOCK]], "first")
        self.assertEqual(await store.write(BLOCK, [spoiled(data, 7)[: 2 * BLOCK]], "second"), [])
        verdicts = await store.write(2 * BLOCK, [data[2 * BLOCK :]], "third")
        self.assertEqual(verdicts, bad(0, "first", "second", "third"), "its second block was new, and bad")
        self.assertEqual(await store.write(0, [data], "first"), good(0, "second"))
        self.assertEqual(await store.write(0, [bytes(PIECE)], "fourth"), [])
        self.assertEqual(await store.read(0, PIECE), data)

    async def test_many_writes_at_once(self) -> None:
        sample = self.file(noise(8 * PIECE), piece_length=PIECE)
        store = await self.store(sample)
        order = sorted(range(0, 8 * PIECE, BLOCK), key=lambda at: sha1(str(at).encode()).digest())
        writes = [store.write(at, [sample.at(at, at + BLOCK)], source) for at in order for source in ("one", "another")]
        verdicts = [verdict for answer in await gatherResults(writes) for verdict in answer]
        self.assertEqual(sorted(verdict.piece for verdict in verdicts), list(range(8)))
        self.assertTrue(all(verdict.good for verdict in verdicts))
        self.assertTrue(store.complete)
        self.assertEqual(await store.read(0, 8 * PIECE), sample.files[0])

    async def test_a_run_of_several_pieces_is_read_at_once(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.filled(sample)
        self.assertEqual(await store.read(0, LENGTH), sample.files[0])
        self.assertEqual(await store.read(PIECE - 3, 6), sample.files[0][PIECE - 3 : PIECE + 3])
        for position, length in ((LENGTH, 1), (0, LENGTH + 1), (-1, 2), (0, 0), (5, -5)):
            await self.refuses(store.read(position, length), "not verified bytes of one file")

    async def test_an_empty_file_is_complete_from_the_start(self) -> None:
        store = await self.store(self.file(b""))
        self.assertTrue(store.complete)
        self.assertEqual((list(store.verified()), store.remaining(), store.bitfield()), ([], [], b""))
        self.assertEqual(await store.digest("sha256"), sha256().digest())
        await self.refuses(store.write(0, [bytes(BLOCK)], "s"))
        await store.finish()

    async def test_a_tree(self) -> None:
        sample = sample_tree({"a": noise(5), "b/empty": b"", "b/c/d": noise(PIECE + 1, 1), "e": noise(2 * PIECE, 2)})
        store = await self.store(sample)
        for piece in reversed(range(5)):
            self.assertEqual(await store.write(sample.start(piece), [sample.piece(piece)], "s"), good(piece))
        self.assertTrue(store.complete)
        self.assertEqual(await store.read(sample.start(1), PIECE + 1), noise(PIECE + 1, 1))
        self.assertEqual(await store.read(0, 5), noise(5))
        for position, length in ((0, 6), (0, PIECE), (2 * PIECE, PIECE)):
            await self.refuses(store.read(position, length), "of one file")
        await self.refuses(store.write(0, [bytes(BLOCK)], "s"), "not whole blocks")
        await self.refuses(store.digest("sha256"), "only a complete file")
        await store.finish()
        self.assertEqual(await store.read(sample.start(3), 2 * PIECE), noise(2 * PIECE, 2))

    async def test_forget(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.filled(sample)
        store.forget(1)
        store.forget(1)
        self.assertEqual((store.has(1), store.complete, store.bytes_verified), (False, False, LENGTH - PIECE))
        await self.refuses(store.read(PIECE, 1), "not verified")
        await self.refuses(store.read(0, LENGTH), "not verified")
        self.assertEqual(await store.write(PIECE, [spoiled(sample.piece(1))], "x"), bad(1, "x"))
        self.assertEqual(await store.write(PIECE, [sample.piece(1)], "s"), good(1, "x"))
        self.assertEqual(await store.read(0, LENGTH), sample.files[0])

    async def test_bytes_let_go_while_they_are_read_are_not_given_out(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.filled(sample)
        if isinstance(self.pool, InlinePool):
            self.pool.held = True
        reading = store.read(PIECE, PIECE)
        store.forget(1)
        if isinstance(self.pool, InlinePool):
            self.pool.release()
            self.pool.held = False
        await self.refuses(reading, "let go")

    async def test_watchers(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        seen: list[tuple[str, int]] = []
        stop = store.on_verified(lambda piece: seen.append(("a", piece)))

        def stumbles(piece: int) -> None:
            raise RuntimeError(str(piece))

        store.on_verified(stumbles)
        store.on_verified(lambda piece: seen.append(("b", piece)))
        self.assertEqual(await store.write(0, [sample.piece(0)], "s"), good(0))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        stop()
        stop()
        await store.write(sample.start(3), [sample.piece(3)], "s")
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual(seen, [("a", 0), ("b", 0), ("b", 3)])

    async def test_digest(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        await self.refuses(store.digest("sha256"), "only a complete file")
        await store.close()
        await self.refuses(store.digest("sha256"), "closed")
        store = await self.filled(sample_unknown(noise(LENGTH, 7)))
        self.assertEqual(await store.digest("sha256"), sha256(noise(LENGTH, 7)).digest())
        self.assertEqual(await store.digest("sha1"), sha1(noise(LENGTH, 7)).digest())
        await self.refuses(store.digest("rot13"), "unknown")
        await self.refuses(store.digest("shake_128"), "no fixed length")

    async def test_finish_wants_everything(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        await self.refuses(store.finish(), "complete")
        store = await self.filled(self.file(noise(LENGTH, 1), name="other"))
        where = await store.finish()
        self.assertTrue(where.endswith("other"))
        self.assertEqual(await store.finish(), where)
        self.assertEqual(await store.read(0, LENGTH), noise(LENGTH, 1))
        self.assertEqual(await store.digest("sha256"), sha256(noise(LENGTH, 1)).digest())

    async def test_a_closed_store_does_nothing_more(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.filled(sample)
        await store.close()
        await store.close()
        works: list[Callable[[], Deferred[Any]]] = [
            lambda: store.write(0, [sample.piece(0)], "s"),
            lambda: store.read(0, 1),
            lambda: store.digest("sha256"),
            store.finish,
        ]
        for work in works:
            await self.refuses(work())

    async def test_close_waits_for_what_is_under_way(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        writing = store.write(0, [sample.piece(0)], "s")
        await store.close()
        self.assertEqual(self.successResultOf(writing), good(0))

    async def test_a_cancelled_write_still_counts_and_frees_nothing_early(self) -> None:
        sample = self.file(noise(LENGTH))
        store = await self.store(sample)
        if isinstance(self.pool, InlinePool):
            self.pool.held = True
        writing = store.write(0, [spoiled(sample.piece(0))], "liar")
        writing.addErrback(lambda _: None)
        writing.cancel()
        again = store.write(0, [sample.piece(0)], "s")
        self.assertEqual(self.successResultOf(again), [], "the bytes under way are still under way")
        if isinstance(self.pool, InlinePool):
            self.pool.held = False
            self.pool.release()
        await store.close()
        self.assertFalse(store.has(0))


class OnThreads(_Base):
    pool: Pool

    def setUp(self) -> None:
        pool = DiskPool(installed)  # type: ignore[arg-type]
        pool.start()
        self.addCleanup(pool.stop)
        self.pool = pool


class Inline(_Base):
    pool: Pool

    def setUp(self) -> None:
        self.pool = InlinePool()


class InMemory(PieceStoreContract):
    async def opened(self, content: Content) -> Store:
        return MemoryStore(content, self.pool)


class OnDisk(PieceStoreContract):
    async def opened(self, content: Content) -> Store:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        return await open_store(folder / content.name, content, self.pool, Clock())


class MemoryStoreOnThreadsTests(OnThreads, InMemory, TestCase):
    """In memory, hashed in threads."""


class MemoryStoreInlineTests(Inline, InMemory, TestCase):
    """In memory, hashed at once."""


class DiskStoreOnThreadsTests(OnThreads, OnDisk, TestCase):
    """On disk, written in threads."""


class DiskStoreInlineTests(Inline, OnDisk, TestCase):
    """On disk, written at once."""
