"""Do clients get from a super node what they should: curl, and one that stops reading?"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.utils import getProcessOutputAndValue

from p2sp.storage.memory import MemoryStore
from p2sp.supernode.interfaces import Served
from p2sp.supernode.stream import Pace
from tests.supernode.support import PIECE, content_of, fill, some_bytes
from tests.supernode.test_web import COUNT, DATA, WebCase

reactor: Any = installed_reactor


class StalledClientTests(WebCase):
    """A client that stops reading does not hold its answer for ever."""

    pace = Pace(fill=5.0, client=0.3)

    async def test_it_is_cut_off(self) -> None:
        # More than the kernel's buffers of both ends hold.
        data = some_bytes(512 * PIECE)
        content = content_of("large.bin", {("large.bin",): data})
        store = MemoryStore(content, self.pool)
        await fill(store, range(512), data)
        self.cache.held[content.key] = Served(content, store)
        talk = await self.talk()
        transport: Any = talk.transport
        transport.pauseProducing()
        talk.say(f"GET /r/{content.key}/large.bin HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not self.resource.streams:
            await deferLater(reactor, 0.01)
        await self.until_idle()
        assert 0 < self.cache.counted[content.key] < len(data)
        transport.resumeProducing()
        await talk.ended


class CurlTests(WebCase):
    """What a stranger with curl gets, over TLS."""

    tls = True

    async def curl(self, *options: str) -> tuple[int, bytes]:
        command = ["-sS", "--insecure", "--max-time", "15", *options, self.base + self.path]
        out, err, code = await getProcessOutputAndValue("curl", command, env={"PATH": "/usr/bin:/bin"})
        return code, out or err

    def setUp(self) -> None:
        super().setUp()
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.target = Path(folder.name) / "got"

    async def test_whole(self) -> None:
        await self.fill_all()
        assert await self.curl() == (0, DATA)

    async def test_ranges(self) -> None:
        await self.fill_all()
        assert await self.curl("-r", "100-299") == (0, DATA[100:300])
        assert await self.curl("-r", "-50") == (0, DATA[-50:])
        code, error = await self.curl("--fail", "-r", f"{len(DATA)}-")
        assert code == 22
        assert b"416" in error

    async def test_a_short_answer_is_noticed_and_resumed(self) -> None:
        await fill(self.store, range(5), DATA)
        code, error = await self.curl("-o", str(self.target))
        assert code == 18, error
        assert self.target.read_bytes() == DATA[: 5 * PIECE]
        await fill(self.store, range(5, COUNT), DATA)
        assert (await self.curl("-o", str(self.target), "-C", "-"))[0] == 0
        assert self.target.read_bytes() == DATA

    async def test_while_it_is_filled(self) -> None:
        self.cache.on_wanted = lambda piece: Deferred.fromCoroutine(fill(self.store, [piece], DATA))
        assert await self.curl() == (0, DATA)

    async def test_the_elder_http(self) -> None:
        await self.fill_all()
        assert await self.curl("--http1.0") == (0, DATA)

    async def test_head(self) -> None:
        code, out = await self.curl("--head")
        assert code == 0
        assert f"content-length: {len(DATA)}" in out.decode().lower()
