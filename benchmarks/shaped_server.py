"""An HTTP server for one file whose rate, patience and life are set: what mirrors of mixed quality look like.

Run as `python shaped_server.py FILE [--rate BYTES] [--stall-after BYTES] [--die-after BYTES]`; prints its URL.
The rate is of the server as a whole, whatever the number of connections.
"""

import argparse
import asyncio
import os
import re
import sys
import time
from pathlib import Path

CHUNK = 64 * 1024


class Shaped:
    """Serves ranges of one file, with a bucket that all connections share."""

    def __init__(self, path: Path, rate: float, stall_after: int, die_after: int) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.rate = rate
        self.stall_after = stall_after
        self.die_after = die_after
        self.sent = 0
        self.free_at = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        start, stop, partial = 0, self.size, False
        if match := re.search(rb"(?i)\r\nrange:\s*bytes=(\d+)-(\d*)", head):
            start, partial = int(match[1]), True
            stop = min(int(match[2]) + 1, self.size) if match[2] else self.size
        status = "206 Partial Content" if partial else "200 OK"
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {stop - start}", "Accept-Ranges: bytes", 'ETag: "one"']
        if partial:
            lines.append(f"Content-Range: bytes {start}-{stop - 1}/{self.size}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        with self.path.open("rb") as file:
            file.seek(start)
            for at in range(start, stop, CHUNK):
                await self._pass(min(CHUNK, stop - at))
                writer.write(file.read(min(CHUNK, stop - at)))
                await writer.drain()
        return True

    async def _pass(self, count: int) -> None:
        self.sent += count
        if self.die_after and self.sent > self.die_after:
            os._exit(0)
        if self.stall_after and self.sent > self.stall_after:
            await asyncio.sleep(3600)
        if self.rate:
            now = time.monotonic()
            self.free_at = max(self.free_at, now - 0.05) + count / self.rate
            if self.free_at > now:
                await asyncio.sleep(self.free_at - now)


async def main() -> None:
    """Listen on loopback until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--stall-after", type=int, default=0)
    parser.add_argument("--die-after", type=int, default=0)
    given = parser.parse_args()
    shaped = Shaped(given.file, given.rate, given.stall_after, given.die_after)
    server = await asyncio.start_server(shaped.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/{given.file.name}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
