"""How can a download end, other than well, and what does the command exit with then?"""

from typing import Final

from p2sp.download.report import ExitCode
from p2sp.net.errors import NetError
from p2sp.ops.config import ConfigError
from p2sp.resource.errors import ResourceError
from p2sp.sources.interfaces import Reason, SourceError
from p2sp.storage.interfaces import AlreadyExists, Changed, Locked, NoSpace, StorageError


class DownloadError(Exception):
    """The download ends; the text is fit for a user, `code` is what the command exits with."""

    def __init__(self, message: str, code: int = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code


_BY_REASON: Final = {
    Reason.LOST: ExitCode.ERROR,
    Reason.SILENT: ExitCode.TIMEOUT,
    Reason.ANSWER: ExitCode.HTTP,
    Reason.MISSING: ExitCode.NOT_FOUND,
    Reason.CHANGED: ExitCode.CHANGED,
}

_BY_KIND: Final[tuple[tuple[type[Exception], int], ...]] = (
    (Changed, ExitCode.CHANGED),
    (NoSpace, ExitCode.NO_SPACE),
    (Locked, ExitCode.LOCKED),
    (AlreadyExists, ExitCode.EXISTS),
    (StorageError, ExitCode.ERROR),
    (ResourceError, ExitCode.BAD_INPUT),
    (NetError, ExitCode.ERROR),
    (ConfigError, ExitCode.ERROR),
    (OSError, ExitCode.ERROR),
)


def exit_code(error: BaseException | None) -> int | None:
    """What the command exits with for an error that users meet; None for one that only we can put right."""
    if isinstance(error, DownloadError):
        return error.code
    if isinstance(error, SourceError):
        return _BY_REASON[error.reason]
    return next((code for kind, code in _BY_KIND if isinstance(error, kind)), None)


def no_source_left(name: str, last: SourceError | None) -> DownloadError:
    """The error of a download that lost every source; `last` is what the last one failed with, None if none came."""
    if last is None:
        return DownloadError(f"no source has {name!r}", ExitCode.NOT_FOUND)
    return DownloadError(f"no source left; the last one failed: {last}", _BY_REASON[last.reason])
