"""Does a download end well, at a bounded cost, whoever gives it wrong blocks, none, or too slowly?"""

from random import Random

from p2sp.resource.merkle import BLOCK
from p2sp.wire.messages import Request
from tests.wire.byzantine import Actor, Byzantine, Every
from tests.wire.support import PIECE, make_resource


class Spoiler(Actor):
    """Spoils one block of four in every piece, by a single bit; the others are true."""

    def asked(self, request: Request) -> None:
        data = bytearray(self.block(request))
        if request.begin // BLOCK % 4 == request.piece % 4:
            data[len(data) // 2] ^= 1
        self.session.answer(request, bytes(data))


class Garbler(Actor):
    """Gives other bytes than asked for, always."""

    def asked(self, request: Request) -> None:
        self.block(request)
        self.session.answer(request, bytes(request.length))


class Boaster(Actor):
    """Claims every piece, has few, and rejects what it is asked for beyond them."""

    def asked(self, request: Request) -> None:
        if request.piece % 8:
            self.session.refuse(request)
        else:
            super().asked(request)


class Mute(Actor):
    """Claims every piece, unchokes, and never answers a request."""

    def asked(self, request: Request) -> None:
        return


class Dribbler(Actor):
    """Answers truly, one byte a second."""

    def joined(self) -> None:
        super().joined()
        self.waiting = bytearray()
        Every(self, 1.0, self.drip)

    def asked(self, request: Request) -> None:
        # The session must think that it is answered; its bytes are ours to send.
        self.flush()
        super().asked(request)
        self.waiting += b"".join(bytes(part) for part in self.session.take_outgoing())

    def drip(self) -> None:
        if self.waiting and not self.ended:
            self.send(bytes(self.waiting[:1]))
            del self.waiting[:1]


class Stopper(Actor):
    """Gives the first blocks and then nothing, but stays."""

    def asked(self, request: Request) -> None:
        if self.served < 5 * BLOCK:
            super().asked(request)


class Flicker(Actor):
    """Chokes and unchokes with every block."""

    def asked(self, request: Request) -> None:
        super().asked(request)
        if self.served % (8 * BLOCK) == 0:
            self.session.choke()
            self.session.unchoke()


class Withdrawer(Actor):
    """Gives up a piece (lt_donthave) as soon as it is asked for it."""

    def asked(self, request: Request) -> None:
        if request.piece % 4:
            self.session.forget(request.piece)
        else:
            super().asked(request)


class Beside(Byzantine):
    """One actor beside an honest seed: all comes right."""

    async def beside(self, *actors: Actor) -> dict[str, int]:
        """Download with these actors and an honest seed, in this order; bytes by label."""
        leech = self.wanting()
        for actor in actors:
            await self.calls(leech, actor)
        await self.until(lambda: leech.links == len(actors))
        await self.introduce(leech, await self.honest())
        await leech.download()
        await self.is_right(leech)
        self.leecher = leech
        return {label: account.bytes for label, account in leech.report.accounts.items()}

    async def test_wrong_blocks_among_true_ones(self) -> None:
        liar = Spoiler()
        given = await self.beside(liar)
        self.assertGreater(given[liar.label], 0)
        self.assertEqual(len(self.news), 1)
        self.assertRegex(self.news[0], rf"^{liar.label}: sent bad data for piece \d+; not asked again$")
        await self.told("sent bad data")
        await liar.over

    async def test_nothing_but_wrong_blocks(self) -> None:
        liar = Garbler()
        await self.beside(liar)
        self.assertEqual([news.split(": ")[0] for news in self.news], [liar.label])
        await liar.over

    async def test_a_bitfield_that_lies(self) -> None:
        boaster = Boaster()
        given = await self.beside(boaster)
        self.assertEqual(self.news, [])
        self.assertLess(self.wasted(self.leecher), 0.05)
        notes = self.leecher.report.accounts[boaster.label]
        self.assertGreater(notes.failures, 0)
        self.assertIn("will not give", notes.last_failure)
        self.assertEqual(given[boaster.label], notes.bytes)

    async def test_requests_that_are_never_answered(self) -> None:
        given = await self.beside(mute := Mute())
        self.assertEqual(given[mute.label], 0)

    async def test_one_byte_a_second(self) -> None:
        await self.beside(Dribbler(), Dribbler())
        self.assertLess(self.wasted(self.leecher), 0.1)

    async def test_nothing_more_after_the_first_blocks(self) -> None:
        stopper = Stopper()
        given = await self.beside(stopper)
        self.assertLessEqual(given[stopper.label], 5 * BLOCK)
        self.assertLess(self.wasted(self.leecher), 0.1)

    async def test_choking_and_unchoking_without_end(self) -> None:
        await self.beside(Flicker())
        self.assertEqual(self.news, [])

    async def test_pieces_withdrawn_when_they_are_asked_for(self) -> None:
        await self.beside(Withdrawer())
        self.assertEqual(self.news, [])

    async def test_a_crowd_of_every_kind(self) -> None:
        """Who is silent is not replaced by the next silent one without end."""
        liars = [Spoiler(), Garbler()]
        await self.beside(*liars, Boaster(), Mute(), Dribbler(), Stopper(), Flicker(), Withdrawer())
        self.assertLessEqual({news.split(": ")[0] for news in self.news}, {liar.label for liar in liars})


class Fifth(Byzantine):
    """A fifth of those who give are liars."""

    async def test_liars_are_banned_and_cost_little(self) -> None:
        descriptor, data = make_resource([400 * PIECE - 5], seed=12)
        leech = self.wanting(descriptor)
        liars = [Spoiler(descriptor, data), Spoiler(descriptor, data)]
        good = [Actor(descriptor, data) for _ in range(8)]
        everybody = [*good, *liars]
        Random(5).shuffle(everybody)
        for actor in everybody:
            await self.calls(leech, actor)
        await self.until(lambda: leech.links == len(everybody))
        await leech.download()
        await self.is_right(leech, data)
        self.assertEqual({news.split(": ")[0] for news in self.news}, {liar.label for liar in liars})
        self.assertLessEqual(self.wasted(leech), 0.05)
        for actor in good:
            self.assertFalse(actor.ended)
        for liar in liars:
            await liar.over
