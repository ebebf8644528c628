"""Do nodes of one network feed each other although no tracker knows them?"""

import socket
from random import Random
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater

from p2sp.download.node import Node
from p2sp.net.lan import Lan
from p2sp.schedule.spans import Kind
from tests.download.nodes import DATA, DESCRIPTOR, HOST, NodeCase
from tests.wire.test_clear_text import DATA as PRIVATE_DATA
from tests.wire.test_clear_text import PRIVATE

reactor: Any = installed_reactor


class OnOneNetwork(NodeCase):
    """Nodes on loopback that call out on a port of this test's own."""

    def setUp(self) -> None:
        super().setUp()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
            some.bind((HOST, 0))
            self.port = some.getsockname()[1]

    def calling(self, number: int, **options: Any) -> Node:
        """A node whose calls nobody hears but those of this test."""
        node = self.node(**options)
        # In place of the one that it would make by itself.
        node.lan = lan = Lan(
            reactor, node.identity.node_id, HOST, lambda: node.port, Random(number), multicast_port=self.port
        )
        lan.start()
        self.addCleanup(lan.stop)
        return node

    async def test_a_download_finds_its_seed(self) -> None:
        await self.seeding(node=self.calling(1))
        leech = self.leech(node=self.calling(2))
        await leech.download()
        assert leech.store is not None
        self.assertTrue(leech.store.complete)
        (account,) = leech.report.accounts.values()
        self.assertEqual((account.kind, account.local, account.bytes), (Kind.PEER, True, len(DATA)))

    async def test_a_seed_that_comes_later_is_found(self) -> None:
        leech = self.leech(node=self.calling(2))
        downloading = leech.download()
        await deferLater(reactor, 0.05)
        self.assertFalse(downloading.called)
        await self.seeding(node=self.calling(1))
        await downloading

    async def test_what_is_private_is_not_called_out(self) -> None:
        seed = await self.seeding(PRIVATE, PRIVATE_DATA, node=self.calling(1))
        node = self.calling(2)
        assert node.lan is not None
        node.lan.watch(PRIVATE.handshake_hash, lambda *found: self.fail(f"{found} was called out"))
        # Something that is called out after it.
        heard: list[tuple[str, str, int]] = []
        node.lan.watch(DESCRIPTOR.handshake_hash, lambda *found: heard.append(found))
        await self.seeding(node=seed.node)
        await self.until(lambda: heard)

    async def test_who_leaves_calls_no_more(self) -> None:
        node = self.calling(1)
        seed = await self.seeding(node=node)
        await seed.stop()
        assert node.lan is not None
        self.assertEqual(node.lan.resources, 0)

    async def test_a_node_calls_out_only_where_it_listens(self) -> None:
        self.assertIsNone(self.node().lan)
        self.assertIsNone(self.node(listening=False, lan=True).lan)
