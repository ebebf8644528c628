"""Does a download end well, and is a reason told, whoever breaks the rules of links beside it?"""

from collections import Counter
from collections.abc import Sequence
from struct import pack

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from p2sp.download.transfer import Transfer
from p2sp.net.identity import create_identity
from p2sp.resource.descriptor import Descriptor
from p2sp.resource.merkle import BLOCK, HASH_SIZE
from p2sp.resource.verification import described
from p2sp.sources.interfaces import Candidate
from p2sp.storage.memory import MemoryStore
from p2sp.wire.codec import Decoder, encode
from p2sp.wire.errors import LinkLost, Why
from p2sp.wire.extensions import (
    METADATA,
    OURS,
    PEX,
    Abilities,
    MetadataPart,
    encode_abilities,
    encode_metadata,
)
from p2sp.wire.messages import (
    AllowedFast,
    Cancel,
    Extended,
    Hashes,
    HashReject,
    HashRequest,
    Have,
    HaveAll,
    Interested,
    Message,
    Piece,
    Reject,
    Request,
    Suggest,
)
from p2sp.wire.pex import Neighbour, Neighbours, encode_neighbours
from tests.download.nodes import HOST
from tests.wire.byzantine import DATA, DESCRIPTOR, Actor, Byzantine
from tests.wire.support import PIECE, make_resource

ROOT = DESCRIPTOR.files[0].pieces_root or b""
RULES: dict[str, tuple[bytes | Message, str]] = {
    "hashes nobody asked for": (Hashes(ROOT, 2, 0, 2, 0, bytes(64)), "Hashes that was not requested"),
    "a hash reject nobody asked for": (HashReject(ROOT, 2, 0, 2, 0), "HashReject that was not requested"),
    "metadata nobody asked for": (
        Extended(OURS[METADATA], encode_metadata(MetadataPart(0, len(DESCRIPTOR.info), DESCRIPTOR.info))),
        "MetadataPart 0 that was not requested",
    ),
    "a block nobody asked for": (Piece(1, 0, bytes(BLOCK)), "which was not requested"),
    "a reject nobody asked for": (Reject(1, 0, BLOCK), "which was not requested"),
    "a piece beyond the last": (Have(DESCRIPTOR.layout.piece_count), "Have"),
    "a suggestion beyond the last": (Suggest(1 << 31), "Suggest of piece"),
    "an allowance beyond the last": (AllowedFast(1 << 31), "AllowedFast of piece"),
    "a request beyond the piece": (Request(0, PIECE - 5, 10), "Request for 10 bytes"),
    "a request of two blocks": (Request(0, 0, 2 * BLOCK), "Request for 32768 bytes"),
    "everything said twice": (HaveAll(), "HaveAll is only allowed first"),
    "a frame of two gigabytes": (pack(">IB", 1 << 31, 7), "is larger than"),
    "a long extension message": (pack(">IB", 70_000, 20), "is larger than"),
    "a long unknown message": (pack(">IB", 20_000, 200), "is larger than"),
    "a choke of two bytes": (pack(">IBB", 2, 0, 0), "Choke of 2 bytes"),
    "half a hash": (pack(">IB", 1 + 48 + 40, 22) + bytes(48 + 40), "Hashes with a row"),
    "a handshake of extensions that is none": (Extended(0, b"li1ee"), "is no bencoded dictionary"),
    "metadata of nine megabytes": (Extended(0, b"d13:metadata_sizei9437184ee"), "metadata of 9437184 bytes"),
    "a bitfield in the wrong place": (pack(">IB", 1 + 9, 5) + bytes(9), "Bitfield is only allowed first"),
}


class Breaker(Actor):
    """Joins, breaks one rule, and says no more."""

    def __init__(self, wrong: bytes | Message) -> None:
        super().__init__()
        self._wrong = wrong

    def joined(self) -> None:
        self.flush()
        self.send(self._wrong if isinstance(self._wrong, bytes) else b"".join(map(bytes, encode(self._wrong))))


class Rules(Byzantine):
    """Every rule that is broken ends that link at once, and nothing else."""

    async def test_every_rule(self) -> None:
        slow = await self.honest(max_upload=PIECE)
        leech = self.wanting()
        await self.introduce(leech, slow)
        fetching = leech.download()
        for name, (wrong, reason) in RULES.items():
            del self.log.lines[:]
            actor = await self.calls(leech, Breaker(wrong))
            await self.until(lambda actor=actor: actor.ended)  # type: ignore[misc]
            await self.until(lambda label=actor.label: label in self.log)  # type: ignore[misc]
            ended = next(each for each in self.log.lines if f"link with {actor.label} ends" in each)
            self.assertIn(reason, ended, name)
        await self.until(lambda: leech.node.wire.endings[Why.BROKEN_RULE] == len(RULES))
        await self.introduce(leech, await self.honest())
        await fetching
        await self.is_right(leech)
        self.assertEqual(self.news, [])


class Asker(Actor):
    """Has nothing, says all of `questions` at once, and counts the answers."""

    def __init__(self, questions: Sequence[Message]) -> None:
        super().__init__()
        self.answers: Counter[type] = Counter()
        self._questions = questions
        self._decoder = Decoder()

    def have(self) -> range:
        return range(0)

    def joined(self) -> None:
        self.say(Interested(), *self._questions)

    def dataReceived(self, data: bytes) -> None:
        self.answers.update(type(message) for message in self._decoder.feed(data))
        if self.session.abilities is None:
            super().dataReceived(data)


class Floods(Byzantine):
    """Who asks for much gets an answer to each, and others their share."""

    async def flooded(self, questions: Sequence[Message], answers: int) -> Asker:
        """Have somebody flood a seed that somebody else downloads from."""
        seed = await self.honest()
        asker = Asker(questions)
        await self.calls(seed, asker)
        leech = self.wanting()
        await self.introduce(leech, seed)
        await leech.download()
        await self.is_right(leech)
        kinds = (Piece, Reject, Hashes, HashReject)
        await self.until(lambda: asker.ended or sum(asker.answers[kind] for kind in kinds) >= answers)
        self.assertFalse(asker.ended)
        self.assertEqual(sum(asker.answers[kind] for kind in kinds), answers)
        return asker

    async def test_of_requests(self) -> None:
        asker = await self.flooded([Request(0, begin, 100) for begin in range(20_000)], 20_000)
        self.assertGreater(asker.answers[Reject], 10_000)

    async def test_of_requests_taken_back(self) -> None:
        pairs = ((Request(0, begin, 100), Cancel(0, begin, 100)) for begin in range(5000))
        await self.flooded([each for pair in pairs for each in pair], 5000)

    async def test_of_questions_for_hashes(self) -> None:
        asker = await self.flooded([HashRequest(ROOT, 0, 0, 256, 0) for _ in range(3000)], 3000)
        self.assertGreater(asker.answers[HashReject], 1000)

    async def test_of_words_without_meaning(self) -> None:
        greetings = Extended(0, encode_abilities(Abilities({b"x%d" % n: 1 + n % 255 for n in range(90)})))
        words: list[Message] = [greetings, Have(1), Suggest(1), AllowedFast(2), Extended(99, b"x" * 1000)]
        words = words * 300 + [Extended(OURS[PEX], encode_neighbours(crowd(at))) for at in range(100)]
        await self.flooded([*words, Request(0, 0, 100)], 1)


def crowd(number: int) -> Neighbours:
    """A hundred nodes that are none."""
    nodes = (Neighbour(f"127.77.{number}.{at + 1}", 1, f"{number * 100 + at:064x}") for at in range(100))
    return Neighbours(tuple(nodes))


class Silent(Protocol):
    """Takes a connection and never says anything."""


class Other(Protocol):
    """Speaks something else."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class Calls(Byzantine):
    """Whoever is at the other end of a call that should not be, others bring the file."""

    async def beside(self, *candidates: Candidate, reason: str = "", ending: Why | None = None) -> None:
        """Call these while an honest seed gives a little, hear the reason, and let another seed give the rest."""
        leech = self.wanting()
        await self.introduce(leech, await self.honest(max_upload=PIECE))
        fetching = leech.download()
        for candidate in candidates:
            leech.offer(candidate)
        await self.until(lambda: reason in self.log)
        await self.until(lambda: ending is None or leech.node.wire.endings[ending])
        await self.introduce(leech, await self.honest())
        await fetching
        await self.is_right(leech)

    async def test_nobody_there_answers(self) -> None:
        await self.beside(self.listens(Silent, alpn=()), self.listens(Silent))

    async def test_somebody_who_speaks_something_else(self) -> None:
        await self.beside(self.listens(Other), reason="does not begin with a BitTorrent handshake")

    async def test_somebody_who_speaks_something_else_without_tls(self) -> None:
        await self.beside(self.listens(Other, alpn=()), ending=Why.NO_HANDSHAKE)

    async def test_a_wrong_key(self) -> None:
        other = self.listens(Actor)
        wrong = Candidate(other.kind, create_identity().node_id, other.host, other.port)
        await self.beside(wrong, reason=f"the node is not {wrong.node_id}", ending=Why.WRONG_KEY)

    async def test_a_wrong_application_protocol(self) -> None:
        await self.beside(self.listens(Actor, alpn=(b"h2",)), ending=Why.WRONG_PROTOCOL)

    async def test_half_open_connections_keep_nobody_from_calling(self) -> None:
        from twisted.internet import reactor

        leech = self.wanting()
        idle = []
        for number in range(90):
            endpoint = TCP4ClientEndpoint(reactor, HOST, leech.node.port, bindAddress=(f"127.0.0.{2 + number % 9}", 0))
            idle.append(await connectProtocol(endpoint, Silent()))
        await self.until(lambda: leech.node.wire.endings[Why.TOO_MANY])
        self.assertLessEqual(leech.node.wire.links, 64)
        seed = await self.honest()
        try:
            await self.introduce(seed, leech)
        except LinkLost:
            await self.introduce(leech, seed)
        await leech.download()
        await self.is_right(leech)
        for each in idle:
            each.transport.abortConnection()


class WrongInfo(Actor):
    """Gives an info dict of the announced size that is not the resource's."""

    def asked_metadata(self, part: int) -> None:
        true = self.library.part(part)
        assert true is not None
        self.session.give_metadata(part, bytes(len(true)))


class NoInfo(Actor):
    """Announces an info dict and refuses every part of it."""

    def asked_metadata(self, part: int) -> None:
        self.session.give_metadata(part, None)


class WrongLayers(Actor):
    """Gives hashes that lead nowhere."""

    def asked_hashes(self, request: HashRequest) -> None:
        self.session.give_hashes(request, bytes(request.length * HASH_SIZE))


class LongLayers(Actor):
    """Gives more hashes than were asked for."""

    def asked_hashes(self, request: HashRequest) -> None:
        self.session.give_hashes(request, (self.library.hashes(request) or b"") + bytes(100 * HASH_SIZE))


class NoLayers(Actor):
    """Refuses all hashes."""

    def asked_hashes(self, request: HashRequest) -> None:
        self.session.give_hashes(request, None)


class Learning(Byzantine):
    """A resource wanted by its id is learnt, whoever teaches wrong things."""

    async def learnt(self, *actors: Actor, descriptor: Descriptor = DESCRIPTOR, data: bytes = DATA) -> None:
        """Learn and fetch it with these actors first, and an honest seed afterwards."""
        leech = self.stopped(Transfer(self.node(), resource_id=descriptor.resource_id))
        finding = leech.find_descriptor(30.0)
        for actor in actors:
            await self.calls(leech, actor)
        await self.introduce(leech, await self.honest(descriptor, data))
        found = await finding
        self.assertEqual(found, descriptor)
        content = described(found)
        leech.use(content, MemoryStore(content, leech.node.pool))
        await leech.download()
        await self.is_right(leech, data)

    async def test_a_wrong_info_dict(self) -> None:
        actor = WrongInfo()
        await self.learnt(actor)
        await actor.over
        await self.told("metadata that does not have the resource's id")

    async def test_an_info_dict_that_is_refused(self) -> None:
        await self.learnt(NoInfo())

    async def test_wrong_piece_layers(self) -> None:
        actors = [WrongLayers(), LongLayers()]
        await self.learnt(*actors)
        await self.told("that do not lead to root")

    async def test_piece_layers_that_are_refused(self) -> None:
        await self.learnt(NoLayers())

    async def test_everybody_wrong_at_once_and_a_long_layer(self) -> None:
        descriptor, data = make_resource([600 * BLOCK + 9], BLOCK, seed=14)
        kinds = (WrongInfo, NoInfo, WrongLayers, LongLayers, NoLayers)
        await self.learnt(*(kind(descriptor, data) for kind in kinds), descriptor=descriptor, data=data)
