"""What is this TARGET, and does this file equal it?"""

from pathlib import Path
from random import Random
from typing import Any

from p2sp.cli.described import content_of, expected, is_metalink, is_torrent, read_metalink, read_torrent, shown
from p2sp.cli.outcome import UserError
from p2sp.cli.progress import human
from p2sp.cli.site_file import Site
from p2sp.cli.targets import Target, UrlTarget
from p2sp.download.node import Node
from p2sp.download.report import ExitCode
from p2sp.net.errors import NetError, Refused
from p2sp.resource.descriptor import Torrent
from p2sp.resource.magnet import V1_ID_SIZE
from p2sp.resource.metalink import MetalinkFile
from p2sp.resource.verification import Content, described
from p2sp.sources.http_probe import Probe, probe
from p2sp.storage.disk import open_complete

MAX_SHOWN = 20


class _Asker:
    """Finds out what a target is, with the help of a site's index."""

    def __init__(self, reactor: Any, site: Site | None) -> None:
        self.site = site
        self.node = Node(
            reactor,
            rng=Random(),
            trust=site.trust if site is not None else None,
            index=site.file.index if site is not None else None,
        )

    async def torrent(self, target: Target) -> Torrent | MetalinkFile | Probe:
        """The descriptor, or for a URL that nobody described what its server says."""
        if isinstance(target, Torrent | MetalinkFile):
            return target
        if isinstance(target, UrlTarget):
            if self.node.index is not None and (views := await self.node.index.lookup_url(target.url)):
                return await self.node.index.torrent(views[0].id)
            found = await probe(self.node.connect, target.url)
            found.close()
            if is_torrent(found):
                return await read_torrent(self.node, target.url)
            if is_metalink(found):
                return await read_metalink(self.node, target.url)
            return found
        if self.node.index is None or len(target.resource_id) == V1_ID_SIZE:
            raise UserError(
                f"resource {target.resource_id.hex()}: only an index knows what it is; give the network with --site",
                ExitCode.NOT_FOUND,
            )
        try:
            return await self.node.index.torrent(target.resource_id.hex())
        except NetError as error:
            missing = isinstance(error, Refused) and error.status == 404
            raise UserError(str(error), ExitCode.NOT_FOUND if missing else ExitCode.ERROR) from error


async def show_target(reactor: Any, target: Target, site: Site | None) -> int:
    """Print what is known of a target."""
    asker = _Asker(reactor, site)
    asker.node.start()
    try:
        found = await asker.torrent(target)
    finally:
        await asker.node.stop()
    if isinstance(found, Probe):
        size = "of unknown size" if found.length is None else f"{human(found.length)} ({found.length} bytes)"
        print(f"{found.name}: {size}, nothing but its server describes it")
        print(f"serves parts: {'yes' if found.ranged else 'no'}")
        return ExitCode.OK
    if isinstance(found, MetalinkFile):
        _show_metalink(found)
        return ExitCode.OK
    descriptor = found.descriptor
    print(f"{descriptor.name}: {human(descriptor.length)} ({descriptor.length} bytes)")
    print(f"id: {descriptor.resource_id.hex()}")
    print(f"magnet: {descriptor.magnet()}")
    print(f"pieces: {descriptor.layout.piece_count} of {human(descriptor.piece_length)}")
    if descriptor.hybrid or descriptor.flat:
        print("kind: " + ("hybrid of BitTorrent v1 and v2" if descriptor.hybrid else "BitTorrent v1"))
    if descriptor.private:
        print("private: its nodes come from its own trackers only")
    if not descriptor.single:
        # All of them: their numbers are what --select takes.
        files = [entry for entry in descriptor.files if not entry.pad]
        for number, entry in enumerate(files, start=1):
            print(f"file {number}: {'/'.join(entry.path)} ({entry.length} bytes)")
    for url in found.trackers:
        print(f"tracker: {url}")
    for url in found.mirrors:
        print(f"mirror: {url}")
    return ExitCode.OK


def _show_metalink(file: MetalinkFile) -> None:
    size = "of unknown size" if file.size is None else f"{human(file.size)} ({file.size} bytes)"
    print(f"{file.name}: {size}, described by a Metalink")
    for algorithm, digest in file.digests.items():
        print(f"{shown(algorithm)}: {digest.hex()}")
    if file.pieces is not None:
        pieces = file.pieces
        print(f"pieces: {len(pieces.hashes)} of {human(pieces.length)}, {shown(pieces.algorithm)}")
    for url in file.urls[:MAX_SHOWN]:
        print(f"mirror: {url}")
    if len(file.urls) > MAX_SHOWN:
        print(f"and {len(file.urls) - MAX_SHOWN} more mirrors")
    for url in file.torrents:
        print(f"torrent: {url}")


async def verify_file(reactor: Any, file: Path, target: Target, site: Site | None) -> int:
    """Check a file or folder against a target; prints what is wrong, exit code 32 then."""
    asker = _Asker(reactor, site)
    asker.node.start()
    try:
        found = await asker.torrent(target)
        if isinstance(found, Probe):
            raise UserError(f"{found.url}: nothing describes this file, so there is nothing to verify against")
        content = _to_verify(found, file) if isinstance(found, MetalinkFile) else described(found.descriptor)
        store = await open_complete(file, content, asker.node.pool, reactor)
        try:
            bad = [piece for piece in range(content.layout.piece_count) if not store.has(piece)]
            wrong = (
                []
                if bad
                else [name for name, digest in expected(None, content) if (await store.digest(name)).hex() != digest]
            )
        finally:
            await store.close()
    finally:
        await asker.node.stop()
    count = content.layout.piece_count
    if bad:
        listed = ", ".join(map(str, bad[:MAX_SHOWN])) + (" ..." if len(bad) > MAX_SHOWN else "")
        print(f"{file}: differs: {len(bad)} of {count} pieces are wrong or missing ({listed})")
        return ExitCode.CHECKSUM
    if wrong:
        print(f"{file}: differs: its {shown(wrong[0])} is another")
        return ExitCode.CHECKSUM
    print(f"{file}: good: {count} pieces, {content.layout.length} bytes")
    return ExitCode.OK


def _to_verify(found: MetalinkFile, file: Path) -> Content:
    """The content to compare a file with. Raises UserError when the Metalink holds no hash."""
    if not found.digests and found.pieces is None:
        raise UserError(f"{found.name}: the Metalink has no hash, so there is nothing to verify against")
    return content_of(found, file.stat().st_size if found.size is None else found.size)
