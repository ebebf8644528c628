"""Does every way to fail have its sentence and its exit code?"""

import pytest

from p2sp.cli.outcome import UserError, describe
from p2sp.download.errors import DownloadError
from p2sp.download.report import ExitCode
from p2sp.net.errors import BadAnswer, NetError
from p2sp.ops.config import ConfigError
from p2sp.resource.errors import ResourceError
from p2sp.sources.http_agent import BadServer, OddAnswer
from p2sp.sources.http_probe import HttpStatus, NotFound, ServerBusy
from p2sp.sources.interfaces import SourceChanged, SourceError, SourceGone, SourceRefused, SourceStalled
from p2sp.storage.interfaces import AlreadyExists, Changed, Locked, NoSpace, StorageError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("it"), 1),
        (UserError("it", 28), 28),
        (DownloadError("it"), 1),
        (DownloadError("it", ExitCode.CHECKSUM), 32),
        (SourceStalled("it"), 2),
        (NotFound("it"), 3),
        (SourceChanged("it"), 8),
        (Changed("it"), 8),
        (NoSpace("it"), 9),
        (Locked("it"), 11),
        (AlreadyExists("it"), 13),
        (HttpStatus("it"), 22),
        (BadServer("it"), 22),
        (OddAnswer("it"), 22),
        (ServerBusy("it", 5.0), 22),
        (SourceGone("it"), 1),
        (SourceRefused("it says HTTP, and is a peer", 5.0), 1),
        (ResourceError("it"), 28),
        (SourceError("it"), 1),
        (StorageError("it"), 1),
        (NetError("it"), 1),
        (OSError("it"), 1),
        (OSError(28, "No space left on device"), 1),
    ],
)
def test_sentence_and_code(error: Exception, code: int) -> None:
    assert describe(error) == (str(error).removeprefix("[Errno 28] "), code)


def test_what_only_we_can_put_right() -> None:
    assert describe(ValueError("it")) is None
    assert describe(KeyboardInterrupt()) is None


def test_errors_that_name_what_they_are_about() -> None:
    for error in (BadAnswer("https://h/x", "it is no JSON"), ConfigError("site.toml", "no such key")):
        known = describe(error)
        assert known is not None
        assert known == (str(error), 1)


def test_codes_are_told_apart() -> None:
    codes = [value for name, value in vars(ExitCode).items() if not name.startswith("_")]
    assert len(set(codes)) == len(codes)
