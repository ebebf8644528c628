"""What stands for an ordinary web server in the soak? A folder over HTTP, which counts every byte for whom it was.

Run as `python -m benchmarks.soak.origin FOLDER HOST PORT RATE COUNTS`; RATE is bytes a second of one connection. COUNTS
is a file of counters that outlives a SIGKILL: it is mapped, so a count is there as soon as it is made.
"""

import asyncio
import mmap
import os
import re
import signal
import socket
import struct
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import unquote

CHUNK: Final = 16 * 1024
SEND_BUFFER: Final = 64 * 1024
"""Small, so that what counts as given is on the way."""

MOST_HEAD: Final = 64 * 1024
_SLOT: Final = struct.Struct("<Q")
_NETWORKS: Final = 4
_TCP_INFO: Final = 240
_BYTES_SENT: Final = struct.Struct("<200xQQ")


class Counts:
    """Bytes by the address they went to: 127.N.0.H, with N below 4 and H below 256."""

    def __init__(self, path: Path) -> None:
        size = _NETWORKS * 256 * _SLOT.size
        if not path.exists():
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)

    @staticmethod
    def _at(host: str) -> int:
        octets = ip_address(host).packed
        return (octets[1] % _NETWORKS * 256 + octets[3]) * _SLOT.size

    def add(self, host: str, count: int) -> None:
        """So many bytes went there."""
        at = self._at(host)
        _SLOT.pack_into(self._map, at, _SLOT.unpack_from(self._map, at)[0] + count)

    def of(self, host: str) -> int:
        """Bytes that went to one address."""
        found: int = _SLOT.unpack_from(self._map, self._at(host))[0]
        return found

    @property
    def total(self) -> int:
        """Bytes that went anywhere."""
        return sum(value for (value,) in _SLOT.iter_unpack(self._map[:]))


class _Meter:
    """Counts what the kernel has sent over a connection, once, less the heads of answers.

    That is what was on the wire: bytes that wait in our own kernel when a connection is cut never are.
    """

    def __init__(self, writer: asyncio.StreamWriter, counts: Counts) -> None:
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        # Of our own, so that it can still be asked when the connection is gone.
        self._socket = socket.socket(fileno=os.dup(own.fileno()))
        self._host = writer.get_extra_info("peername")[0]
        self._writer = writer
        self._counts = counts
        self._heads = 0
        self._counted = 0

    def head(self, data: bytes) -> None:
        """Write the head of an answer."""
        self._heads += len(data)
        self._writer.write(data)

    def read(self) -> None:
        """Count what was sent since the last time."""
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
        sent, again = _BYTES_SENT.unpack_from(info)
        bodies = max(sent - again - self._heads, self._counted)
        self._counts.add(self._host, bodies - self._counted)
        self._counted = bodies

    def close(self) -> None:
        """Count for the last time."""
        self.read()
        self._socket.close()


class Origin:
    """GET and HEAD with one range, keep-alive, a strong validator, a rate for each connection."""

    def __init__(self, folder: Path, rate: float, counts: Counts) -> None:
        self._folder = folder
        self._rate = rate
        self._counts = counts

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        writer.transport.set_write_buffer_limits(high=0)
        meter = _Meter(writer, self._counts)
        try:
            while await self._answer(reader, writer, meter):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            # The other side has gone, or we are to go.
            pass
        finally:
            writer.close()
            meter.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meter: "_Meter") -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        path = self._folder / Path(unquote(target.partition("?")[0])).name
        if method not in ("GET", "HEAD") or not path.is_file():
            meter.head(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        stat = path.stat()
        start, stop, status = 0, stat.st_size, "200 OK"
        lines = [f'ETag: "{stat.st_mtime_ns:x}-{stat.st_size:x}"', "Accept-Ranges: bytes"]
        if match := re.search(r"(?i)\r\nrange: *bytes=(\d+)-(\d*)", head):
            start = int(match[1])
            stop = min(int(match[2]) + 1, stop) if match[2] else stop
            if start >= stop:
                status, start, stop = "416 Range Not Satisfiable", 0, 0
                lines.append(f"Content-Range: bytes */{stat.st_size}")
            else:
                status = "206 Partial Content"
                lines.append(f"Content-Range: bytes {start}-{stop - 1}/{stat.st_size}")
        lines.append(f"Content-Length: {stop - start}")
        meter.head("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode())
        if method == "GET":
            await self._body(path, start, stop, writer, meter)
        return True

    async def _body(self, path: Path, start: int, stop: int, writer: asyncio.StreamWriter, meter: "_Meter") -> None:
        clock = asyncio.get_running_loop().time
        free_at = clock()
        with path.open("rb") as file:
            file.seek(start)
            for at in range(start, stop, CHUNK):
                chunk = file.read(min(CHUNK, stop - at))
                writer.write(chunk)
                # With a mark of 0 this waits until the kernel has all of it.
                await writer.drain()
                meter.read()
                free_at = max(free_at, clock() - 0.1) + len(chunk) / self._rate
                if (wait := free_at - clock()) > 0.005:
                    await asyncio.sleep(wait)


async def main(folder: str, host: str, port: str, rate: str, counts: str) -> None:
    """Listen until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    origin = Origin(Path(folder), float(rate), Counts(Path(counts)))
    server = await asyncio.start_server(origin.serve, host, int(port), limit=MOST_HEAD)
    print(f"listening on http://{host}:{server.sockets[0].getsockname()[1]}/", flush=True)
    await over.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
