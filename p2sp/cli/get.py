"""How is one TARGET fetched, from the words on the command line to a verified file?"""

import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from p2sp.cli.account import account, last_line, write_summary
from p2sp.cli.job import GetOptions, Job
from p2sp.cli.outcome import UserError, describe
from p2sp.cli.progress import Progress, Snapshot, Ticker, human
from p2sp.cli.resolve import Resolver
from p2sp.cli.targets import Target
from p2sp.download.node import Node
from p2sp.download.report import ExitCode, Report, Summary
from p2sp.download.transfer import Transfer
from p2sp.download.unsized import fetch_unsized
from p2sp.net.identity import create_identity
from p2sp.resource.descriptor import Descriptor
from p2sp.resource.verification import Content, Verified, undescribed
from p2sp.storage.disk import DiskStore, open_complete, open_store
from p2sp.storage.interfaces import Validators

FLOOR_RATE = 1_000_000.0
"""Bytes a second below which `--mode offload` lets resource servers help."""


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
        job = Job(mirrors=list(self._options.mirrors))
        report = Report(self._reactor.seconds(), listener=self._view.say)
        error: BaseException | None = None
        try:
            resolver = Resolver(
                self._node, self._options.checksum, lambda found: self._transfer(report, resource_id=found)
            )
            await resolver.resolve(target, job, report)
            await self._fetch(job, report)
            await self._seed(job)
        except BaseException as caught:  # noqa: BLE001 - judged below, also a Ctrl-C that cancels us
            error = caught
            if job.complete and isinstance(caught, CancelledError):
                # Ctrl-C while seeding: the file is there, which is what was asked for.
                error = None
        finally:
            await self._let_go(job)
        return self._conclude(job, report, error)

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

    async def _fetch(self, job: Job, report: Report) -> None:
        if job.content is None:
            await self._fetch_unsized(job, report)
            return
        content = job.content
        if self._options.checksum is not None and not content.single:
            raise UserError(f"{content.name} is a folder, and --checksum is of one file", ExitCode.BAD_INPUT)
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

    def _same_file_only(self, job: Job, report: Report) -> list[str]:
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

    async def _fetch_unsized(self, job: Job, report: Report) -> None:
        assert job.found is not None
        found = job.found
        job.path = self._path_for(found.name)

        async def approve(part: Path, length: int) -> None:
            job.length = length
            job.content = content = undescribed(found.url, found.name, length)
            store = await open_complete(part, content, self._node.pool, self._reactor, trust=True)
            try:
                await self._check_digest(job, store, kept=False)
            finally:
                await store.close()

        ticker = Ticker(self._reactor, self._view, lambda: self._snapshot(job, report))
        ticker.start()
        try:
            await fetch_unsized(
                found,
                job.path,
                self._node.pool,
                report,
                self._reactor,
                overwrite=self._options.overwrite,
                fresh=self._options.fresh,
                limit=self._node.download_limit,
                approve=approve,
            )
        finally:
            ticker.stop()
        job.complete = True

    async def _finish(self, job: Job, store: DiskStore) -> None:
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

    async def _check_digest(self, job: Job, store: DiskStore, *, kept: bool = True) -> None:
        wanted = self._options.checksum
        if not store.content.single:
            return
        if wanted is not None:
            found = (await store.digest(wanted[0].replace("sha-", "sha"))).hex()
            if found != wanted[1]:
                raise UserError(
                    f"{job.path}: {wanted[0]} is {found}, {wanted[1]} was expected; "
                    + ("what came is kept beside it, --fresh throws it away and starts anew" if kept else "it is gone"),
                    ExitCode.CHECKSUM,
                )
            if job.verified is Verified.NONE:
                job.verified = Verified.DIGEST
            if wanted[0] == "sha-256":
                job.sha256 = found
        if self._options.summary is not None and job.sha256 is None:
            job.sha256 = (await store.digest("sha256")).hex()

    async def _seed(self, job: Job) -> None:
        if not self._options.seed or job.transfer is None or not job.transfer.resource_id:
            return
        self._summarise(job, job.transfer.report)
        self._view.say(f"{job.path}: complete; serving it for {self._options.seed:g} s")
        await deferLater(self._reactor, self._options.seed)

    async def _let_go(self, job: Job) -> None:
        if job.found is not None:
            job.found.close()
        if job.transfer is not None:
            await job.transfer.stop()
        if job.store is not None:
            await job.store.close()

    # -- what the user reads ---------------------------------------------------------------------------------

    def _snapshot(self, job: Job, report: Report) -> Snapshot:
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

    def _conclude(self, job: Job, report: Report, error: BaseException | None) -> int:
        message, code = None, ExitCode.OK
        if isinstance(error, CancelledError):
            kept = job.store is not None and job.store.bytes_verified > 0
            message = "interrupted" + ("; the same command goes on from here" if kept else "")
            code = ExitCode.INTERRUPTED
        elif error is not None:
            known = describe(error)
            if known is None:
                raise error
            message, code = known
        summary = self._summarise(job, report, message)
        if message is None:
            print(last_line(summary), flush=True)
        else:
            print(f"p2sp: {message}", file=sys.stderr, flush=True)
        return code

    def _summarise(self, job: Job, report: Report, error: str | None = None) -> Summary:
        summary = account(job, report, self._reactor.seconds(), error)
        if self._options.summary is not None:
            try:
                write_summary(self._options.summary, summary)
            except UserError as problem:
                self._view.say(str(problem))
        return summary


def _write_torrent(path: Path, descriptor: Descriptor, mirrors: Sequence[str]) -> None:
    path.write_bytes(descriptor.to_torrent(mirrors=mirrors))
