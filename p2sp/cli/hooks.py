"""How is a program told that a download is done or has failed?"""

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

HOOK_SECONDS: Final = 60.0
"""How long such a program may take before it is ended."""

_LAST_SECONDS: Final = 5.0


class _Ended(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[BaseException | None] = Deferred(lambda _: self.end("TERM"))

    def end(self, signal: str) -> None:
        transport: Any = self.transport
        if transport is not None and transport.pid is not None:
            transport.signalProcess(signal)

    def processEnded(self, reason: Failure) -> None:
        if not self.ended.called:
            self.ended.callback(reason.value)


async def run_hook(
    reactor: Any, command: Sequence[str], words: Mapping[str, str], seconds: float = HOOK_SECONDS
) -> str | None:
    """Run a program with `words` added to our environment; what went wrong, as a sentence, or None.

    No shell, nothing on its standard input; what it says goes to our standard error. After `seconds` it is told to end,
    and five seconds later it is killed.
    """
    name = command[0]
    if shutil.which(name) is None:
        return f"{name}: no such program"
    protocol = _Ended()
    environment = {**os.environ, **{key: value.replace("\0", "") for key, value in words.items()}}
    try:
        reactor.spawnProcess(protocol, name, list(command), environment, childFDs={0: "w", 1: 2, 2: 2})
    except OSError as error:
        return f"{name}: {error.strerror}"
    protocol.transport.closeStdin()  # type: ignore[union-attr]
    late = False

    def too_late() -> None:
        nonlocal late
        late = True
        protocol.end("TERM")

    timers = [
        reactor.callLater(seconds, too_late),
        reactor.callLater(seconds + _LAST_SECONDS, protocol.end, "KILL"),
    ]
    try:
        ended = await protocol.ended
    finally:
        for timer in timers:
            if timer.active():
                timer.cancel()
    if late:
        return f"{name}: not done after {seconds:g} s, so it was ended"
    if isinstance(ended, ProcessDone):
        return None
    if isinstance(ended, ProcessTerminated) and ended.signal is not None:
        return f"{name}: ended by signal {ended.signal}"
    return f"{name}: exit code {getattr(ended, 'exitCode', 'unknown')}"
