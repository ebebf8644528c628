"""How does a file become a resource that others can find?"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2sp.cli.outcome import UserError
from p2sp.cli.site_file import Site
from p2sp.download.report import ExitCode
from p2sp.index.client import IndexClient
from p2sp.index.schema import PublishRequest
from p2sp.net.api_client import ApiClient
from p2sp.net.trust import client_policy
from p2sp.storage.pool import DiskPool
from p2sp.storage.scan import describe as scan

PUBLISH_TIMEOUT = 60.0


async def publish_all(
    reactor: Any, files: Sequence[Path], mirrors: Sequence[str], site: Site | None, torrent: Path | None
) -> int:
    """Describe each file, write its `.torrent` if asked, tell the index; prints id and magnet link of each."""
    if torrent is not None and len(files) > 1:
        raise UserError("--torrent goes with one FILE", ExitCode.BAD_INPUT)
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
            await _publish(file, mirrors, pool, index, torrent)
    finally:
        if api is not None:
            await api.close()
        await pool.stop()
    return ExitCode.OK


async def _publish(
    file: Path, mirrors: Sequence[str], pool: DiskPool, index: IndexClient | None, torrent: Path | None
) -> None:
    found = await scan(file, pool)
    descriptor = found.descriptor
    if torrent is not None:
        torrent.write_bytes(descriptor.to_torrent(mirrors=mirrors))
    if index is not None:
        await index.publish(
            PublishRequest(
                torrent=descriptor.to_torrent(),
                mirrors=list(mirrors),
                sha256=found.sha256.hex() if found.sha256 is not None else None,
            )
        )
    print(descriptor.resource_id.hex())
    print(descriptor.magnet(mirrors=mirrors))
