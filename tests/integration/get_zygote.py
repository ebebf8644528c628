"""`p2sp` again and again, each time killed after so long, without the cost of a new interpreter.

Reads one JSON object a line from standard input: `arguments` of `p2sp`, `after` seconds or null, `log` for all it says.
Forks a child that runs `p2sp`, kills it then unless it has ended, and answers with the status it ended with. The
journal is written many times a second, so that a short run has something to lose.
"""

import gc
import json
import os
import select
import signal
import sys
from importlib import import_module
from pkgutil import iter_modules
from typing import NoReturn

from p2sp.storage import disk

PACKAGES = ("resource", "schedule", "storage", "net", "sources", "download", "cli")
"""What a run may import. The reactor is none of it, which is no good in two processes."""


def child(arguments: list[str], log: str) -> NoReturn:
    """Be `p2sp`."""
    code = 70
    try:
        to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in (1, 2):
            os.dup2(to, descriptor)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        disk.JOURNAL_SECONDS = 0.02
        disk.JOURNAL_BYTES = 256 * 1024
        sys.argv = ["p2sp", *arguments]
        import_module("p2sp.cli.main").main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        os._exit(code)


def run(arguments: list[str], after: float | None, log: str) -> int:
    """One life: its exit code, or the signal that ended it as a negative number."""
    pid = os.fork()
    if pid == 0:
        child(arguments, log)
    ended = os.pidfd_open(pid)
    if not select.select([ended], [], [], after)[0]:
        signal.pidfd_send_signal(ended, signal.SIGKILL)
    os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    for package in PACKAGES:
        for room in iter_modules(import_module(f"p2sp.{package}").__path__, f"p2sp.{package}."):
            if not room.name.endswith("__main__"):
                import_module(room.name)
    assert "twisted.internet.reactor" not in sys.modules
    gc.freeze()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write(f"{run(**json.loads(line))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
