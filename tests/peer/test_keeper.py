"""Does a peer daemon run what lies in its folder, all of it and nothing else?"""

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from p2sp.download.node import Node
from p2sp.peer.keeper import Keeper
from tests.download.nodes import (
    DATA,
    DESCRIPTOR,
    OTHER,
    OTHER_DATA,
    TREE,
    TREE_DATA,
    Heard,
    NodeCase,
    names,
)


class KeeperCase(NodeCase):
    """A keeper over an empty folder, and what it says."""

    def setUp(self) -> None:
        super().setUp()
        self.seed_folder = self.folder / "seed"
        self.seed_folder.mkdir()
        self.heard = Heard(self, "p2sp.peer")

    def keeper(self, node: Node | None = None, **options: Any) -> Keeper:
        keeper = Keeper(node or self.node(), self.seed_folder, **options)
        self.addCleanup(lambda: Deferred.fromCoroutine(keeper.stop()))
        return keeper

    def put(self, name: str, data: bytes) -> Path:
        path = self.seed_folder / name
        path.write_bytes(data)
        return path


class Keepers(KeeperCase):
    """What comes, stays and goes."""

    async def test_what_lies_there_whole_is_seeded(self) -> None:
        self.put("data", DATA)
        self.put("any-name.torrent", DESCRIPTOR.to_torrent())
        keeper = self.keeper()
        await keeper.scan()
        self.assertEqual(keeper.resources, 1)
        self.assertEqual(self.heard.lines, [f"seeding data, {DESCRIPTOR.resource_id.hex()}"])
        leech = self.leech()
        fetching = leech.download()
        node = keeper._node
        await leech.node.wire.dial(leech, "127.0.0.1", node.port, node.identity.node_id)
        await fetching
        self.assertEqual(await self.bytes_of(leech), DATA)

    async def test_what_is_missing_is_fetched_from_mirrors_and_seeded(self) -> None:
        _, urls = self.mirror((DESCRIPTOR, DATA))
        self.put("a.torrent", DESCRIPTOR.to_torrent(mirrors=[*urls.values()]))
        keeper = self.keeper()
        await keeper.scan()
        await self.until(lambda: "data is complete; seeding it" in self.heard)
        self.assertEqual((self.seed_folder / "data").read_bytes(), DATA)
        before = list(self.heard.lines)
        await keeper.scan()
        self.assertEqual((keeper.resources, self.heard.lines), (1, before))

    async def test_a_tree(self) -> None:
        at = 0
        (self.seed_folder / TREE.name).mkdir()
        for entry in TREE.files:
            self.put(f"{TREE.name}/{'/'.join(entry.path)}", TREE_DATA[at : at + entry.length])
            at += entry.length
        self.put("tree.torrent", TREE.to_torrent())
        keeper = self.keeper()
        await keeper.scan()
        self.assertTrue("seeding data, " in self.heard)

    async def test_what_is_taken_away_is_no_longer_shared(self) -> None:
        self.put("data", DATA)
        torrent = self.put("a.torrent", DESCRIPTOR.to_torrent())
        keeper = self.keeper()
        await keeper.scan()
        torrent.unlink()
        await keeper.scan()
        self.assertEqual(keeper.resources, 0)
        # It can come back: nothing of it was left behind.
        self.put("b.torrent", DESCRIPTOR.to_torrent())
        await keeper.scan()
        self.assertEqual(keeper.resources, 1)

    async def test_a_folder_that_is_gone_is_no_error(self) -> None:
        self.seed_folder.rmdir()
        keeper = self.keeper()
        await keeper.scan()
        self.assertEqual((keeper.resources, self.heard.lines), (0, []))


class Complaints(KeeperCase):
    """What cannot be seeded is named once, and harms nobody else."""

    async def test_each_once_with_its_reason(self) -> None:
        self.put("data", OTHER_DATA)
        self.put("a-wrong.torrent", DESCRIPTOR.to_torrent())
        self.put("b-junk.torrent", b"junk")
        self.put("c-half.torrent", b"d4:info" + DESCRIPTOR.info + b"e")
        (self.seed_folder / "d-folder.torrent").mkdir()
        (self.seed_folder / "e-nowhere.torrent").symlink_to("nowhere")
        self.put("f-good.torrent", OTHER.to_torrent())
        self.put("g-double.torrent", OTHER.to_torrent())
        keeper = self.keeper()
        await keeper.scan()
        await keeper.scan()
        self.assertEqual(keeper.resources, 1)
        wrong, junk, half, folder, good, double = self.heard.lines
        self.assertIn("a-wrong.torrent is not seeded: ", wrong)
        self.assertTrue(wrong.endswith("data is not what a-wrong.torrent describes"))
        self.assertIn("b-junk.torrent is not seeded: ", junk)
        self.assertTrue(half.endswith("c-half.torrent is not seeded: it has no piece layers"))
        self.assertIn("d-folder.torrent is not seeded: ", folder)
        self.assertTrue(good.startswith("seeding data"))
        self.assertTrue(double.endswith("g-double.torrent is not seeded: f-good.torrent describes the same resource"))
        self.assertEqual((self.seed_folder / "data").read_bytes(), OTHER_DATA)

    async def test_once_it_is_put_right_it_is_seeded(self) -> None:
        self.put("data", DATA)
        self.put("a.torrent", b"junk")
        keeper = self.keeper()
        await keeper.scan()
        self.assertEqual(keeper.resources, 0)
        self.put("a.torrent", DESCRIPTOR.to_torrent())
        await keeper.scan()
        self.assertEqual(keeper.resources, 1)

    async def test_a_fetch_that_fails_is_tried_again(self) -> None:
        """Nobody has it at first; later there is somebody."""
        self.put("a.torrent", DESCRIPTOR.to_torrent())
        keeper = self.keeper(retry=0.05)
        await keeper.scan()
        await self.until(lambda: "data could not be fetched: no source has 'data'; tried again in 0 s" in self.heard)
        await keeper.scan()
        node = keeper._node
        seed = await self.seeding()
        done = False
        while not done:
            await keeper.scan()
            if not seed.links:
                await seed.node.wire.dial(seed, "127.0.0.1", node.port, node.identity.node_id)
            await self.until(lambda: self.heard.lines[-1] != "fetching data")
            done = "is complete" in self.heard
        self.assertEqual((self.seed_folder / "data").read_bytes(), DATA)

    async def test_a_stop_in_the_middle_keeps_what_is_there(self) -> None:
        self.put("a.torrent", DESCRIPTOR.to_torrent())
        keeper = self.keeper()
        await keeper.scan()
        node = keeper._node
        seed = await self.seeding(node=self.node(max_upload=len(DATA) // 2))
        await seed.node.wire.dial(seed, "127.0.0.1", node.port, node.identity.node_id)
        await self.until(lambda: seed.report.uploaded > len(DATA) // 3)
        await keeper.stop()
        self.assertIn("data.part", names(self.seed_folder))
        self.assertNotIn("data", names(self.seed_folder))
