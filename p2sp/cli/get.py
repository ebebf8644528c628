"""How is one TARGET fetched, from the words on the command line to a verified file?"""

import sys
from contextlib import suppress
from pathlib import Path

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from p2sp.cli.account import account, last_line, write_summary
from p2sp.cli.described import expected, shown
from p2sp.cli.job import GetOptions, Job
from p2sp.cli.outcome import UserError, describe, write_whole
from p2sp.cli.place import free_name, open_somewhere, set_time
from p2sp.cli.progress import Progress, Snapshot, Ticker, human
from p2sp.cli.resolve import Resolver
from p2sp.cli.stream import Outlet, PipeClosed
from p2sp.cli.targets import Target
from p2sp.cli.unfinished import Entry, Unfinished
from p2sp.download.continuity import still_the_same
from p2sp.download.foreign import Hints
from p2sp.download.node import Node
from p2sp.download.report import ExitCode, Report, Summary
from p2sp.download.transfer import Transfer
from p2sp.download.unsized import fetch_unsized
from p2sp.resource.descriptor import Descriptor
from p2sp.resource.verification import Content, Verified, undescribed
from p2sp.storage.disk import DiskStore, open_complete
from p2sp.storage.interfaces import Validators

FLOOR_RATE = 250_000.0
"""Bytes a second below which `--mode offload` lets resource servers help."""


@attrs.frozen
class Outcome:
    """How a target ended: exit code, where it lies, and what went wrong."""

    code: int
    path: str | None = None
    error: str | None = None


class Getter:
    """Fetches one target with a node that others use too. `alone` False has its news say whose they are."""

    def __init__(
        self, node: Node, options: GetOptions, view: Progress, book: Unfinished | None = None, *, alone: bool = True
    ) -> None:
        self._reactor = node.reactor
        self._node = node
        self._options = options
        self._view = view
        self._book = book
        self._alone = alone
        self._text = ""
        self._outlet = Outlet(node.pool) if options.streaming else None

    async def get(self, text: str, target: Target) -> Outcome:
        """Fetch it, to the last word about it on the screen; `text` is what the user wrote."""
        self._text = text
        job = Job(mirrors=list(self._options.mirrors))
        report = Report(self._reactor.seconds(), listener=lambda news: self._say(job, news))
        error: BaseException | None = None
        try:
            resolver = Resolver(
                self._node,
                self._options.checksum,
                lambda found: self._transfer(report, resource_id=found, hints=job.hints),
            )
            await resolver.resolve(target, job, report)
            await self._fetch(job, report)
            await self._cross_out(job)
            await self._seed(job)
        except BaseException as caught:  # noqa: BLE001 - judged below, also a Ctrl-C that cancels us
            error = caught
            if job.complete and isinstance(caught, CancelledError):
                # Ctrl-C while seeding: the file is there, which is what was asked for.
                error = None
        finally:
            await self._let_go(job)
        return self._conclude(job, report, error)

    def _say(self, job: Job, news: str) -> None:
        self._view.say(news if self._alone else f"{self._name(job)}: {news}")

    def _name(self, job: Job) -> str:
        if self._outlet is not None and job.content is not None:
            return job.content.name
        return job.path.name if job.path is not None else self._text[-60:]

    async def _note(self, job: Job) -> None:
        """Write down what is begun, so that it can be taken up without knowing the command."""
        if self._book is None or job.path is None or self._outlet is not None:
            return
        try:
            await self._node.pool.run(self._book.note, Entry.of(self._text, job.path, self._options))
        except UserError as problem:
            self._book = None
            self._say(job, str(problem))

    async def _cross_out(self, job: Job) -> None:
        if self._book is None or job.path is None or self._outlet is not None:
            return
        try:
            await self._node.pool.run(self._book.done, str(job.path.absolute()))
        except UserError as problem:
            self._say(job, str(problem))

    # -- fetch -----------------------------------------------------------------------------------------------

    def _transfer(
        self,
        report: Report,
        *,
        resource_id: bytes | None = None,
        content: Content | None = None,
        store: DiskStore | None = None,
        hints: Hints | None = None,
    ) -> Transfer:
        transfer = Transfer(
            self._node,
            resource_id=resource_id,
            content=content,
            store=store,
            mode=self._options.mode,
            in_order=self._options.in_order or self._outlet is not None,
            floor_rate=FLOOR_RATE,
            hints=hints,
        )
        transfer.report = report
        return transfer

    def _path_for(self, name: str) -> Path:
        output = self._options.output
        if self._outlet is not None:
            return self._outlet.place()
        if output is None:
            return Path(name)
        path = Path(output)
        return path / name if output.endswith("/") or path.is_dir() else path

    async def _fetch(self, job: Job, report: Report) -> None:
        if job.content is None:
            await self._fetch_unsized(job, report)
            return
        content = job.content
        if self._options.select is not None:
            content = job.content = self._options.select.of(content)
        if self._options.checksum is not None and not content.single:
            raise UserError(f"{content.name} is a folder, and --checksum is of one file", ExitCode.BAD_INPUT)
        if self._outlet is not None and not content.single:
            raise UserError(f"{content.name} is a folder, and -o - writes one file", ExitCode.BAD_INPUT)
        job.path = self._path_for(content.name)
        job.length = content.length
        version = job.found.version if job.found is not None else None
        job.store = store = await open_somewhere(
            job.path,
            content,
            self._node.pool,
            self._reactor,
            rename=self._options.rename,
            overwrite=self._options.overwrite,
            fresh=self._options.fresh,
            validators=None
            if job.found is None or version is None
            else Validators(job.found.url, version.etag, version.last_modified),
        )
        job.path = store.path
        await self._note(job)
        if store.bytes_verified:
            report.tell(f"{human(store.bytes_verified)} are there from an earlier run")
        if job.transfer is None:
            job.transfer = self._transfer(report, content=content, store=store, hints=job.hints)
        else:
            job.transfer.use(content, store)
        ticker = Ticker(self._reactor, self._view, lambda: self._snapshot(job, report))
        ticker.start()
        try:
            if job.found is not None:
                await still_the_same(self._node.connect, job.found, store, self._node.rng)
            mirrors, unproven = self._by_proof(job)
            running = job.transfer.download(
                mirrors, found=job.found, version=version if len(mirrors) == 1 else None, unproven=unproven
            )
            await (running if self._outlet is None else self._outlet.beside(running, store))
        finally:
            ticker.stop()
            self._view.done(self._name(job))
        await self._finish(job, store)

    def _by_proof(self, job: Job) -> tuple[list[str], list[str]]:
        """Mirrors that may be mixed, and those that have to show first that they hold what the probed one does."""
        assert job.content is not None
        if job.content.by_piece or job.found is None:
            return job.mirrors, []
        return [job.found.url], [url for url in job.mirrors if url != job.found.url]

    async def _fetch_unsized(self, job: Job, report: Report) -> None:
        assert job.found is not None
        found = job.found
        job.path = self._path_for(found.name)
        if self._options.rename:
            job.path = await self._node.pool.run(free_name, job.path)

        async def approve(part: Path, length: int) -> None:
            job.length = length
            job.content = content = undescribed(found.url, found.name, length, found.digests)
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
            self._view.done(self._name(job))
        if self._outlet is not None:
            await self._outlet.copy(job.path)
        job.complete = True
        await self._keep_time(job)

    async def _finish(self, job: Job, store: DiskStore) -> None:
        assert job.content is not None
        job.verified = job.content.verification.strength
        await self._check_digest(job, store)
        await store.finish()
        job.complete = True
        await self._keep_time(job)
        if self._options.torrent is not None:
            if job.content.descriptor is None:
                self._say(job, f"{self._options.torrent} is not written: nothing described the file")
            else:
                _write_torrent(self._options.torrent, job.content.descriptor, job)

    async def _keep_time(self, job: Job) -> None:
        if self._options.keep_time and job.found is not None and job.path is not None:
            await self._node.pool.run(set_time, job.path, job.found.version.last_modified)

    async def _check_digest(self, job: Job, store: DiskStore, *, kept: bool = True) -> None:
        if not store.content.single:
            return
        for algorithm, wanted in expected(self._options.checksum, store.content):
            found = (await store.digest(algorithm)).hex()
            if found != wanted:
                raise UserError(
                    f"{job.path}: {shown(algorithm)} is {found}, {wanted} was expected; "
                    + ("what came is kept beside it, --fresh throws it away and starts anew" if kept else "it is gone"),
                    ExitCode.CHECKSUM,
                )
            if job.verified is Verified.NONE:
                job.verified = Verified.DIGEST
            if algorithm == "sha256":
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
        # A Ctrl-C at this point comes too late to change how it ended.
        if job.transfer is not None:
            with suppress(CancelledError):
                await job.transfer.stop()
        if job.store is not None:
            with suppress(CancelledError):
                await job.store.close()
        if self._outlet is not None:
            with suppress(CancelledError):
                await self._outlet.close()

    # -- what the user reads ---------------------------------------------------------------------------------

    def _snapshot(self, job: Job, report: Report) -> Snapshot:
        store = job.store
        return Snapshot(
            name=self._name(job),
            total=job.length if store is not None else None,
            done=store.bytes_verified if store is not None else report.received,
            rate=report.rate.rate(self._reactor.seconds()),
            by_kind=report.by_kind(),
            sources=job.transfer.conductor.sources
            if job.transfer is not None and job.transfer.conductor is not None
            else 1,
        )

    def _conclude(self, job: Job, report: Report, error: BaseException | None) -> Outcome:
        message, code = None, ExitCode.OK
        if isinstance(error, CancelledError):
            kept = self._outlet is None and job.store is not None and job.store.bytes_verified > 0
            whose = "" if self._alone else f"{self._name(job)}: "
            message = f"{whose}interrupted" + ("; the same command goes on from here" if kept else "")
            code = ExitCode.INTERRUPTED
        elif error is not None:
            known = describe(error)
            if known is None:
                raise error
            message, code = known
        if self._outlet is not None:
            job.path = Path("-")
        summary = self._summarise(job, report, message)
        if self._options.why or self._view.explains:
            self._view.why(self._name(job), summary.sources)
        if message is None:
            # Standard output is the file's where it goes there.
            print(last_line(summary), file=sys.stdout if self._outlet is None else sys.stderr, flush=True)
        elif not isinstance(error, PipeClosed):
            print(f"p2sp: {message}", file=sys.stderr, flush=True)
        return Outcome(code, summary.path, message)

    def _summarise(self, job: Job, report: Report, error: str | None = None) -> Summary:
        summary = account(job, report, self._reactor.seconds(), error)
        if self._options.summary is not None:
            try:
                write_summary(self._options.summary, summary)
            except UserError as problem:
                self._say(job, str(problem))
        return summary


def _write_torrent(path: Path, descriptor: Descriptor, job: Job) -> None:
    trackers = [url for tier in job.hints.tiers for url in tier]
    write_whole(path, descriptor.to_torrent(trackers, job.mirrors))
