"""How can a download end, other than well?"""

from p2sp.download.report import ExitCode
from p2sp.sources.http_probe import NotFound
from p2sp.sources.interfaces import SourceChanged, SourceError, SourceStalled


class DownloadError(Exception):
    """The download ends; the text is fit for a user, `code` is what the command exits with."""

    def __init__(self, message: str, code: int = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code


def no_source_left(name: str, last: SourceError | None) -> DownloadError:
    """The error of a download that lost every source; `last` is what the last one failed with, None if none came."""
    if last is None:
        return DownloadError(f"no source has {name!r}", ExitCode.NOT_FOUND)
    if isinstance(last, SourceChanged):
        code = ExitCode.CHANGED
    elif isinstance(last, NotFound):
        code = ExitCode.NOT_FOUND
    elif isinstance(last, SourceStalled):
        code = ExitCode.TIMEOUT
    else:
        code = ExitCode.HTTP if "HTTP" in str(last) else ExitCode.ERROR
    return DownloadError(f"no source left; the last one failed: {last}", code)
