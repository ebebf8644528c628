"""What is this target, according to whoever can tell: a file, an index, a server, or peers?"""

from collections.abc import Callable

from twisted.internet.task import deferLater

from p2sp.cli.described import (
    check_agrees,
    content_of,
    described_file,
    follow_links,
    is_metalink,
    is_torrent,
    join,
    read_metalink,
    read_torrent,
)
from p2sp.cli.job import Job
from p2sp.cli.outcome import UserError
from p2sp.cli.targets import Target, UrlTarget
from p2sp.download.foreign import Hints
from p2sp.download.node import Node
from p2sp.download.report import ExitCode, Report
from p2sp.download.transfer import Transfer
from p2sp.net.errors import NetError, Refused
from p2sp.resource.descriptor import Torrent
from p2sp.resource.magnet import V1_ID_SIZE, Magnet
from p2sp.resource.metalink import MetalinkFile
from p2sp.resource.verification import described, undescribed
from p2sp.sources.http_probe import Probe, probe
from p2sp.sources.interfaces import SourceError, SourceRefused

DESCRIPTION_DEADLINE = 60.0
PROBES = 5
"""How often a server that is busy is asked what a URL is."""

FIRST_PROBE_WAIT = 1.0


class Resolver:
    """Asks the index first, where there is one; `begin` makes the transfer in which peers are asked for a descriptor.

    `checksum` (algorithm, digest) may lead the index to a resource whose URL it does not know.
    """

    def __init__(self, node: Node, checksum: tuple[str, str] | None, begin: Callable[[bytes], Transfer]) -> None:
        self._node = node
        self._checksum = checksum
        self._begin = begin

    async def resolve(self, target: Target, job: Job, report: Report) -> None:
        """Find out what a target is: content and mirrors, or for an unknown length at least the probe, go into `job`.

        `job.mirrors` holds what the user gave. Raises UserError, DownloadError, SourceError or ResourceError.
        """
        if isinstance(target, UrlTarget):
            await self._resolve_url(target.url, job, report)
        elif isinstance(target, Torrent):
            self._take(target, job)
        elif isinstance(target, MetalinkFile):
            await self._take_metalink(target, job, report)
        else:
            job.mirrors += target.mirrors
            job.hints = Hints(tuple((url,) for url in target.trackers), target.peers, target.v1_hash)
            await self._resolve_magnet(target, job, report)
        self._explain(job, report)

    def _explain(self, job: Job, report: Report) -> None:
        """Say why foreign clients are left alone, where somebody may wonder."""
        descriptor = job.content.descriptor if job.content is not None else None
        if not job.hints or job.mirrors or self._node.trackers:
            return
        if descriptor is not None and descriptor.private:
            report.tell("it is private, which is never spoken of in clear text: foreign clients are not asked")
        elif not self._node.clear_text:
            report.tell("its trackers name foreign clients, which are asked only with --clear-text")

    def _take(self, torrent: Torrent, job: Job) -> None:
        job.content = described_file(torrent)
        job.mirrors += torrent.mirrors
        job.hints = Hints(torrent.tiers)

    async def _take_metalink(self, file: MetalinkFile, job: Job, report: Report) -> None:
        check_agrees(file, self._checksum)
        join(job.mirrors, file.urls)
        if not job.mirrors:
            if not file.torrents:
                raise UserError(f"{file.name}: the Metalink names no http or https URL", ExitCode.BAD_INPUT)
            self._take(await read_torrent(self._node, file.torrents[0]), job)
            return
        if file.size is not None:
            job.content = content_of(file, file.size)
            if job.content.by_piece:
                return
            if file.pieces is not None:
                report.tell(
                    f"{file.name}: pieces of {file.pieces.length} bytes are not used, only the whole is checked"
                )
        found = job.found = await self._probe_fitting(file, job.mirrors, report)
        if found.length is None:
            # The digests go where those of the server would be.
            found.digests = {**found.digests, **file.digests}
        else:
            job.content = content_of(file, found.length)

    async def _probe_fitting(self, file: MetalinkFile, mirrors: list[str], report: Report) -> Probe:
        """The first mirror that answers with a file of the Metalink's size; others are left out."""
        while True:
            found = await self._probe_first(mirrors, report)
            if file.size in (None, found.length):
                return found
            found.close()
            mirrors.remove(found.url)
            size = "of unknown size" if found.length is None else f"of {found.length} bytes"
            news = f"{found.url}: is {size}, and {file.name} is of {file.size} bytes by the Metalink"
            if not mirrors:
                raise UserError(news, ExitCode.CHANGED)
            report.tell(news)

    async def _resolve_url(self, url: str, job: Job, report: Report) -> None:
        job.mirrors.insert(0, url)
        torrent = await self._ask_index(url, report)
        if torrent is not None:
            self._take(torrent, job)
            return
        found = await self._probe_first(job.mirrors, report)
        job.found = found
        if is_torrent(found) or is_metalink(found):
            found.close()
            job.found = None
            job.mirrors.remove(found.url)
            if is_torrent(found):
                self._take(await read_torrent(self._node, found.url), job)
            else:
                await self._take_metalink(await read_metalink(self._node, found.url), job, report)
        elif found.length is not None:
            job.content = undescribed(found.url, found.name, found.length, found.digests)
            await follow_links(self._node, found, job, report, self._checksum)

    async def _probe_first(self, urls: list[str], report: Report) -> Probe:
        """The first URL that answers; the others join later. Servers that are only busy are asked again."""
        for attempt in range(PROBES):
            failures: list[SourceError] = []
            for url in urls:
                if failures:
                    report.tell(str(failures[-1]))
                try:
                    return await probe(self._node.connect, url)
                except SourceError as error:
                    failures.append(error)
            busy = next((error for error in failures if isinstance(error, SourceRefused)), None)
            if busy is None or attempt == PROBES - 1:
                break
            wait = FIRST_PROBE_WAIT * 2.0**attempt if busy.retry_after is None else busy.retry_after
            report.tell(f"{busy}; asking again in {wait:g} s")
            await deferLater(self._node.reactor, wait)
        raise failures[-1]

    async def _ask_index(self, url: str, report: Report) -> Torrent | None:
        index = self._node.index
        if index is None:
            return None
        try:
            views = await index.lookup_url(url)
            if not views and self._checksum is not None and self._checksum[0] == "sha-256":
                views = await index.lookup_digest(self._checksum[1])
            return await index.torrent(views[0].id) if views else None
        except NetError as error:
            report.tell(f"the index cannot help, going on without it: {error}")
            return None

    async def _resolve_magnet(self, magnet: Magnet, job: Job, report: Report) -> None:
        name = magnet.resource_id.hex()
        foreign = bool(job.hints) and self._node.clear_text
        foreign_only = len(magnet.resource_id) == V1_ID_SIZE
        clear_text = "have foreign clients asked with --clear-text"
        if foreign_only:
            unknown = "is of BitTorrent v1, which no network of ours knows; "
            unknown += clear_text if job.hints else "and the link names nobody to ask"
        else:
            unknown = "is unknown; give the network with --site" + (f", or {clear_text}" if job.hints else "")
        if self._node.index is not None and not foreign_only:
            unknown = "is unknown to the index"
            try:
                hints = job.hints
                self._take(await self._node.index.torrent(name), job)
                job.hints = hints
            except Refused as error:
                if error.status != 404:
                    report.tell(f"the index cannot help: {error}")
            except NetError as error:
                unknown = f"is unknown here, and the index cannot be asked: {error}"
                report.tell(f"the index cannot help: {error}")
            else:
                return
        if not self._node.trackers and not foreign:
            raise UserError(f"resource {name} {unknown}", ExitCode.NOT_FOUND)
        report.tell("asking peers what the resource is")
        job.transfer = self._begin(magnet.resource_id)
        job.content = described(await job.transfer.find_descriptor(DESCRIPTION_DEADLINE))
