"""How does a command end, and what does the user read then?"""

import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from p2sp.download.errors import DownloadError, exit_code
from p2sp.download.report import ExitCode


class UserError(DownloadError):
    """Something the user can put right; the text says what, `code` is the exit code."""


def describe(error: BaseException) -> tuple[str, int] | None:
    """Sentence and exit code for an error that users meet; None for one that only we can put right."""
    code = exit_code(error)
    return None if code is None else (str(error), code)


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

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("before", "shutdown", interrupted)
    if not gc.isenabled():
        # What is imported by now stays to the end: neither a collection nor the exit need look at it.
        gc.freeze()
        gc.enable()
    reactor.run()
    return code


def _failed(failure: Failure, verbose: bool) -> int:
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
