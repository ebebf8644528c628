"""Are names of resources there for people without anybody waiting for them?"""

from collections.abc import Collection

import pytest
from twisted.internet.task import Clock

from p2sp.index.client import ASK_AGAIN, REMEMBERED, WAIT, Names
from p2sp.index.schema import MOST_NAMES, NamesAnswer, NamesRequest, PublishRequest
from p2sp.net.errors import Refused
from p2sp.net.jsonapi import Api, Call
from tests.index.test_api import ID, LONE, PUBLISHER, IndexCase
from tests.net.kit import TRUST, LoopbackCase, reactor

OTHER = "0" * 64


class CallTests(IndexCase):
    """What the index answers."""

    async def test_anybody_hears_the_names_of_what_is_known(self) -> None:
        await self.index(PUBLISHER).publish(PublishRequest(LONE.to_torrent()))
        assert await self.index().names([OTHER, ID]) == {ID: "a file.iso"}
        assert await self.index().names([]) == {}

    async def test_questions_are_bounded(self) -> None:
        with pytest.raises(Refused) as refused:
            await self.index().names([f"{number:064x}" for number in range(MOST_NAMES + 1)])
        assert refused.value.status == 422
        with pytest.raises(Refused):
            await self.index().names(["../etc/passwd"])


class NamesTests(LoopbackCase):
    """What a page hears."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.known = {ID: "a file.iso"}
        self.asked: list[Collection[str]] = []
        self.silent = False
        api = Api(TRUST, reactor, role="index", rate_limit=None)
        api.route("POST", "/v1/names", self.answer, body=NamesRequest)
        self.names = Names(self.client(self.serve(api)), self.clock)

    async def answer(self, call: Call) -> NamesAnswer:
        self.asked.append(call.body.ids)
        if self.silent:
            self.clock.advance(WAIT)
        names = {each: self.known[each] for each in call.body.ids if each in self.known}
        # What was not asked for is not listened to.
        return NamesAnswer(names if len(names) == MOST_NAMES else names | {"9" * 64: "more"})

    async def test_what_is_known_is_asked_once(self) -> None:
        for _ in range(3):
            assert await self.names.of([ID]) == {ID: "a file.iso"}
        assert self.asked == [[ID]]

    async def test_what_is_not_known_is_asked_for_now_and_then(self) -> None:
        assert await self.names.of([ID, OTHER, ID]) == {ID: "a file.iso"}
        assert await self.names.of([ID, OTHER]) == {ID: "a file.iso"}
        self.clock.advance(ASK_AGAIN)
        self.known[OTHER] = "news"
        assert await self.names.of([ID, OTHER]) == {ID: "a file.iso", OTHER: "news"}
        assert self.asked == [[ID, OTHER], [OTHER]]

    async def test_nobody_waits_for_an_index_that_says_nothing(self) -> None:
        self.silent = True
        assert await self.names.of([ID]) == {}
        self.silent = False
        assert await self.names.of([ID]) == {}
        self.clock.advance(ASK_AGAIN)
        assert await self.names.of([ID]) == {ID: "a file.iso"}
        assert len(self.asked) == 2

    async def test_what_is_asked_and_remembered_is_bounded(self) -> None:
        many = [f"{number:064x}" for number in range(1, MOST_NAMES + 2)]
        self.known |= {each: each[-3:] for each in many}
        assert len(await self.names.of(many)) == MOST_NAMES
        self.names._known |= {f"old {number}": "" for number in range(REMEMBERED)}
        assert await self.names.of([many[-1]]) == {many[-1]: many[-1][-3:]}
        assert len(self.names._known) == REMEMBERED

    async def test_without_an_index_nothing_has_a_name(self) -> None:
        nameless = Names(None, self.clock)
        assert await nameless.of([ID]) == {}
        await nameless.close()
