"""Do the links of a resource tell leaf hashes, know of each other, and end when they are of no more use?"""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from p2sp.resource.merkle import leaf_hashes
from p2sp.wire.link import CLOSE_SECONDS, PeerLink
from p2sp.wire.listener import TICK_SECONDS, PeerNetwork
from p2sp.wire.messages import Handshake, Hashes, HashRequest
from p2sp.wire.pex import INTERVAL, Neighbour, Neighbours
from p2sp.wire.quest import PATIENCE
from p2sp.wire.swarm import USELESS_SECONDS
from p2sp.wire.witnesses import Leaves
from tests.wire.network import HOST, NetworkTestCase, Share
from tests.wire.support import PIECE, empty_store, fill, full_store, make_resource

DESCRIPTOR, DATA = make_resource([6 * PIECE + 5000])
LEAVES = tuple(leaf_hashes(DATA[PIECE : 2 * PIECE]))


class Swarms(NetworkTestCase):
    """Nodes on real connections, in virtual time."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = self.time = Clock()

    async def stop_all(self) -> None:
        closing = [network.close() for network in self.networks]
        await self.turn(20)
        await self.pass_time(CLOSE_SECONDS + 1)
        await self.until(lambda: all(each.called for each in closing))
        self.assertEqual(self.time.getDelayedCalls(), [])

    def seed(self) -> tuple[PeerNetwork, Share]:
        network = self.node()
        share = Share(DESCRIPTOR.resource_id, DESCRIPTOR, full_store(DESCRIPTOR, DATA))
        network.share(share)
        return network, share

    def leech(self) -> tuple[PeerNetwork, Share]:
        network = self.node()
        share = Share(DESCRIPTOR.resource_id, DESCRIPTOR, empty_store(DESCRIPTOR))
        network.share(share)
        return network, share

    async def told(self, answer: "Deferred[Leaves]") -> Leaves:
        """What somebody tells, with time for it."""
        await self.until(lambda: answer.called)
        return await answer

    async def dialled(self, caller: PeerNetwork, share: Share, called: PeerNetwork) -> PeerLink:
        """A link that has joined, at both ends."""
        call = self.dial(caller, share, called)
        await self.until(lambda: call.called)
        return await call

    async def test_leaf_hashes_are_asked_for_and_told(self) -> None:
        seed, _ = self.seed()
        leech, leeching = self.leech()
        link = await self.dialled(leech, leeching, seed)
        await self.until(lambda: link.session.pieces.full)
        self.assertEqual(await self.told(leech.leaves(leeching, 1)), LEAVES)
        both = [leech.leaves(leeching, 1), leech.leaves(leeching, 1)]
        self.assertEqual([await self.told(each) for each in both], [LEAVES, LEAVES])

    async def test_nobody_can_tell(self) -> None:
        leech, leeching = self.leech()
        self.assertIsNone(await self.told(leech.leaves(leeching, 1)))
        other, othering = self.leech()
        await self.dialled(leech, leeching, other)
        self.assertIsNone(await self.told(leech.leaves(leeching, 1)))
        waiting = leech.leaves(leeching, 1)
        leaving = leech.unshare(leeching)
        self.assertIsNone(await self.told(waiting))
        await self.until(lambda: leaving.called)
        self.assertEqual(othering.store.bytes_verified if othering.store else None, 0)

    async def test_a_piece_let_go_has_no_leaves_to_tell(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech()
        link = await self.dialled(leech, leeching, seed)
        await self.until(lambda: link.session.pieces.full)
        assert seeding.store is not None
        seeding.store.forget(1)
        self.assertIsNone(await self.told(leech.leaves(leeching, 1)))
        await self.until(lambda: 1 not in link.session.pieces)
        self.assertEqual(seeding.reasons, [])

    async def test_another_is_asked_when_one_is_silent_or_lies(self) -> None:
        leech, leeching = self.leech()
        liars = [await self.stranger(leech) for _ in range(2)]
        for liar in liars:
            liar.behave(DESCRIPTOR, range(DESCRIPTOR.layout.piece_count))
        await self.until(lambda: len(leeching.links) == 2)
        told = leech.leaves(leeching, 1)
        await self.until(lambda: all(any(isinstance(e, HashRequest) for e in liar.events) for liar in liars))
        seed, seeding = self.seed()
        link = await self.dialled(leech, leeching, seed)
        await self.until(lambda: link.session.pieces.full)
        lie = next(event for event in liars[0].events if isinstance(event, HashRequest))
        fields = (lie.root, lie.base, lie.index, lie.length, lie.proof)
        liars[0].say(Hashes(*fields, bytes(32 * lie.length)))
        self.assertEqual(await self.told(told), LEAVES)
        self.assertIn("not the leaves of piece 1", await self.reason(leeching))
        # The silent one may answer late, rightly or not: nobody asks any more.
        liars[1].say(Hashes(*fields, bytes(32 * lie.length)))
        await self.turn(10)
        self.assertEqual((len(leeching.reasons), seeding.reasons), (1, []))

    async def reason(self, share: Share) -> str:
        await self.until(lambda: share.reasons)
        return share.reasons[0]

    async def test_hashes_that_nobody_asked_for_end_the_link(self) -> None:
        leech, leeching = self.leech()
        liar = await self.stranger(leech)
        liar.greet(DESCRIPTOR.handshake_hash)
        await self.until(lambda: leeching.links)
        liar.say(Hashes(DESCRIPTOR.files[0].pieces_root or b"", 0, 4, 4, 0, b"".join(LEAVES)))
        self.assertIn("Hashes that was not requested", await self.reason(leeching))

    async def test_silence_is_waited_for_only_so_long(self) -> None:
        leech, leeching = self.leech()
        mute = await self.stranger(leech)
        mute.greet(DESCRIPTOR.handshake_hash)
        await self.until(lambda: leeching.links and leeching.links[0].session.pieces.full)
        told = leech.leaves(leeching, 1)
        await self.turn(5)
        self.assertFalse(told.called)
        await self.pass_time(PATIENCE + TICK_SECONDS)
        self.assertIsNone(await self.told(told))

    async def test_two_that_have_everything_part_after_a_while(self) -> None:
        seed, seeding = self.seed()
        leech, leeching = self.leech()
        link = await self.dialled(leech, leeching, seed)
        await self.until(lambda: link.session.pieces.full)
        await self.pass_time(USELESS_SECONDS + TICK_SECONDS + 1)
        self.assertEqual(leeching.reasons, [])
        fill(leeching.store, DATA)  # type: ignore[arg-type]
        await self.pass_time(USELESS_SECONDS - 2)
        self.assertEqual(leeching.reasons, [])
        await self.pass_time(2 * TICK_SECONDS)
        self.assertIn("both sides have everything", {*leeching.reasons, *seeding.reasons})

    async def test_nodes_are_told_of_each_other(self) -> None:
        seed, _ = self.seed()
        shares = []
        nodes = []
        for _ in range(3):
            leech, leeching = self.leech()
            await self.dialled(leech, leeching, seed)
            nodes.append(leech)
            shares.append(leeching)
        await self.pass_time(TICK_SECONDS + 1)
        for node, share in zip(nodes, shares, strict=True):
            await self.until(lambda share=share: share.neighbours)  # type: ignore[misc]
            others = {Neighbour(HOST, other.port, other.node_id) for other in nodes if other is not node}
            self.assertEqual(set(share.neighbours), others)
        # Who joins later is news in the next minute, and only then.
        late, later = self.leech()
        await self.dialled(late, later, seed)
        await self.pass_time(TICK_SECONDS + 1)
        self.assertEqual(len(shares[0].neighbours), 2)
        await self.pass_time(INTERVAL + TICK_SECONDS)
        await self.until(lambda: len(shares[0].neighbours) == 3)
        self.assertEqual(shares[0].neighbours[-1], Neighbour(HOST, late.port, late.node_id))

    async def test_who_tells_too_often_is_not_listened_to(self) -> None:
        leech, leeching = self.leech()
        gossip = await self.stranger(leech)
        session = gossip.behave(DESCRIPTOR, [])
        await self.until(lambda: leeching.links and session.talks_of_others)
        for port in range(1, 6):
            session.tell_of_others(Neighbours((Neighbour(HOST, port, "ab" * 32),)), {})
            gossip.flush()
        await self.until(lambda: leeching.neighbours)
        await self.turn(10)
        self.assertEqual(leeching.neighbours, [Neighbour(HOST, 1, "ab" * 32)])

    async def test_who_waits_for_a_slot_is_allowed_a_few_pieces(self) -> None:
        seed = self.node(slots=1)
        seed.share(Share(DESCRIPTOR.resource_id, DESCRIPTOR, full_store(DESCRIPTOR, DATA)))
        links = []
        for _ in range(2):
            leech, leeching = self.leech()
            links.append(await self.dialled(leech, leeching, seed))
        await self.until(lambda: sum(not link.session.choked for link in links) == 1)
        waiting = next(link for link in links if link.session.choked)
        await self.until(lambda: waiting.session.allowed)
        source = await self.source(waiting)
        self.assertEqual((source.slots, source.hints_only), (1, True))
        self.assertIsInstance(waiting.session.remote, Handshake)
