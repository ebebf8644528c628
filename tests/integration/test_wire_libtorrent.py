"""Do libtorrent and we exchange pieces in both directions, as if each were the other's own kind?"""

import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from p2sp.download.transfer import Transfer
from p2sp.resource.verification import described
from p2sp.schedule.spans import Kind
from p2sp.sources.interfaces import Candidate
from p2sp.storage.memory import MemoryStore
from tests.download.nodes import HOST, NodeCase
from tests.integration.processes import Process, free_port
from tests.wire.support import make_resource

pytestmark = pytest.mark.integration

PIECE = 16 * 1024
DESCRIPTOR, DATA = make_resource([600 * PIECE - 777], PIECE, seed=21)
RATE = 4_000_000.0


class WithLibtorrent(NodeCase):
    """Our nodes in this process, libtorrent in others."""

    timeout = 60

    async def libtorrent(
        self,
        *peers: int,
        magnet: bool = False,
        data: bytes | None = None,
        port: int = 0,
        max_upload: int = 0,
    ) -> "Foreign":
        """A libtorrent that has the resource (its `data`), or wants it and knows these ports."""
        port = port or free_port()
        folder = self.folder / f"libtorrent-{port}"
        folder.mkdir()
        torrent = folder / "it.torrent"
        torrent.write_bytes(DESCRIPTOR.to_torrent())
        if data is not None:
            (folder / DESCRIPTOR.name).write_bytes(data)
        what = str(DESCRIPTOR.magnet()) if magnet else str(torrent)
        command = [sys.executable, "-m", "tests.integration.libtorrent_child", what, "--listen", str(port)]
        command += ["--save", str(folder), "--max-upload", str(max_upload)]
        for peer in peers:
            command += ["--peer", f"{HOST}:{peer}"]
        foreign = Foreign(Process(command, Path.cwd()), port, folder / DESCRIPTOR.name)
        self.addCleanup(deferToThread, foreign.process.kill)
        return foreign

    async def says(self, foreign: "Foreign", text: str) -> None:
        """Wait until a libtorrent says something."""
        while text not in foreign.process.log:
            assert foreign.process.is_running, foreign.process.log
            await self.turns()

    async def turns(self) -> None:
        """Let the reactor turn for a while."""
        seen = iter([False, True])
        await self.until(lambda: next(seen, True))

    async def ours(self, **options: Any) -> Transfer:
        """A seed of ours that takes foreign clients."""
        return await self.seeding(DESCRIPTOR, DATA, node=self.node(clear_text=True, **options))

    async def wanting(self, *foreign: "Foreign", **options: Any) -> Transfer:
        """A download of ours to be, with a link to each of these."""
        leech = self.leech(DESCRIPTOR, node=self.node(clear_text=True, **options))
        leech.start()
        for each in foreign:
            leech.offer(Candidate(Kind.PEER, "", HOST, each.port))
        await self.until(lambda: leech.links >= len(foreign))
        return leech

    async def is_right(self, leech: Transfer) -> None:
        """A download of ours has the true bytes."""
        self.assertTrue(await self.bytes_of(leech) == DATA, "the bytes are wrong")

    async def finishes(self, foreign: "Foreign") -> None:
        """A download of theirs comes to its end, and has the true bytes."""
        await self.says(foreign, "complete")
        # It says so when all is verified; its last writes may still be under way.
        await self.until(lambda: foreign.path.read_bytes() == DATA)


class Foreign:
    """A libtorrent process: where it listens, and its file."""

    def __init__(self, process: Process, port: int, path: Path) -> None:
        self.process = process
        self.port = port
        self.path = path

    @property
    def label(self) -> str:
        """What we call it when we called it."""
        return f"peer {HOST}:{self.port}"


class Downloads(WithLibtorrent):
    """One seed, one that fetches."""

    async def test_libtorrent_fetches_from_us_by_magnet(self) -> None:
        """Info dict, piece layer of more than 512 hashes, and pieces, all from us."""
        seed = await self.ours()
        await self.finishes(await self.libtorrent(seed.node.port, magnet=True))
        self.assertGreaterEqual(seed.report.uploaded, len(DATA))

    async def test_we_fetch_from_libtorrent(self) -> None:
        theirs = await self.libtorrent(data=DATA)
        await self.says(theirs, "complete")
        leech = await self.wanting(theirs)
        await leech.download()
        await self.is_right(leech)
        self.assertEqual(leech.report.received, len(DATA))

    async def test_we_fetch_from_libtorrent_by_magnet(self) -> None:
        theirs = await self.libtorrent(data=DATA)
        await self.says(theirs, "complete")
        leech = self.stopped(Transfer(self.node(clear_text=True), resource_id=DESCRIPTOR.resource_id))
        finding = leech.find_descriptor(30.0)
        leech.offer(Candidate(Kind.PEER, "", HOST, theirs.port))
        found = await finding
        self.assertEqual(found.layers, DESCRIPTOR.layers)
        leech.use(described(found), MemoryStore(described(found), leech.node.pool))
        await leech.download()
        await self.is_right(leech)

    async def test_a_seed_that_is_not_called_calls(self) -> None:
        """libtorrent calls who downloads."""
        leech = await self.wanting()
        await self.libtorrent(leech.node.port, data=DATA)
        await self.until(lambda: leech.links)
        await leech.download()
        await self.is_right(leech)


class Swarms(WithLibtorrent):
    """Many, of both kinds."""

    async def test_three_of_ours_and_three_of_theirs(self) -> None:
        seed = await self.ours(max_upload=RATE)
        ports = [free_port() for _ in range(3)]
        theirs = [await self.libtorrent(seed.node.port, *ports[:at], port=port) for at, port in enumerate(ports)]
        for each in theirs:
            await self.says(each, "ready")
        leeches = [await self.wanting(*theirs) for _ in range(2)]
        for leech in leeches:
            await self.introduce(leech, seed)
        fetching = [leech.download() for leech in leeches]
        for leech, done in zip(leeches, fetching, strict=True):
            await done
            await self.is_right(leech)
        for each in theirs:
            await self.finishes(each)
        given = seed.report.uploaded / len(DATA)
        self.assertLess(given, 5, "nobody passed anything on")

    async def test_a_seed_of_theirs_that_disappears_at_nine_tenths(self) -> None:
        theirs = await self.libtorrent(data=DATA, max_upload=int(RATE))
        await self.says(theirs, "complete")
        leech = await self.wanting(theirs)
        await self.introduce(leech, await self.ours(max_upload=RATE / 4))
        fetching = leech.download()
        store = leech.store
        assert store is not None
        await self.until(lambda: store.bytes_verified >= 0.9 * len(DATA))
        self.assertFalse(store.complete)
        theirs.process.kill()
        await fetching
        await self.is_right(leech)

    async def test_a_web_seed_a_libtorrent_and_one_of_us_in_one_download(self) -> None:
        theirs = await self.libtorrent(data=DATA, max_upload=int(RATE))
        await self.says(theirs, "complete")
        cache, urls = self.mirror((DESCRIPTOR, DATA))
        await self.until(lambda: all(held.store.complete for held in cache.held.values()))
        seed = await self.ours(max_upload=RATE)
        leech = await self.wanting(theirs, max_download=2 * RATE)
        await self.introduce(leech, seed)
        await self.until(lambda: leech.links == 2)
        await leech.download([*urls.values()])
        await self.is_right(leech)
        given = {label: account.bytes for label, account in leech.report.accounts.items()}
        self.assertEqual(len([label for label, count in given.items() if count]), 3, given)
