"""How does a file become a resource that others can find?"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from p2sp.cli.outcome import UserError, write_whole
from p2sp.cli.site_file import Site
from p2sp.download.report import ExitCode
from p2sp.index.client import IndexClient
from p2sp.index.schema import PublishRequest
from p2sp.net.api_client import ApiClient
from p2sp.net.trust import client_policy
from p2sp.resource.metalink import FlatPieces, MetalinkFile
from p2sp.resource.metalink_xml import write_metalink
from p2sp.resource.verification import described
from p2sp.storage.disk import open_complete
from p2sp.storage.pool import DiskPool, detached
from p2sp.storage.scan import Scan
from p2sp.storage.scan import describe as scan

PUBLISH_TIMEOUT = 60.0


async def publish_all(
    reactor: Any,
    files: Sequence[Path],
    mirrors: Sequence[str],
    site: Site | None,
    torrent: Path | None,
    metalink: Path | None = None,
    trackers: Sequence[str] = (),
    *,
    hybrid: bool = False,
) -> int:
    """Describe each file, write its `.torrent` and Metalink if asked, tell the index; prints id and magnet of each."""
    for option, path in (("--torrent", torrent), ("--metalink", metalink)):
        if path is not None and len(files) > 1:
            raise UserError(f"{option} goes with one FILE", ExitCode.BAD_INPUT)
    if metalink is not None and files[0].is_dir():
        raise UserError(f"{files[0]} is a folder, and --metalink is of one file", ExitCode.BAD_INPUT)
    if metalink is not None and not mirrors:
        raise UserError("--metalink names the servers of the file: give at least one --mirror", ExitCode.BAD_INPUT)
    if len(files) > 1 and any(not url.endswith("/") for url in mirrors):
        raise UserError("with several FILEs a --mirror must be a folder's URL, ending in '/'", ExitCode.BAD_INPUT)
    index, api = None, None
    if site is not None and site.file.index is not None:
        identity = site.publisher()
        if identity is None:
            raise UserError(f"{site.path}: names no publisher's key, so this copy of the site cannot publish")
        api = ApiClient(reactor, site.file.index, policy=client_policy(identity, site.trust), timeout=PUBLISH_TIMEOUT)
        index = IndexClient(api)
    pool = DiskPool(reactor)
    pool.start()
    try:
        for file in files:
            found = await scan(file, pool, hybrid=hybrid)
            if torrent is not None:
                write_whole(torrent, found.descriptor.to_torrent(trackers, mirrors))
            if metalink is not None:
                write_whole(metalink, await _metalink(reactor, file, found, mirrors, pool))
            await _publish(found, trackers, mirrors, index)
    finally:
        if api is not None:
            await api.close()
        await pool.stop()
    return ExitCode.OK


async def _metalink(reactor: Any, file: Path, found: Scan, mirrors: Sequence[str], pool: DiskPool) -> bytes:
    """The Metalink of a file that was just looked at."""
    descriptor = found.descriptor
    layout = descriptor.layout
    hashes: list[bytes] = []
    store = await open_complete(file, described(descriptor), pool, reactor, trust=True)
    try:
        for piece in range(layout.piece_count):
            data = await store.read(layout.piece_start(piece), layout.piece_size(piece))
            hashes.append(await detached(pool.run(_digest, data)))
    finally:
        await store.close()
    return write_metalink(
        MetalinkFile(
            descriptor.name,
            layout.length,
            {"sha256": found.sha256} if found.sha256 is not None else {},
            FlatPieces("sha256", layout.piece_length, tuple(hashes)),
            tuple(url + quote(descriptor.name) if url.endswith("/") else url for url in mirrors),
        )
    )


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()


async def _publish(found: Scan, trackers: Sequence[str], mirrors: Sequence[str], index: IndexClient | None) -> None:
    descriptor = found.descriptor
    if index is not None:
        await index.publish(
            PublishRequest(
                torrent=descriptor.to_torrent(),
                mirrors=list(mirrors),
                sha256=found.sha256.hex() if found.sha256 is not None else None,
            )
        )
    print(descriptor.resource_id.hex())
    print(descriptor.magnet(trackers, mirrors))
