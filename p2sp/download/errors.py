"""How can a download end, other than well?"""

from p2sp.download.report import ExitCode


class DownloadError(Exception):
    """The download ends; the text is fit for a user, `code` is what the command exits with."""

    def __init__(self, message: str, code: int = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.code = code
