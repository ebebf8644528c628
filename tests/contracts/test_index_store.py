"""Does every store of the resource index keep its promises?"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from p2sp.index.interfaces import Contradiction, IIndexStore, TooManyMirrors
from p2sp.index.publication import MAX_MIRRORS, Publication, examine
from p2sp.index.schema import FileView, PublishRequest
from p2sp.index.store import FILES_IN_LIST, MAX_FOUND, SqlIndexStore, metadata
from p2sp.index.urls import normal_url
from p2sp.ops.database import Database
from p2sp.resource.descriptor import Descriptor
from tests.index.resources import PIECE, single_file, tree

NOW = 1_800_000_000.0


def published(descriptor: Descriptor, *mirrors: str, sha256: str | None = None) -> Publication:
    return examine(PublishRequest(descriptor.to_torrent(), list(mirrors), sha256))


if TYPE_CHECKING:
    _Base = TestCase
else:
    _Base = object


class IndexStoreContract(_Base):
    """What holds for every store; a class for each back end says where it is."""

    url: str

    def setUp(self) -> None:
        self.store = self.open()

    def open(self) -> SqlIndexStore:
        database = Database(IReactorFromThreads(reactor), self.url, metadata)
        database.open()
        self.addCleanup(database.close)
        return SqlIndexStore(database)

    async def test_provides(self) -> None:
        assert verifyObject(IIndexStore, self.store)

    async def test_unknown(self) -> None:
        assert await self.store.resource("0" * 64) is None
        assert await self.store.torrent("0" * 64) is None
        assert await self.store.by_target("http://m.example/x") == []
        assert await self.store.by_digest("0" * 64) == []
        assert await self.store.by_root(5, "0" * 64) == []
        assert await self.store.listing(None, 10, None) == []
        assert await self.store.listing("0" * 64, 10, None) == []

    async def test_what_is_published_is_known(self) -> None:
        descriptor = single_file("a file.iso", 700_000)
        publication = published(descriptor, "http://m.example/one", "http://m.example/two", sha256="5" * 64)
        await self.store.publish(publication, NOW)
        view = await self.store.resource(publication.id)
        assert view is not None
        root = descriptor.files[0].pieces_root
        assert root is not None
        assert (view.id, view.name, view.length) == (publication.id, "a file.iso", 700_000)
        assert (view.piece_length, view.sha256, view.published) == (PIECE, "5" * 64, NOW)
        assert view.files == [FileView("a file.iso", 700_000, root.hex())]
        assert view.mirrors == ["http://m.example/one", "http://m.example/two"]
        assert view.magnet == str(descriptor.magnet())
        assert await self.store.by_digest("5" * 64) == [view]
        assert await self.store.by_root(700_000, root.hex()) == [view]
        assert await self.store.by_root(700_001, root.hex()) == []
        stored = await self.store.torrent(publication.id)
        assert stored is not None
        assert (stored.name, stored.torrent, stored.mirrors) == ("a file.iso", descriptor.to_torrent(), view.mirrors)

    async def test_again_adds_mirrors_and_changes_nothing_else(self) -> None:
        descriptor = single_file("again.iso", 700_000)
        await self.store.publish(published(descriptor, "http://m.example/1"), NOW)
        await self.store.publish(published(descriptor, "http://M.example:80/1#x", "http://m.example/2"), NOW + 5)
        view = await self.store.resource(descriptor.resource_id.hex())
        assert view is not None
        assert (view.mirrors, view.published) == (["http://m.example/1", "http://m.example/2"], NOW)

    async def test_a_digest_is_stated_once(self) -> None:
        descriptor = single_file("digest.iso", 700_000)
        await self.store.publish(published(descriptor), NOW)
        await self.store.publish(published(descriptor, sha256="1" * 64), NOW)
        await self.store.publish(published(descriptor, sha256="1" * 64), NOW)
        await self.store.publish(published(descriptor), NOW)
        with self.assertRaises(Contradiction) as caught:
            await self.store.publish(published(descriptor, "http://m.example/new", sha256="2" * 64), NOW)
        assert "1" * 64 in str(caught.exception)
        assert "2" * 64 in str(caught.exception)
        view = await self.store.resource(descriptor.resource_id.hex())
        assert view is not None
        assert (view.sha256, view.mirrors) == ("1" * 64, [])

    async def test_mirrors_are_bounded(self) -> None:
        descriptor = single_file("many.iso", 700_000)
        urls = [f"http://m{at}.example/f" for at in range(MAX_MIRRORS)]
        await self.store.publish(published(descriptor, *urls), NOW)
        await self.store.publish(published(descriptor, *urls), NOW)
        with self.assertRaises(TooManyMirrors):
            await self.store.publish(published(descriptor, "http://more.example/f"), NOW)
        stored = await self.store.torrent(descriptor.resource_id.hex())
        assert stored is not None
        assert stored.mirrors == urls

    async def test_by_target(self) -> None:
        lone, folder = single_file("a b.iso", 300_000), tree("set", [10, 300_000])
        await self.store.publish(published(lone, "http://m.example/pub/", "http://n.example/x?y=1"), NOW)
        await self.store.publish(published(folder, "http://m.example/sets/"), NOW)
        for url, found in {
            "http://m.example/pub/a%20b.iso": [lone],
            "HTTP://M.EXAMPLE:80/pub/a%20b.iso#frag": [lone],
            "http://n.example/x?y=1": [lone],
            "http://n.example/x": [],
            "http://m.example/pub/": [],
            "http://m.example/sets/set": [folder],
        }.items():
            views = await self.store.by_target(normal_url(url))
            assert [view.id for view in views] == [each.resource_id.hex() for each in found], url

    async def test_what_is_found_is_bounded_and_newest_first(self) -> None:
        same = "http://m.example/same"
        ids = []
        for seed in range(MAX_FOUND + 3):
            publication = published(single_file("same.bin", 1000, seed), same, sha256="7" * 64)
            ids.append(publication.id)
            await self.store.publish(publication, NOW + seed)
        newest = ids[::-1][:MAX_FOUND]
        assert [view.id for view in await self.store.by_target(same)] == newest
        assert [view.id for view in await self.store.by_digest("7" * 64)] == newest

    async def test_listing(self) -> None:
        ids = []
        for seed, name in enumerate(["one.iso", "100%_two.iso", "Three.bin", "four.iso"]):
            publication = published(single_file(name, 1000, seed))
            ids.append(publication.id)
            await self.store.publish(publication, NOW)
        first = [view.id for view in await self.store.listing(None, 3, None)]
        assert first == ids[:0:-1]
        assert [view.id for view in await self.store.listing(first[-1], 3, None)] == ids[:1]
        assert [view.name for view in await self.store.listing(None, 9, "ISO")] == [
            "four.iso",
            "100%_two.iso",
            "one.iso",
        ]
        assert [view.name for view in await self.store.listing(None, 9, "%")] == ["100%_two.iso"]

    async def test_names(self) -> None:
        known = {}
        for seed, name in enumerate(["one.iso", "\u202etwo", "three"]):
            publication = published(single_file(name, 1000, seed))
            known[publication.id] = name
            await self.store.publish(publication, NOW)
        assert await self.store.names([*known, "0" * 64]) == known
        assert await self.store.names([next(iter(known))]) == {next(iter(known)): "one.iso"}
        assert await self.store.names([]) == {}

    async def test_trees_show_their_first_files(self) -> None:
        descriptor = tree("many", [5] * (FILES_IN_LIST + 4))
        await self.store.publish(published(descriptor), NOW)
        view = await self.store.resource(descriptor.resource_id.hex())
        assert view is not None
        assert (len(view.files), view.file_count) == (FILES_IN_LIST + 4, FILES_IN_LIST + 4)
        (brief,) = await self.store.listing(None, 1, None)
        assert (len(brief.files), brief.file_count) == (FILES_IN_LIST, FILES_IN_LIST + 4)
        root = descriptor.files[0].pieces_root
        assert root is not None
        assert await self.store.by_root(5, root.hex()) == []


class MemoryTests(IndexStoreContract, TestCase):
    """SQLite in memory."""

    url = "sqlite://"


class FileTests(IndexStoreContract, TestCase):
    """SQLite in a file."""

    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.url = f"sqlite:///{Path(folder.name) / 'index.sqlite'}"
        super().setUp()

    async def test_outlives_the_process(self) -> None:
        descriptor = single_file("kept.iso", 700_000)
        await self.store.publish(published(descriptor, "http://m.example/k"), NOW)
        await self.store.database.close()
        self.store = self.open()
        view = await self.store.resource(descriptor.resource_id.hex())
        assert view is not None
        assert view.mirrors == ["http://m.example/k"]
