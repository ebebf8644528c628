"""Is every byte that a server sent either delivered or known to be for nothing, and is little of it left unread?"""

import socket
from typing import Any

from p2sp.sources.http_lane import Lane
from p2sp.sources.http_probe import range_header
from tests.sources.http_case import HttpCase, Sink

HALF = 350_000
BEGUN = 40_000


class Waste(HttpCase):
    """Against the origin on loopback."""

    timeout = 20

    def lane(self, **given: Any) -> tuple[Lane, list[int]]:
        lane = self.connect(**given).lane("x")
        self.addCleanup(lane.close)
        wasted: list[int] = []
        lane.wasted = wasted.append
        return lane, wasted

    async def opened(self, lane: Lane) -> None:
        """An answer of which BEGUN bytes come, and then nothing more."""
        self.origin.limit = BEGUN
        await lane.request(self.url("silent"), range_header(0, len(self.data)))
        lane.body_at(0, len(self.data))

    async def test_what_nobody_read_is_counted_when_the_connection_is_cut(self) -> None:
        lane, wasted = self.lane()
        await self.opened(lane)
        sink = Sink(pause_at=1)
        serving = lane.serve(0, 100, sink)
        self.assertEqual(await serving, 100)
        await self.until(lambda: self.come(lane) == BEGUN)
        lane.close()
        self.assertEqual(sum(wasted), BEGUN - 100)
        lane.abort()
        lane.close()
        self.assertEqual(sum(wasted), BEGUN - 100, "counted once")

    def come(self, lane: Lane) -> int:
        """Bytes of the body that are here, read or not."""
        body: Any = lane._body
        return int(body.position) + sum(map(len, body.early)) + lane._endpoints.unread

    async def test_what_is_skipped_of_an_answer_from_the_first_byte_on_is_for_nothing(self) -> None:
        source = self.source("ignored")
        wasted: list[int] = []
        source.wasted = wasted.append
        sink = await self.fetch(source, HALF, HALF + 1000)
        self.assertEqual(sink.count, 1000)
        self.assertGreaterEqual(sum(wasted), HALF)
        source.close()
        self.assertLessEqual(sum(wasted), len(self.data) - 1000)

    async def test_a_span_that_is_all_delivered_wastes_nothing(self) -> None:
        source = self.source("honest")
        wasted: list[int] = []
        source.wasted = wasted.append
        await self.fetch(source, 0, HALF)
        await self.fetch(source, HALF, len(self.data))
        source.close()
        self.assertEqual(sum(wasted), 0)

    async def test_a_window_bounds_what_waits_unread(self) -> None:
        lane, _ = self.lane(window=64 * 1024)
        await self.opened(lane)
        (connection,) = lane._endpoints.opened
        handle = connection.transport.getHandle()
        self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), 64 * 1024)
