"""How does a command end, and what does the user read then?"""

import errno
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, FirstError
from twisted.python.failure import Failure

from p2sp.cli.start import end_at_once
from p2sp.download.errors import DownloadError, exit_code
from p2sp.download.report import ExitCode
from p2sp.net.errors import in_words


class UserError(DownloadError):
    """Something the user can put right; the text says what, `code` is the exit code."""


def describe(error: BaseException) -> tuple[str, int] | None:
    """Sentence and exit code for an error that users meet; None for one that only we can put right."""
    code = exit_code(error)
    if code is None:
        return None
    return (in_words(error) if isinstance(error, OSError) else str(error), code)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that somebody asked for; one that does not fit is not left there in part. Raises UserError."""
    try:
        with path.open("wb") as file:
            try:
                file.write(data)
                file.flush()
            except OSError:
                if path.is_file():
                    path.unlink(missing_ok=True)
                raise
    except OSError as problem:
        code = ExitCode.NO_SPACE if problem.errno in (errno.ENOSPC, errno.EDQUOT) else ExitCode.ERROR
        raise UserError(f"cannot write {path}: {problem.strerror}", code) from problem


def run(main: Callable[[Any], Coroutine[Any, Any, int]], *, verbose: bool = False) -> int:
    """Run a command on the reactor to its exit code. Ctrl-C and SIGTERM cancel it and let it put things in order."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    _log(verbose)
    code = ExitCode.ERROR
    finished: Deferred[None] = Deferred()
    running: Deferred[int] | None = None
    stopping = False

    def over(result: int | Failure) -> None:
        nonlocal code
        code = _failed(result, verbose) if isinstance(result, Failure) else result
        finished.callback(None)
        if not stopping:
            reactor.callWhenRunning(reactor.stop)

    def begin() -> None:
        nonlocal running
        running = Deferred.fromCoroutine(main(reactor))
        running.addBoth(over)

    def interrupted() -> Deferred[None] | None:
        nonlocal stopping
        stopping = True
        if running is not None and not finished.called:
            running.cancel()
            return finished
        return None

    if signal.getsignal(signal.SIGINT) is end_at_once:
        # From here on the reactor takes a Ctrl-C, and does so only in place of Python's own.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", interrupted)
    if not gc.isenabled():
        # What is imported by now stays to the end: neither a collection nor the exit need look at it.
        gc.freeze()
        gc.enable()
    reactor.run()
    return code


def _failed(failure: Failure, verbose: bool) -> int:
    while isinstance(failure.value, FirstError):
        # Of things done side by side: what the first of them that failed failed with.
        failure = failure.value.subFailure
    if failure.check(CancelledError):
        return ExitCode.INTERRUPTED
    if failure.check(BrokenPipeError):
        # Whoever read our output has read enough, as in `p2sp show X | head`.
        return ExitCode.ERROR
    error = failure.value
    assert error is not None
    known = describe(error)
    if known is None:
        print(f"p2sp: internal error: {type(error).__name__}: {error}", file=sys.stderr)
        if verbose:
            failure.printTraceback(sys.stderr)
        return ExitCode.ERROR
    message, code = known
    print(f"p2sp: {message}", file=sys.stderr)
    return code


def _log(verbose: bool) -> None:
    from twisted.logger import (
        FilteringLogObserver,
        LogLevel,
        LogLevelFilterPredicate,
        globalLogBeginner,
        textFileLogObserver,
    )

    if verbose:
        chosen = [
            FilteringLogObserver(
                textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.debug)]
            )
        ]
    else:
        chosen = []
    globalLogBeginner.beginLoggingTo(chosen, redirectStandardIO=False, discardBuffer=True)
