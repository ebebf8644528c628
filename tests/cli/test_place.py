"""Is a name found that takes nobody's place, and does a file look as old as it is?"""

from itertools import islice
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from p2sp.cli.place import candidates, free_name, open_somewhere, set_time
from p2sp.resource.verification import Content, undescribed
from p2sp.storage.disk import DiskStore
from p2sp.storage.interfaces import AlreadyExists, Changed, Locked, StorageError, Validators
from p2sp.storage.pool import InlinePool

CLOCK = Clock()


class PlaceTests(SynchronousTestCase):
    """Stores in a folder of the test's own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "x.tar.gz"
        self.pool = InlinePool()
        self.content = self.named("http://h/x.tar.gz")

    def named(self, url: str) -> Content:
        return undescribed(url, "x.tar.gz", 100_000)

    def opening(self, content: Content | None, *, rename: bool, etag: str) -> "Deferred[DiskStore]":
        opening = open_somewhere(
            self.path,
            content or self.content,
            self.pool,
            CLOCK,
            rename=rename,
            overwrite=False,
            fresh=False,
            validators=Validators("http://h/x.tar.gz", etag),
        )
        return Deferred.fromCoroutine(opening)

    def open(self, content: Content | None = None, *, rename: bool = True, etag: str = "") -> DiskStore:
        store: DiskStore = self.successResultOf(self.opening(content, rename=rename, etag=etag))
        self.addCleanup(store.close)
        return store

    def refused(
        self, kind: type[StorageError], content: Content | None = None, *, rename: bool = False, etag: str = ""
    ) -> None:
        self.failureResultOf(self.opening(content, rename=rename, etag=etag), kind)

    def begun(self, store: DiskStore) -> None:
        """One piece is there, and the run is over."""
        self.successResultOf(store.write(0, [bytes(100_000)], "http://h/"))
        self.successResultOf(store.close())

    def test_candidates(self) -> None:
        names = [path.name for path in islice(candidates(self.path), 3)]
        self.assertEqual(names, ["x.tar.gz", "x.tar.1.gz", "x.tar.2.gz"])
        self.assertEqual([path.name for path in islice(candidates(Path("plain")), 2)], ["plain", "plain.1"])

    def test_a_name_that_is_taken(self) -> None:
        self.path.write_bytes(b"mine")
        (self.folder / "x.tar.1.gz.part").write_bytes(b"somebody else's")
        self.refused(AlreadyExists)
        self.assertEqual(self.open().path.name, "x.tar.2.gz")
        self.assertEqual(free_name(self.path).name, "x.tar.3.gz", "the second is on its way")
        self.assertEqual(self.path.read_bytes(), b"mine")

    def test_two_of_one_name_at_once(self) -> None:
        first = self.open()
        self.assertEqual((first.path, self.open().path.name), (self.path, "x.tar.1.gz"))
        self.refused(Locked)

    def test_gone_on_with_under_the_later_name(self) -> None:
        self.path.write_bytes(b"mine")
        self.begun(self.open())
        again = self.open()
        self.assertEqual((again.path.name, again.bytes_verified), ("x.tar.1.gz", 100_000))

    def test_another_download_of_that_name(self) -> None:
        self.begun(self.open(etag="1"))
        other = self.named("http://other/x.tar.gz")
        self.refused(Changed, other)
        self.assertEqual(self.open(other).path.name, "x.tar.1.gz")
        # The same one, changed on its server, is for the user to decide on.
        self.refused(Changed, rename=True, etag="2")

    def test_times(self) -> None:
        self.path.write_bytes(b"")
        set_time(self.path, "Fri, 14 Jul 2017 02:40:00 GMT")
        self.assertEqual(self.path.stat().st_mtime, 1_500_000_000)
        for nothing in ("", "yesterday", "Fri, 14 Jul 99999 02:40:00 GMT"):
            set_time(self.path, nothing)
        set_time(self.folder / "none", "Fri, 14 Jul 2017 02:40:00 GMT")
        self.assertEqual(self.path.stat().st_mtime, 1_500_000_000)
