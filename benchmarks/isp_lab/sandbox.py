"""How does the lab get a kernel of its own to play in, of which nothing is left whatever happens?

It runs in mount, network and process namespaces of its own, made by `unshare`. The named network namespaces, links,
processes and files it makes all live in there, so the kernel takes them away with its first process: at the end, at an
error, at Ctrl-C, at the deadline, and when it is killed. Names cannot collide with anything, and there is nothing to
clean up after dead runs. Root is not needed where the system lets users make user namespaces.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

WORK: Final = Path("/run/lab")
"""The lab's own folder, in memory. The system's own /run is out of sight inside."""

TOOLS: Final = ("ip", "tc", "ethtool", "unshare", "mount", "nginx")
PATH: Final = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
_PR_SET_PDEATHSIG: Final = 1
_PROBE_SECONDS: Final = 10.0

REFUSED: Final = 77
"""Exit code on a machine where the lab cannot run."""


def missing(tools: Sequence[str] = TOOLS) -> list[str]:
    """Which of these programs are not installed."""
    return [tool for tool in tools if shutil.which(tool, path=PATH) is None]


def why_not() -> str | None:
    """In one sentence, why the lab cannot run on this machine; None if it can."""
    if lacking := missing():
        return f"not installed: {', '.join(lacking)} (tests/install_tools.sh installs what is needed)"
    script = (
        "mount -t tmpfs lab /run && mkdir -p /run/netns && ip netns add a && ip -n a link add x type veth peer name y"
        " && tc -n a qdisc add dev x root tbf rate 1mbit burst 16000 latency 60ms"
    )
    try:
        tried = subprocess.run(
            [*_unshare(), "sh", "-c", script],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            env={**os.environ, "PATH": PATH},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"making a network namespace takes more than {_PROBE_SECONDS:g} s here"
    if tried.returncode == 0:
        return None
    reason = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
    return f"network namespaces with shaped links cannot be made here: {reason}"


def enter(command: Sequence[str], deadline: float) -> int:
    """Run a command in namespaces of its own and end it, with all it started, after `deadline` seconds; its exit code.

    A signal to this process ends it as well, even SIGKILL.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    process = subprocess.Popen(
        [*_unshare(), *command],
        env={**os.environ, "PATH": PATH, "PYTHONUNBUFFERED": "1"},
        preexec_fn=die_with_parent,
    )

    def end(number: int, frame: FrameType | None) -> NoReturn:
        process.kill()
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, end)
    try:
        return process.wait(deadline)
    except subprocess.TimeoutExpired:
        print(f"the lab was ended: it took more than {deadline:g} s", file=sys.stderr)
        return 1
    finally:
        process.kill()
        process.wait()


def furnish() -> None:
    """Inside: a /run of our own, with room for namespaces' names and the work folder."""
    subprocess.run(["mount", "-t", "tmpfs", "lab", "/run"], check=True)
    for folder in (WORK, Path("/run/netns")):
        folder.mkdir()


def _unshare() -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
