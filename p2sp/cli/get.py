"""How is one TARGET fetched, from the words on the command line to a verified file?"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from p2sp.cli.outcome import UserError, describe
from p2sp.cli.progress import Progress, Snapshot, Ticker, human, kinds_in_words
from p2sp.cli.site_file import Site
from p2sp.cli.targets import Target, UrlTarget
from p2sp.download.node import Node
from p2sp.download.report import ExitCode, Report, Summary, summarise
from p2sp.download.transfer import Transfer
from p2sp.download.unsized import fetch_unsized
from p2sp.net.errors import NetError, Refused
from p2sp.net.identity import create_identity
from p2sp.resource.descriptor import MAX_TORRENT, Descriptor, Torrent, parse_torrent
from p2sp.resource.magnet import Magnet
from p2sp.resource.verification import Content, Verified, described, undescribed
from p2sp.schedule.scheduler import Mode
from p2sp.sources.http_probe import Probe, probe, read_small
from p2sp.sources.interfaces import SourceError, SourceRefused
from p2sp.storage.disk import DiskStore, open_store
from p2sp.storage.interfaces import Validators

FLOOR_RATE = 1_000_000.0
"""Bytes a second below which `--mode offload` lets resource servers help."""

DESCRIPTION_DEADLINE = 60.0
PROBES = 5
"""How often a server that is busy is asked what a URL is."""

FIRST_PROBE_WAIT = 1.0


@attrs.frozen
class GetOptions:
    """What the command line says, read and checked. Rates in bytes a second."""

    output: str | None = None
    mirrors: tuple[str, ...] = ()
    checksum: tuple[str, str] | None = None
    site: Site | None = None
    mode: Mode = Mode.FAST
    connections: int = 4
    max_download: int | None = None
    max_upload: int | None = None
    seed: float = 0.0
    in_order: bool = False
    summary: Path | None = None
    torrent: Path | None = None
    address: str | None = None
    overwrite: bool = False
    fresh: bool = False


@attrs.define
class _Job:
    """One target on its way: what is known of it so far, and how it ended."""

    content: Content | None = None
    store: DiskStore | None = None
    transfer: Transfer | None = None
    mirrors: list[str] = attrs.field(factory=list)
    found: Probe | None = None
    path: Path | None = None
    sha256: str | None = None
    verified: Verified = Verified.NONE
    length: int = 0
    complete: bool = False


class Getter:
    """Fetches targets one after another with one node."""

    def __init__(self, reactor: Any, options: GetOptions, view: Progress) -> None:
        self._reactor = reactor
        self._options = options
        self._view = view
        site = options.site
        self._node = Node(
            reactor,
            create_identity(),
            rng=Random(),
            trust=site.trust if site is not None else None,
            index=site.file.index if site is not None else None,
            trackers=site.file.trackers if site is not None else (),
            address=options.address,
            listen=(options.address or "0.0.0.0", 0) if site is not None else None,  # noqa: S104 - peers come from anywhere
            max_upload=options.max_upload,
            max_download=options.max_download,
            connections=options.connections,
        )

    async def get_all(self, targets: Sequence[Target]) -> int:
        """Fetch every target; the exit code of the first that failed, or 0."""
        self._node.start()
        worst = ExitCode.OK
        try:
            for target in targets:
                code = await self._get(target)
                worst = worst or code
                if code == ExitCode.INTERRUPTED:
                    break
        finally:
            self._view.close()
            await self._node.stop()
        return worst

    async def _get(self, target: Target) -> int:
        job = _Job()
        report = Report(self._reactor.seconds(), listener=self._view.say)
        error: BaseException | None = None
        try:
            await self._resolve(target, job, report)
            await self._fetch(job, report)
            await self._seed(job)
        except BaseException as caught:  # noqa: BLE001 - judged below, also a Ctrl-C that cancels us
            error = caught
            if job.complete and isinstance(caught, CancelledError):
                # Ctrl-C while seeding: the file is there, which is what was asked for.
                error = None
        finally:
            await self._let_go(job)
        return self._conclude(job, job.transfer.report if job.transfer is not None else report, error)

    # -- what is it? -----------------------------------------------------------------------------------------

    async def _resolve(self, target: Target, job: _Job, report: Report) -> None:
        job.mirrors = list(self._options.mirrors)
        if isinstance(target, UrlTarget):
            await self._resolve_url(target.url, job, report)
        elif isinstance(target, Torrent):
            self._take(target, job)
        else:
            job.mirrors += target.mirrors
            await self._resolve_magnet(target, job, report)

    def _take(self, torrent: Torrent, job: _Job) -> None:
        if torrent.descriptor.missing_layers:
            raise UserError(f"{torrent.descriptor.name}: the .torrent has no piece layers", ExitCode.BAD_INPUT)
        job.content = described(torrent.descriptor)
        job.mirrors += torrent.mirrors

    async def _resolve_url(self, url: str, job: _Job, report: Report) -> None:
        job.mirrors.insert(0, url)
        torrent = await self._ask_index(url, report)
        if torrent is not None:
            self._take(torrent, job)
            return
        found = await self._probe_first(job.mirrors, report)
        job.found = found
        if found.content_type == "application/x-bittorrent" or found.name.endswith(".torrent"):
            found.close()
            job.found = None
            job.mirrors.remove(found.url)
            self._take(parse_torrent(await read_small(self._node.connect, found.url, MAX_TORRENT)), job)
        elif found.length is not None:
            job.content = undescribed(found.url, found.name, found.length)

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
            await deferLater(self._reactor, wait)
        raise failures[-1]

    async def _ask_index(self, url: str, report: Report) -> Torrent | None:
        index = self._node.index
        if index is None:
            return None
        try:
            views = await index.lookup_url(url)
            if not views and self._options.checksum is not None and self._options.checksum[0] == "sha-256":
                views = await index.lookup_digest(self._options.checksum[1])
            return await index.torrent(views[0].id) if views else None
        except NetError as error:
            report.tell(f"the index cannot help, going on without it: {error}")
            return None

    async def _resolve_magnet(self, magnet: Magnet, job: _Job, report: Report) -> None:
        name = magnet.resource_id.hex()
        if self._node.index is not None:
            try:
                self._take(await self._node.index.torrent(name), job)
            except Refused as error:
                if error.status != 404:
                    report.tell(f"the index cannot help: {error}")
            except NetError as error:
                report.tell(f"the index cannot help: {error}")
            else:
                return
        if not self._node.trackers:
            raise UserError(
                f"resource {name} is unknown"
                + (" to the index" if self._node.index is not None else "; give the network with --site"),
                ExitCode.NOT_FOUND,
            )
        report.tell("asking peers what the resource is")
        job.transfer = self._transfer(resource_id=magnet.resource_id, report=report)
        job.content = described(await job.transfer.find_descriptor(DESCRIPTION_DEADLINE))

    # -- fetch -----------------------------------------------------------------------------------------------

    def _transfer(
        self,
        report: Report,
        *,
        resource_id: bytes | None = None,
        content: Content | None = None,
        store: DiskStore | None = None,
    ) -> Transfer:
        transfer = Transfer(
            self._node,
            resource_id=resource_id,
            content=content,
            store=store,
            mode=self._options.mode,
            in_order=self._options.in_order,
            floor_rate=FLOOR_RATE,
        )
        transfer.report = report
        return transfer

    def _path_for(self, name: str) -> Path:
        output = self._options.output
        if output is None:
            return Path(name)
        path = Path(output)
        return path / name if output.endswith("/") or path.is_dir() else path

    async def _fetch(self, job: _Job, report: Report) -> None:
        if job.content is None:
            await self._fetch_unsized(job, report)
            return
        content = job.content
        job.path = self._path_for(content.name)
        job.length = content.layout.length
        version = job.found.version if job.found is not None else None
        job.store = store = await open_store(
            job.path,
            content,
            self._node.pool,
            self._reactor,
            overwrite=self._options.overwrite,
            fresh=self._options.fresh,
            validators=None
            if job.found is None or version is None
            else Validators(job.found.url, version.etag, version.last_modified),
        )
        if store.bytes_verified:
            report.tell(f"{human(store.bytes_verified)} are there from an earlier run")
        if job.transfer is None:
            job.transfer = self._transfer(report, content=content, store=store)
        else:
            job.transfer.use(content, store)
        ticker = Ticker(self._reactor, self._view, lambda: self._snapshot(job, report))
        ticker.start()
        try:
            mirrors = self._same_file_only(job, report)
            await job.transfer.download(mirrors, found=job.found, version=version if len(mirrors) == 1 else None)
        finally:
            ticker.stop()
        await self._finish(job, store)

    def _same_file_only(self, job: _Job, report: Report) -> list[str]:
        """Mirrors that may be mixed: all when pieces are verified, else only the one that was probed."""
        assert job.content is not None
        if job.content.descriptor is not None or job.found is None:
            return job.mirrors
        others = [url for url in job.mirrors if url != job.found.url]
        if others:
            report.tell(
                f"only {job.found.url} is used: without a descriptor nothing shows that the other servers carry "
                "the same file"
            )
        return [job.found.url]

    async def _fetch_unsized(self, job: _Job, report: Report) -> None:
        assert job.found is not None
        job.path = self._path_for(job.found.name)
        ticker = Ticker(self._reactor, self._view, lambda: self._snapshot(job, report))
        ticker.start()
        try:
            job.length = await fetch_unsized(
                job.found,
                job.path,
                self._node.pool,
                report,
                self._reactor,
                overwrite=self._options.overwrite,
                fresh=self._options.fresh,
                limit=self._node.download_limit,
            )
        finally:
            ticker.stop()
        job.content = undescribed(job.found.url, job.found.name, job.length)
        if self._options.checksum is not None or self._options.summary is not None:
            from p2sp.storage.disk import open_complete

            job.store = await open_complete(job.path, job.content, self._node.pool, self._reactor, trust=True)
            await self._check_digest(job, job.store)
        job.complete = True

    async def _finish(self, job: _Job, store: DiskStore) -> None:
        assert job.content is not None
        job.verified = job.content.verification.strength
        await self._check_digest(job, store)
        await store.finish()
        job.complete = True
        if self._options.torrent is not None:
            if job.content.descriptor is None:
                self._view.say(f"{self._options.torrent} is not written: nothing described the file")
            else:
                _write_torrent(self._options.torrent, job.content.descriptor, job.mirrors)

    async def _check_digest(self, job: _Job, store: DiskStore) -> None:
        wanted = self._options.checksum
        if not store.content.single:
            return
        if wanted is not None:
            found = (await store.digest(wanted[0].replace("sha-", "sha"))).hex()
            if found != wanted[1]:
                raise UserError(
                    f"{job.path}: {wanted[0]} is {found}, {wanted[1]} was expected; what came is kept beside it, "
                    "--fresh throws it away and starts anew",
                    ExitCode.CHECKSUM,
                )
            if job.verified is Verified.NONE:
                job.verified = Verified.DIGEST
            if wanted[0] == "sha-256":
                job.sha256 = found
        if self._options.summary is not None and job.sha256 is None:
            job.sha256 = (await store.digest("sha256")).hex()

    async def _seed(self, job: _Job) -> None:
        if not self._options.seed or job.transfer is None or not job.transfer.resource_id:
            return
        self._write_summary(job, job.transfer.report, None)
        self._view.say(f"{job.path}: complete; serving it for {self._options.seed:g} s")
        await deferLater(self._reactor, self._options.seed)

    async def _let_go(self, job: _Job) -> None:
        if job.found is not None:
            job.found.close()
        if job.transfer is not None:
            await job.transfer.stop()
        if job.store is not None:
            await job.store.close()

    # -- what the user reads ---------------------------------------------------------------------------------

    def _snapshot(self, job: _Job, report: Report) -> Snapshot:
        store = job.store
        return Snapshot(
            name=job.path.name if job.path is not None else "",
            total=job.length if store is not None else None,
            done=store.bytes_verified if store is not None else report.received,
            rate=report.rate.rate(self._reactor.seconds()),
            by_kind=report.by_kind(),
            sources=job.transfer.conductor.sources
            if job.transfer is not None and job.transfer.conductor is not None
            else 1,
        )

    def _conclude(self, job: _Job, report: Report, error: BaseException | None) -> int:
        if error is None:
            print(_last_line(self._write_summary(job, report, None), job), flush=True)
            return ExitCode.OK
        if isinstance(error, CancelledError):
            kept = job.store is not None and job.store.bytes_verified > 0
            message = "interrupted" + ("; the same command goes on from here" if kept else "")
            code = ExitCode.INTERRUPTED
        else:
            known = describe(error)
            if known is None:
                raise error
            message, code = known
        self._write_summary(job, report, message)
        print(f"p2sp: {message}", file=sys.stderr, flush=True)
        return code

    def _write_summary(self, job: _Job, report: Report, error: str | None) -> Summary:
        content = job.content
        summary = summarise(
            report,
            self._reactor.seconds(),
            ok=error is None,
            path=str(job.path) if job.path is not None else None,
            resource=content.key if content is not None and content.descriptor is not None else None,
            length=job.length,
            sha256=job.sha256,
            verified=job.verified.value,
            error=error,
        )
        if self._options.summary is not None:
            text = json.dumps(msgspec.to_builtins(summary), indent=2) + "\n"
            try:
                self._options.summary.write_text(text)
            except OSError as problem:
                self._view.say(f"cannot write {self._options.summary}: {problem.strerror}")
        return summary


def _last_line(summary: Summary, job: _Job) -> str:
    """What is left on the screen: what there is now, where it came from, and how sure that is."""
    kinds = kinds_in_words(summary.bytes_by_kind)
    rate = sum(summary.bytes_by_kind.values()) / summary.seconds if summary.seconds else 0.0
    sure = {
        Verified.BEP52: "verified by its resource id",
        Verified.PIECES: "verified by its piece hashes",
        Verified.DIGEST: "checksum ok",
        Verified.NONE: "not verified: no checksum was given",
    }[job.verified]
    return (
        f"{summary.path}: {human(summary.bytes)} in {summary.seconds:.1f} s ({human(rate)}/s)"
        f"{'; ' + kinds if kinds else ''}; {sure}"
    )


def _write_torrent(path: Path, descriptor: Descriptor, mirrors: Sequence[str]) -> None:
    path.write_bytes(descriptor.to_torrent(mirrors=mirrors))
