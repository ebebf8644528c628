"""Does Ctrl-C end a command in a sentence from its first moment on?"""

import subprocess
import sys
from pathlib import Path

from p2sp.cli.start import INTERRUPTED
from p2sp.download.report import ExitCode

INTERRUPT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"

BEGIN = "from p2sp.cli.start import main\nmain()\n"


def run(code: str, *, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_code_is_that_of_every_interruption() -> None:
    assert INTERRUPTED == ExitCode.INTERRUPTED


def test_while_libraries_are_imported(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(INTERRUPT)
    result = run(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{BEGIN}", folder=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (INTERRUPTED, "", "p2sp: interrupted\n")


def test_from_when_the_reactor_runs_it_is_the_commands_own(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from p2sp.cli import main, outcome, start
from twisted.internet.defer import Deferred, CancelledError

async def wait(reactor):
    reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
    try:
        await Deferred()
    except CancelledError:
        print("in order")
        raise

main.main = lambda: sys.exit(outcome.run(wait))
start.main()
"""
    result = run(program, folder=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (INTERRUPTED, "in order\n", "")


def test_also_what_is_done_side_by_side(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from p2sp.cli import main, outcome, start
from twisted.internet.defer import Deferred, gatherResults

async def wait(reactor):
    reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
    await gatherResults([Deferred(), Deferred()], consumeErrors=True)

main.main = lambda: sys.exit(outcome.run(wait))
start.main()
"""
    result = run(program, folder=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (INTERRUPTED, "", "")


def test_an_answer_that_finds_no_room(tmp_path: Path) -> None:
    for words in (["--help"], ["site", "init", str(tmp_path / "net")]):
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [sys.executable, "-m", "p2sp.cli", *words], stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
            )
        assert (result.returncode, result.stderr) == (1, b"p2sp: No space left on device\n")


def test_who_had_it_ignored_keeps_that(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text(INTERRUPT + "print('goes on')\nraise SystemExit(0)\n")
    ignored = "import signal, sys\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    result = run(f"{ignored}sys.path.insert(0, {str(tmp_path)!r})\n{BEGIN}", folder=tmp_path)
    assert (result.returncode, result.stdout) == (0, "goes on\n")
