"""What does the user have in the end, on the screen and in the summary file?"""

import json
from pathlib import Path

import msgspec

from p2sp.cli.job import Job
from p2sp.cli.outcome import write_whole
from p2sp.cli.progress import human, kinds_in_words
from p2sp.download.report import Report, Summary, summarise
from p2sp.resource.verification import Verified


def account(job: Job, report: Report, now: float, error: str | None = None) -> Summary:
    """The account of a job that is over, well or not."""
    content = job.content
    return summarise(
        report,
        now,
        ok=error is None,
        path=str(job.path) if job.path is not None else None,
        resource=content.key if content is not None and content.descriptor is not None else None,
        length=job.length,
        sha256=job.sha256,
        verified=job.verified.value,
        error=error,
    )


def write_summary(path: Path, summary: Summary) -> None:
    """Put an account into the file of `--summary`. Raises UserError."""
    write_whole(path, (json.dumps(msgspec.to_builtins(summary), indent=2) + "\n").encode())


def last_line(summary: Summary) -> str:
    """What is left on the screen: what there is now, where it came from, and how sure that is."""
    kinds = kinds_in_words(summary.bytes_by_kind)
    rate = sum(summary.bytes_by_kind.values()) / summary.seconds if summary.seconds else 0.0
    sure = {
        Verified.BEP52: "verified by its resource id",
        Verified.PIECES: "verified by its piece hashes",
        Verified.DIGEST: "checksum ok",
        Verified.NONE: "not verified: no checksum was given",
    }[Verified(summary.verified)]
    return (
        f"{summary.path}: {human(summary.bytes)} in {summary.seconds:.1f} s ({human(rate)}/s)"
        f"{'; ' + kinds if kinds else ''}; {sure}"
    )
